package cli

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"jetway/admin"
	"jetway/config"
)

// outputFormat is how a command prints: a pflag.Value that takes no others.
type outputFormat string

const (
	outputTable outputFormat = "table"
	outputJSON  outputFormat = "json"
)

func (o *outputFormat) String() string { return string(*o) }
func (o *outputFormat) Type() string   { return "format" }

func (o *outputFormat) Set(s string) error {
	if f := outputFormat(s); f != outputTable && f != outputJSON {
		return errors.New("expected table or json")
	}
	*o = outputFormat(s)
	return nil
}

func outputFlag(c *cobra.Command, into *outputFormat) {
	*into = outputTable
	c.Flags().VarP(into, "output", "o", "table or json")
}

// printJSON writes v as commands print what they were answered.
func printJSON(w io.Writer, v any) error {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(body, '\n'))
	return err
}

// client speaks to the admin API of a Jetway that runs.
type client struct {
	file, address string // flags
	explicit      bool   // -c was given
	base          string
	http          http.Client

	tokenFile, caFile, certFile, keyFile string // flags
	token                                string // what is sent; empty: none
}

const (
	answerMax  = 64 << 20
	clientWait = 65 * time.Second // a little more than the server takes at most
)

// clientFlags gives a command that speaks to a running Jetway its flags.
func clientFlags(c *cobra.Command) *client {
	cl := &client{}
	c.Flags().StringVar(&cl.address, "admin", "", "`address` of the admin API (default: admin.address of the configuration file, else "+admin.DefaultAddress+")")
	cl.trustFlags(c, "")
	configFlag(c, &cl.file)
	c.Long += "\n\nExit codes: 0 it worked, 1 it did not or Jetway cannot be reached, 2 the command\nline is wrong."
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		cl.explicit = c.Flags().Changed("config")
		if err := cl.locate(c.ErrOrStderr()); err != nil {
			return &usageError{err, c.CommandPath()}
		}
		return nil
	}
	return cl
}

// locate finds out where the API is.
func (cl *client) locate(stderr io.Writer) error {
	cl.http = http.Client{Timeout: clientWait,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	address := cl.address
	var own config.Admin // of this machine's Jetway, where it is the one that is asked
	if address == "" {
		address = admin.DefaultAddress
		said, err := config.LoadAdmin(cl.file)
		switch {
		case err == nil:
			own, address = said, said.Address
		case cl.explicit || !errors.Is(err, fs.ErrNotExist): // Jetway may still run with the one before
			fmt.Fprintf(stderr, "jetway: cannot take the admin address from %q, trying %s: %s\n", cl.file, address, firstLine(err))
		}
	}
	base, err := baseURL(address)
	if err != nil {
		return fmt.Errorf("cannot use admin address %q: %w", address, err)
	}
	if own.CertFile != "" {
		base = strings.Replace(base, "http://", "https://", 1)
	}
	cl.base = base
	return cl.trust(&own)
}

// baseURL makes a URL of a listen address or of a URL.
func baseURL(address string) (string, error) {
	if strings.Contains(address, "://") {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return "", errors.New("expected host:port or http://host:port")
		}
		return u.Scheme + "://" + u.Host + strings.TrimSuffix(u.EscapedPath(), "/"), nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return "", errors.New("expected host:port or http://host:port")
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1" // it listens on every address, so also on this one
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

// call asks the API and returns the body of the answer. A refusal is an error
// with the API's own words.
func (cl *client) call(ctx context.Context, method, path string) ([]byte, error) {
	return cl.callWith(ctx, method, path, nil)
}

// callWith is call with a body, which is sent as JSON; nil: none.
func (cl *client) callWith(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	status, text, err := cl.request(ctx, method, path, body)
	if err == nil && status != http.StatusOK {
		err = refusal(status, text)
	}
	return text, err
}

// request asks the API and returns the answer, whatever it is.
func (cl *client) request(ctx context.Context, method, path string, body io.Reader) (status int, text []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, cl.base+path, body)
	if err != nil {
		return 0, nil, fmt.Errorf("cannot ask %s: %w", cl.base, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	cl.sign(req)
	resp, err := cl.http.Do(req)
	if err != nil {
		return 0, nil, cl.unreachable(err)
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(io.LimitReader(resp.Body, answerMax))
	if err != nil {
		return 0, nil, fmt.Errorf("cannot read the answer of %s: %w", cl.base, err)
	}
	return resp.StatusCode, text, nil
}

// sign says who asks.
func (cl *client) sign(req *http.Request) {
	if cl.token != "" {
		req.Header.Set("Authorization", "Bearer "+cl.token)
	}
}

// refusal makes an error of an answer that is none of the good ones.
func refusal(status int, body []byte) error {
	if status == http.StatusBadRequest && strings.Contains(string(body), "HTTP request to an HTTPS server") {
		return errors.New("this admin API speaks HTTPS: use --admin https://HOST:PORT")
	}
	var said admin.Failure
	if len(bytes.TrimSpace(body)) == 0 {
		return fmt.Errorf("%s (status %d)", strings.ToLower(http.StatusText(status)), status)
	}
	if json.Unmarshal(body, &said) != nil || said.Error == "" {
		return fmt.Errorf("%s (status %d)", printable(firstLine(errors.New(string(body)))), status)
	}
	if status == http.StatusUnauthorized {
		said.Error += "\nSay who you are with --token-file, --cert or the variable JETWAY_ADMIN_TOKEN"
	}
	return errors.New(said.Error)
}

// ask is call for an answer that is decoded.
func (cl *client) ask(ctx context.Context, method, path string, into any) ([]byte, error) {
	body, err := cl.call(ctx, method, path)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return nil, fmt.Errorf("cannot understand the answer of %s, is it Jetway's admin API? %w", cl.base, err)
	}
	return body, nil
}

func (cl *client) unreachable(err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("cannot trust the admin API at %s: %w\nSay with --ca who signs its certificate, or with -c which configuration names it", cl.base, err)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("cannot reach Jetway at %s: its admin API speaks plain HTTP; use --admin with http://", cl.base)
	}
	if errors.Is(err, syscall.ECONNREFUSED) || os.IsTimeout(err) {
		return fmt.Errorf("cannot reach Jetway at %s: %w\nIs it running? Start it with \"jetway run\", or say with --admin where its admin API is", cl.base, err)
	}
	return fmt.Errorf("cannot reach Jetway at %s: %w", cl.base, err)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
