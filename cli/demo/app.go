package demo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/valyala/fasthttp"
)

// delayMax bounds the query parameter "delay" of the sample application.
const delayMax = 10 * time.Second

// app is the sample application: it answers who it is and what it received.
type app struct {
	name, domain, subDomain string
	ports                   []int
}

// sessionCookie is the name of the sample application's session.
const sessionCookie = "JSESSIONID"

// answer is what the sample application says.
type answer struct {
	Name      string            `json:"name"`
	Domain    string            `json:"domain"`
	SubDomain string            `json:"sub_domain"`
	PID       int               `json:"pid"`
	Port      int               `json:"port"`
	Method    string            `json:"method"`
	Path      string            `json:"path"`
	Host      string            `json:"host"`
	Headers   map[string]string `json:"headers"`
}

func appCommand() *cobra.Command {
	var a app
	cmd := &cobra.Command{
		Use:    "app",
		Short:  "Run the sample application of the demo",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&a.name, "name", "app", "name to answer with")
	cmd.Flags().StringVar(&a.domain, "domain", "", "domain to answer with")
	cmd.Flags().StringVar(&a.subDomain, "sub-domain", "worker", "sub-domain to answer with")
	cmd.Flags().IntSliceVar(&a.ports, "port", []int{9763}, "ports of 127.0.0.1 to listen on")
	return cmd
}

func (a *app) run(ctx context.Context) error {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	listeners, err := a.listen()
	if err != nil {
		return err
	}
	return a.serve(ctx, listeners)
}

func (a *app) listen() ([]net.Listener, error) {
	var listeners []net.Listener
	for _, port := range a.ports {
		ln, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err != nil {
			return nil, fmt.Errorf("cannot listen for %q: %w", a.name, err)
		}
		listeners = append(listeners, ln)
	}
	return listeners, nil
}

// serve answers until ctx ends.
func (a *app) serve(ctx context.Context, listeners []net.Listener) error {
	server := &fasthttp.Server{Handler: a.handle, Name: "jetway-demo-app", CloseOnShutdown: true}
	errs := make(chan error, len(listeners))
	for _, ln := range listeners {
		go func() { errs <- server.Serve(ln) }()
	}
	select {
	case err := <-errs:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := server.ShutdownWithContext(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func (a *app) handle(ctx *fasthttp.RequestCtx) {
	if d, err := time.ParseDuration(string(ctx.QueryArgs().Peek("delay"))); err == nil {
		time.Sleep(min(d, delayMax)) // simulates work; nothing waits for it in hope
	}
	if ctx.QueryArgs().Has("login") {
		a.login(ctx)
	}
	ans := a.answer(ctx)
	if strings.Contains(string(ctx.Request.Header.Peek(fasthttp.HeaderAccept)), "json") {
		ctx.SetContentType("application/json")
		body, err := json.Marshal(ans)
		if err != nil {
			ctx.Error(err.Error(), fasthttp.StatusInternalServerError)
			return
		}
		ctx.SetBody(append(body, '\n'))
		return
	}
	ctx.SetContentType("text/plain; charset=utf-8")
	ans.print(ctx)
}

// login begins a session, as applications do it.
func (a *app) login(ctx *fasthttp.RequestCtx) {
	var id [12]byte
	rand.Read(id[:]) // never fails, says its documentation
	var c fasthttp.Cookie
	c.SetKey(sessionCookie)
	c.SetValue(hex.EncodeToString(id[:]))
	c.SetPath("/")
	ctx.Response.Header.SetCookie(&c)
}

func (a *app) answer(ctx *fasthttp.RequestCtx) answer {
	ans := answer{
		Name: a.name, Domain: a.domain, SubDomain: a.subDomain, PID: os.Getpid(),
		Method: string(ctx.Method()), Path: string(ctx.RequestURI()), Host: string(ctx.Host()),
		Headers: make(map[string]string),
	}
	if addr, ok := ctx.LocalAddr().(*net.TCPAddr); ok {
		ans.Port = addr.Port
	}
	for k, v := range ctx.Request.Header.All() {
		if name := string(k); name != fasthttp.HeaderHost {
			ans.Headers[name] = string(v)
		}
	}
	return ans
}

func (ans *answer) print(ctx *fasthttp.RequestCtx) {
	fmt.Fprintf(ctx, "%s of %s/%s, pid %d, port %d\n", ans.Name, ans.Domain, ans.SubDomain, ans.PID, ans.Port)
	fmt.Fprintf(ctx, "received: %s %s\n  Host: %s\n", ans.Method, ans.Path, ans.Host)
	names := make([]string, 0, len(ans.Headers))
	for name := range ans.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(ctx, "  %s: %s\n", name, ans.Headers[name])
	}
}
