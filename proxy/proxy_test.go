package proxy

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"jetway/balancer"
	"jetway/tenant"

	"github.com/rs/zerolog"
)

// slowConn yields data in reads of at most step bytes.
type slowConn struct {
	net.Conn
	data []byte
	step int
}

func (c *slowConn) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.data[:min(c.step, len(c.data))])
	c.data = c.data[n:]
	return n, nil
}

// testProxy is a Server on loopback before members given by address.
type testProxy struct {
	*Server
	address string
	router  *balancer.Router
	stop    context.CancelFunc
	ended   chan error
}

func startProxy(t testing.TB, change func(*Config), members ...string) *testProxy {
	t.Helper()
	var list []balancer.Member
	for _, m := range members {
		host, port, _ := net.SplitHostPort(m)
		n, _ := net.LookupPort("tcp", port)
		list = append(list, balancer.Member{ID: m, Domain: "d", Host: host, HTTP: uint16(n), Weight: 1})
	}
	return startCluster(t, change, balancer.ClusterConfig{}, list)
}

// startCluster is startProxy for a cluster of some kind.
func startCluster(t testing.TB, change func(*Config), c balancer.ClusterConfig, list []balancer.Member) *testProxy {
	t.Helper()
	router := newTestRouter(t, c)
	router.SetMembers(list)
	cfg := Config{Listeners: []ListenerConfig{{Name: "http", Address: "127.0.0.1:0", PublicPort: 80}},
		Timeouts: Timeouts{Header: 5 * time.Second, Idle: 5 * time.Second, Connect: time.Second,
			ResponseHeader: 5 * time.Second, ResponseIdle: 5 * time.Second, UpgradeIdle: 5 * time.Second, Drain: 5 * time.Second}}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, router, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &testProxy{Server: s, address: s.Addresses()[0].String(), router: router, stop: cancel, ended: make(chan error, 1)}
	go func() { p.ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-p.ended; err != nil {
			t.Error(err)
		}
		if n := s.stats.panics.Load(); n > 0 {
			t.Errorf("%d panics", n)
		}
	})
	return p
}

