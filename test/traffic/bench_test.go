package traffic

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"jetway/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// bench is Jetway with one service whose members are given by their ports.
type bench struct {
	*harness.Jetway
	addr   string
	config string
}

// options are lines of the configuration that tests change.
type options struct {
	timeouts string // further keys of timeouts
	top      string // further lines of loadbalancer
	service  string // further lines of the service
	exitCode int    // at the end
}

// startBench starts Jetway in front of members at these ports.
func startBench(t *testing.T, o options, ports ...int) *bench {
	t.Helper()
	b := &bench{addr: harness.Loopback(harness.FreePort(t))}
	var c strings.Builder
	if o.timeouts != "" {
		o.timeouts = ", " + o.timeouts
	}
	fmt.Fprintf(&c, "loadbalancer:\n  name: lb1\n  listeners:\n    - {name: http, address: %q}\n  admin: {address: %q}\n",
		b.addr, harness.Loopback(harness.FreePort(t)))
	fmt.Fprintf(&c, "  timeouts: {connect: 1s%s}\n%smembership:\n  static:\n", o.timeouts, o.top)
	for i, port := range ports {
		fmt.Fprintf(&c, "    - {id: m%d, domain: d.domain, host: 127.0.0.1, http: %d}\n", i, port)
	}
	// Members here break as they like and take one connection at a time: nobody is to check or eject them.
	fmt.Fprintf(&c, "services:\n  defaults: {health: {type: none, failures: 0}}\n  s:\n    hosts: [lb.test]\n    affinity: {mode: none}\n%s    domains:\n      d.domain: {tenant_range: \"*\"}\n", o.service)
	b.config = c.String()
	b.Jetway = harness.Start(t, b.config, harness.ExitCode(o.exitCode))
	return b
}

// dial connects to Jetway; the connection ends with the test.
func (b *bench) dial(t testing.TB) *harness.Client {
	t.Helper()
	return harness.Dial(t, b.addr)
}

// number returns a metric, 0 where it is not there.
func (b *bench) number(series string) float64 {
	n, _ := strconv.ParseFloat(b.Metric(series), 64)
	return n
}

// quiet checks that nothing is left of the traffic: no request in flight, no
// panic.
func (b *bench) quiet(t *testing.T) {
	t.Helper()
	eventually(t, 5*time.Second, "no request in flight", func() bool {
		return b.Metric("jetway_requests_in_flight") == "0" && b.Metric("jetway_open_connections") == "0"
	})
	if n := b.Metric("jetway_panics_total"); n != "0" {
		t.Errorf("%s panics", n)
	}
}

// holds polls until a fact is true.
func holds(within time.Duration, fact func() bool) bool {
	for deadline := time.Now().Add(within); !fact(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

func eventually(t *testing.T, within time.Duration, what string, fact func() bool) {
	t.Helper()
	if !holds(within, fact) {
		t.Errorf("not within %v: %s", within, what)
	}
}

// head joins lines to a head with its empty line.
func head(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// get is a plain request.
func get(path string) string { return head("GET "+path+" HTTP/1.1", "Host: lb.test") }

// envInt reads a number from the environment.
func envInt(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// startRaw starts a member of few rules: serve gets every connection, owns it
// until it returns, and has to read the requests itself. All ends with the test.
func startRaw(t *testing.T, serve func(net.Conn)) (port int) {
	t.Helper()
	port = harness.FreePort(t)
	l, err := net.Listen("tcp", harness.Loopback(port))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards conns
	conns := map[net.Conn]bool{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[conn] = true
			mu.Unlock()
			wg.Go(func() {
				serve(conn)
				conn.Close()
				mu.Lock()
				delete(conns, conn)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for conn := range conns {
			conn.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return port
}

// skipHead reads up to the end of a head, byte by byte, so that nothing of
// what follows is read ahead.
func skipHead(r io.Reader) (string, error) {
	var head []byte
	for one := make([]byte, 1); !strings.HasSuffix(string(head), "\r\n\r\n"); {
		if _, err := io.ReadFull(r, one); err != nil {
			return string(head), err
		}
		head = append(head, one[0])
	}
	return string(head), nil
}
