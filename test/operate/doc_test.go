// Package operate tests from outside what operators see and do: the admin API
// and its protection, commands, logs, metrics, and what goes with them.
package operate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jetway/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// run runs jetway with args, checks its exit code and returns its output,
// standard error included.
func run(t testing.TB, code int, args ...string) string {
	t.Helper()
	return runWith(t, code, nil, args...)
}

func runWith(t testing.TB, code int, env []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(t), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir = t.TempDir()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("jetway %s exited with %d, want %d:\n%s", strings.Join(args, " "), got, code, &out)
	}
	return out.String()
}

// site is one Jetway with one member.
type site struct {
	*harness.Jetway
	port   int
	member *harness.Member
}

const host = "a.example.com"

// conf is a configuration; admin and more are further keys of its first section.
func conf(port, admin int, member *harness.Member, adminKeys, more string) string {
	return fmt.Sprintf(`loadbalancer:
  name: ${JETWAY_NAME:-lb1}
  listeners: [{name: http, address: "127.0.0.1:%d"}]
  admin: {address: "127.0.0.1:%d"%s}
  timeouts: {connect: 20s}
%s
membership:
  static:
    - {id: w1, domain: shop, host: 127.0.0.1, http: %d}
tenants:
  identify: [{path: "/t/{tenant}/"}]
  directory: {file: tenants.csv}
services:
  shop: {hosts: [%s], domains: {shop: {}}}
`, port, admin, adminKeys, more, member.Port, host)
}

func start(t testing.TB, adminKeys, more string, opts ...harness.Option) site {
	t.Helper()
	m := harness.StartMember(t, "w1", nil)
	port, admin := harness.FreePort(t), harness.FreePort(t)
	opts = append([]harness.Option{harness.WithFile("tenants.csv", "acme,42,true,gold\n")}, opts...)
	return site{harness.Start(t, conf(port, admin, m, adminKeys, more), opts...), port, m}
}

// ask sends one request and returns the answer.
func (s site) ask(t testing.TB, raw string) *harness.Answer {
	t.Helper()
	c := harness.Dial(t, harness.Loopback(s.port))
	if err := c.Send(raw); err != nil {
		t.Fatal(err)
	}
	a, err := c.Await("GET", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	return a
}

func eventually(t testing.TB, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// load is requests at a fixed rate, each on one of a few kept connections, and
// how long they took from when they were due.
type load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	failed atomic.Int64
	first  atomic.Value

	mu    sync.Mutex // guards times
	times []time.Duration
}

func startLoad(port, conns int, perSecond float64) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	step := time.Duration(float64(conns) / perSecond * float64(time.Second))
	for i := range conns {
		l.wg.Go(func() {
			due := time.Now().Add(step * time.Duration(i) / time.Duration(conns))
			for ctx.Err() == nil {
				if err := l.connection(ctx, port, &due, step); err != nil && ctx.Err() == nil {
					l.failed.Add(1)
					l.first.CompareAndSwap(nil, err.Error())
				}
			}
		})
	}
	return l
}

func (l *load) connection(ctx context.Context, port int, due *time.Time, step time.Duration) error {
	conn, err := net.DialTimeout("tcp", harness.Loopback(port), 30*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := harness.NewClient(conn)
	for ctx.Err() == nil {
		time.Sleep(time.Until(*due))
		if err := c.Send("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"); err != nil {
			return err
		}
		a, err := c.Await("GET", 10*time.Second)
		switch {
		case err != nil:
			return err
		case a.Status != 200:
			return fmt.Errorf("status %d: %s", a.Status, a.Body)
		}
		l.mu.Lock()
		l.times = append(l.times, time.Since(*due))
		l.mu.Unlock()
		*due = due.Add(step)
	}
	return nil
}

// p99 returns the 99th percentile of what was measured since the last call.
func (l *load) p99() (p99 time.Duration, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.times)
	n = len(l.times)
	if n > 0 {
		p99 = l.times[n*99/100]
	}
	l.times = nil
	return p99, n
}

func (l *load) stop(t testing.TB) {
	t.Helper()
	l.cancel()
	l.wg.Wait()
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d requests failed, the first: %v", n, l.first.Load())
	}
}

// tokenFile writes tokens that only this user reads and returns its name.
func tokenFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