// testRouting routes a.test to domain d; c says what else the cluster is.
func testRouting(t testing.TB, c balancer.ClusterConfig) balancer.Config {
	t.Helper()
	resolver, err := tenant.NewResolver(tenant.Config{Identify: []tenant.Rule{{Path: "**/t/{tenant}/"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Service, c.Key, c.Hosts = "s", balancer.Key{Domain: "d", SubDomain: "worker"}, []string{"a.test"}
	c.Balance, c.Retry = balancer.RoundRobin, balancer.Retry{Attempts: 2, Budget: 0.2}
	if c.Ranges, err = tenant.ParseRanges("*"); err != nil {
		t.Fatal(err)
	}
	return balancer.Config{Tenants: resolver, FailOver: true,
		Listeners: []balancer.Listener{{Name: "http", PublicPort: 80}}, Clusters: []balancer.ClusterConfig{c}}
}

func newTestRouter(t testing.TB, c balancer.ClusterConfig) *balancer.Router {
	t.Helper()
	router, err := balancer.NewRouter(testRouting(t, c), balancer.Options{Transport: NewPools().Open})
	if err != nil {
		t.Fatal(err)
	}
	return router
}

// testRouter has one member.
func testRouter(t testing.TB, m balancer.Member, c balancer.ClusterConfig) *balancer.Router {
	t.Helper()
	r := newTestRouter(t, c)
	r.SetMembers([]balancer.Member{m})
	return r
}

func testLog() zerolog.Logger { return zerolog.Nop() }

// startMember accepts connections and hands each to serve.
func startMember(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}

// echoMember answers every request that has no body with the same bytes.
func echoMember(answer string) func(net.Conn) {
	out := []byte(answer)
	return func(c net.Conn) {
		buf := make([]byte, 16<<10)
		for n := 0; ; {
			m, err := c.Read(buf[n:])
			if err != nil {
				return
			}
			n += m
			if bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
				n = 0
				if _, err := c.Write(out); err != nil {
					return
				}
			}
		}
	}
}

func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { c.Close() })
	return c
}

// say sends raw on a new connection and returns all that comes back.
func say(t testing.TB, address, raw string) string {
	t.Helper()
	c := dial(t, address)
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(c)
	return string(b)
}

func TestForward(t *testing.T) {
	p := startProxy(t, nil, startMember(t, echoMember("HTTP/1.1 200 OK\r\nX-b: 1\r\nContent-Length: 2\r\n\r\nhi")))
	got := say(t, p.address, "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
	if got != "HTTP/1.1 200 OK\r\nX-b: 1\r\nContent-Length: 2\r\nVia: 1.1 jetway\r\nConnection: close\r\n\r\nhi" {
		t.Fatalf("%q", got)
	}
}

func TestFailOverOnRefusedConnect(t *testing.T) {
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	dead := l.Addr().String()
	l.Close()
	p := startProxy(t, nil, dead, startMember(t, echoMember("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")))
	for range 10 {
		if got := say(t, p.address, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Fatalf("%q", got)
		}
	}
	for _, u := range p.router.Table().Upstreams() {
		if s := u.Status(time.Now().UnixNano()); s.Member.ID == dead && (s.State != "ejected" || s.Requests != 1) {
			t.Fatalf("the dead member: %+v", s)
		}
	}
}

func TestPostIsNotRepeated(t *testing.T) {
	hits := make(chan struct{}, 10)
	breaker := func(c net.Conn) {
		buf := make([]byte, 4096)
		if n, _ := c.Read(buf); n > 0 {
			hits <- struct{}{}
		}
	}
	p := startProxy(t, nil, startMember(t, breaker), startMember(t, breaker))
	if got := say(t, p.address, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 502") {
		t.Fatalf("%q", got)
	}
	if n := len(hits); n != 1 {
		t.Fatalf("POST ran %d times", n)
	}
	if got := say(t, p.address, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 502") {
		t.Fatalf("%q", got)
	}
	if n := len(hits); n != 3 {
		t.Fatalf("GET ran %d times, want 2", n-1)
	}
	if n := p.router.Table().Clusters()[0].State.Repeats[balancer.RetryFailed].Load(); n != 1 {
		t.Fatalf("%d repeats in vain were counted, want 1", n)
	}
}

func TestRepeatsAreCounted(t *testing.T) {
	breaker := func(c net.Conn) { c.Read(make([]byte, 4096)) }
	good := startMember(t, echoMember("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	counts := func(members ...string) (served, noBudget uint64) {
		p := startProxy(t, nil, members...)
		for range 20 {
			say(t, p.address, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
		}
		n := &p.router.Table().Clusters()[0].State.Repeats
		return n[balancer.RetryServed].Load(), n[balancer.RetryNoBudget].Load()
	}
	if served, _ := counts(startMember(t, breaker), good); served == 0 {
		t.Error("no repeat that was served is counted")
	}
	if served, noBudget := counts(startMember(t, breaker), startMember(t, breaker)); served != 0 || noBudget == 0 {
		t.Errorf("%d repeats were served and %d had no budget, want none and some", served, noBudget)
	}
}

// plainRequest is the plain path: what every benchmark and allocation bar means.
const plainRequest = "GET /services/echo HTTP/1.1\r\nHost: a.test\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
const plainAnswer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\n0123456789"

// TestPlainPathAllocatesNothing counts the allocations of the whole process:
// proxy, client and member.
func TestPlainPathAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	p := startProxy(t, nil, startMember(t, echoMember(plainAnswer)))
	c := dial(t, p.address)
	request, buf := []byte(plainRequest), make([]byte, 4096)
	round := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for n := 0; !bytes.HasSuffix(buf[:n], []byte("0123456789")); {
			m, err := c.Read(buf[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
	}
	for range 100 {
		round()
	}
	if n := testing.AllocsPerRun(2000, round); n != 0 {
		t.Fatalf("%v allocations per request", n)
	}
}

func BenchmarkPlain(b *testing.B) {
	p := startProxy(b, nil, startMember(b, echoMember(plainAnswer)))
	c := dial(b, p.address)
	c.SetDeadline(time.Time{})
	request, buf := []byte(plainRequest), make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		c.Write(request)
		for n := 0; !bytes.HasSuffix(buf[:n], []byte("0123456789")); {
			m, err := c.Read(buf[n:])
			if err != nil {
				b.Fatal(err)
			}
			n += m
		}
	}
}
