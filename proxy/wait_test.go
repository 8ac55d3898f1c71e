package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jetway/balancer"
	"jetway/tenant"
)

// waitingProxy is a Server before an elastic cluster without members.
type waitingProxy struct {
	*Server
	t       *testing.T
	router  *balancer.Router
	address string
	wakes   atomic.Int64
	state   *balancer.ClusterState
	stop    func()
}

func startWaiting(t *testing.T, wait balancer.Wait) *waitingProxy {
	t.Helper()
	list, err := tenant.NewList([]tenant.Entry{{Name: "t1", ID: 1}, {Name: "t2", ID: 2}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := tenant.NewResolver(tenant.Config{Identify: []tenant.Rule{{Path: "**/t/{tenant}/"}}}, list)
	if err != nil {
		t.Fatal(err)
	}
	all, _ := tenant.ParseRanges("*")
	router, err := balancer.NewRouter(balancer.Config{Tenants: resolver, FailOver: true,
		Listeners: []balancer.Listener{{Name: "http", PublicPort: 80}},
		Clusters: []balancer.ClusterConfig{{Service: "s", Key: balancer.Key{Domain: "d", SubDomain: "worker"}, Hosts: []string{"a.test"}, Ranges: all,
			Retry: balancer.Retry{Attempts: 2, Budget: 0.2}, Elastic: true, Wait: wait}}},
		balancer.Options{Transport: NewPools().Open})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Listeners: []ListenerConfig{{Name: "http", Address: "127.0.0.1:0", PublicPort: 80}},
		Timeouts: Timeouts{Header: 5 * time.Second, Idle: 5 * time.Second, Connect: time.Second, ResponseHeader: 10 * time.Second,
			ResponseIdle: 10 * time.Second, Drain: 10 * time.Second}}, router, testLog())
	if err != nil {
		t.Fatal(err)
	}
	w := &waitingProxy{Server: s, t: t, router: router, state: router.Table().Clusters()[0].State}
	s.Wake(func(k balancer.Key) {
		if k.Domain != "d" {
			t.Errorf("wake for %s", k)
		}
		w.wakes.Add(1)
	})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	w.address = s.Addresses()[0].String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
		if n := w.state.Signals.Held() + w.state.InFlight.Load(); n != 0 || w.state.Totals(time.Now()).InFlight != 0 {
			t.Errorf("%d requests stay counted", n)
		}
		s.room.mu.Lock()
		defer s.room.mu.Unlock()
		if len(s.room.queues) != 0 {
			t.Errorf("%d queues stay", len(s.room.queues))
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w *waitingProxy) join(address string) {
	host, port, _ := net.SplitHostPort(address)
	n, _ := net.LookupPort("tcp", port)
	w.router.SetMembers([]balancer.Member{{ID: "m", Domain: "d", Host: host, HTTP: uint16(n), Weight: 1}})
}

// ask sends a request and returns the status, -1 where there was no answer.
func (w *waitingProxy) ask(path, body string) (int, http.Header) {
	c, err := net.Dial("tcp", w.address)
	if err != nil {
		return -1, nil
	}
	defer c.Close()
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return -1, nil
	}
	return resp.StatusCode, resp.Header
}

func (w *waitingProxy) await(n int64) {
	w.t.Helper()
	for range 2000 {
		if w.state.Signals.Held() == n {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.t.Fatalf("%d requests wait, want %d", w.state.Signals.Held(), n)
}

// TestWaitFromZero: requests wait for the first member, go to it in order, no
// more at a time than it should have, and all are answered.
func TestWaitFromZero(t *testing.T) {
	const requests, most = 40, 5
	w := startWaiting(t, balancer.Wait{Time: 30 * time.Second, Requests: 100, PerMember: most})
	var now, peak atomic.Int64
	member := startMember(t, func(c net.Conn) {
		defer c.Close()
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(req.Body)
			n := now.Add(1)
			for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
			}
			time.Sleep(10 * time.Millisecond)
			now.Add(-1)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
	var wg sync.WaitGroup
	for i := range requests {
		wg.Go(func() {
			if status, _ := w.ask("/", strings.Repeat("x", i*1000)); status != 200 {
				t.Errorf("request %d is answered %d", i, status)
			}
		})
	}
	w.await(requests)
	if w.wakes.Load() == 0 {
		t.Error("nobody is told")
	}
	w.join(member)
	wg.Wait()
	if p := peak.Load(); p > most {
		t.Errorf("%d requests at a time at the new member, want at most %d", p, most)
	}
	if _, n, sum := w.state.Waits.Counts(); n != requests || sum <= 0 {
		t.Errorf("%d waits of %s were counted, want %d", n, sum, requests)
	}
}

// TestWaitBounds: by number, tenant, bytes and time; beyond them 503 and when
// to come again.
func TestWaitBounds(t *testing.T) {
	w := startWaiting(t, balancer.Wait{Time: 2 * time.Second, Requests: 6, TenantRequests: 4, Bytes: 50_000, PerMember: 5})
	refused := func(path, body string) {
		t.Helper()
		begun := time.Now()
		status, header := w.ask(path, body)
		if status != 503 || header.Get("Retry-After") == "" || time.Since(begun) > time.Second {
			t.Errorf("%s is answered %d after %s, Retry-After %q", path, status, time.Since(begun), header.Get("Retry-After"))
		}
	}
	var wg sync.WaitGroup
	ask := func(path string) {
		wg.Go(func() {
			if status, header := w.ask(path, ""); status != 503 || header.Get("Retry-After") == "" {
				t.Errorf("%s is answered %d, %v after its time", path, status, header)
			}
		})
	}
	for range 4 {
		ask("/t/t1/")
	}
	w.await(4)
	refused("/t/t1/", "")
	refused("/t/t2/?"+strings.Repeat("x", 20_000), "") // bytes
	ask("/t/t2/")
	ask("/")
	w.await(6)
	refused("/t/t2/", "")
	wg.Wait() // nobody came: all are sent away after their time
	if n := w.state.Signals.Refused.Load(); n != 9 {
		t.Errorf("%d refused, want 9", n)
	}
}

// TestWaitClientsLeave: who gives up is not kept, and the server stops although
// somebody waits.
func TestWaitClientsLeave(t *testing.T) {
	w := startWaiting(t, balancer.Wait{Time: time.Minute, Requests: 100, PerMember: 5})
	var conns []net.Conn
	for range 10 {
		c, err := net.Dial("tcp", w.address)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		conns = append(conns, c)
	}
	w.await(10)
	for _, c := range conns[:9] {
		c.Close()
	}
	w.await(1)
	begun := time.Now()
	w.stop()
	if took := time.Since(begun); took > 8*time.Second {
		t.Errorf("the stop took %s", took)
	}
	b, _ := io.ReadAll(conns[9])
	if !strings.HasPrefix(string(b), "HTTP/1.1 503 ") {
		t.Errorf("%q", b)
	}
}

// TestWaitPipelined: what a client sent behind a request that waits is its
// next one.
func TestWaitPipelined(t *testing.T) {
	w := startWaiting(t, balancer.Wait{Time: time.Minute, Requests: 100, PerMember: 5})
	c, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /2 HT")
	w.await(1)
	io.WriteString(c, "TP/1.1\r\nHost: a.test\r\n\r\n")
	time.Sleep(20 * time.Millisecond) // so that it is read while the first waits; either way it must work
	w.join(startMember(t, func(c net.Conn) {
		defer c.Close()
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(req.URL.Path), req.URL.Path)
		}
	}))
	r := bufio.NewReader(c)
	for _, want := range []string{"/1", "/2"} {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(resp.Body); string(b) != want {
			t.Errorf("%q, want %q", b, want)
		}
	}
}

// TestExplainSaysThatItWaits: a request for an elastic cluster without members
// is foretold as it is served: it waits, or is turned away where no more may.
func TestExplainSaysThatItWaits(t *testing.T) {
	w := startWaiting(t, balancer.Wait{Time: time.Minute, Requests: 2, PerMember: 1})
	defer w.stop()
	f := func(held time.Duration, before, status int, reason string) {
		t.Helper()
		e, err := w.Explain(Question{Method: "GET", Target: "/", Fields: [][2]string{{"Host", "a.test"}}})
		if err != nil {
			t.Fatal(err)
		}
		if e.Held != held || e.Before != before || e.Status != status || e.Reason != reason {
			t.Errorf("held %s behind %d, %d %s; want %s behind %d, %d %s", e.Held, e.Before, e.Status, e.Reason, held, before, status, reason)
		}
	}
	f(time.Minute, 0, 0, "")
	if n := w.wakes.Load(); n != 0 {
		t.Errorf("explaining ordered %d members", n)
	}
	for i := range 2 {
		conn, err := net.Dial("tcp", w.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		for w.state.Signals.Held() != int64(i+1) {
			time.Sleep(time.Millisecond)
		}
		if i == 0 {
			f(time.Minute, 1, 0, "")
		}
	}
	f(0, 0, 503, overloaded.code())
}
