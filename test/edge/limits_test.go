package edge

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestLimitConnections: one over the limit gets a whole answer of its own and
// costs nobody else anything; its place is free as soon as another ends.
func TestLimitConnections(t *testing.T) {
	t.Parallel()
	s, j, _ := edge(t, nil, func(s *site) { s.limits = "connections: 3" })
	var held []*harness.Client
	for range 3 {
		c := harness.Dial(t, s.addr())
		if _, status := ask(t, c, get("/")); status != 200 {
			t.Fatalf("within the limit: %d", status)
		}
		held = append(held, c)
	}
	for range 5 {
		c := harness.Dial(t, s.addr())
		a, err := c.Await("GET", 5*time.Second)
		if err != nil || a.Status != 503 || !strings.Contains(string(a.Body), "connection_limit") || len(harness.Values(a.Fields, "Retry-After")) != 1 {
			t.Errorf("over the limit: %v, %q %q, want 503 connection_limit", err, a.Head, a.Body)
		}
		c.Close()
	}
	if _, status := ask(t, held[0], get("/")); status != 200 {
		t.Errorf("a held connection: %d", status)
	}
	if got := j.Metric(`jetway_connections_refused_total{limit="connections"}`); got != "5" {
		t.Errorf("%s refused, want 5", got)
	}
	if got := j.Metric("jetway_connections_limit"); got != "3" {
		t.Errorf("limit %s, want 3", got)
	}
	held[1].Close()
	eventually(t, 2*time.Second, "the place is free", func() bool {
		c := harness.Dial(t, s.addr())
		_, status := ask(t, c, get("/"))
		return status == 200
	})
}

// TestLimitPerSource: an IPv4 address, or an IPv6 /64, told by the PROXY
// protocol so that one machine can be many.
func TestLimitPerSource(t *testing.T) {
	t.Parallel()
	s, j, _ := edge(t, nil, func(s *site) { s.limits, s.listener = "connections_per_source: 2", ", proxy_protocol: true" })
	f := func(addr string, status int) *harness.Client {
		t.Helper()
		c := harness.Dial(t, s.addr())
		family := "TCP4"
		if strings.Contains(addr, ":") {
			family = "TCP6"
		}
		local := map[string]string{"TCP4": "192.0.2.1", "TCP6": "2001:db8:ffff::1"}[family]
		a, got := ask(t, c, fmt.Sprintf("PROXY %s %s %s 40000 80\r\n%s", family, addr, local, get("/")))
		if got != status {
			t.Errorf("%s: %d %s, want %d", addr, got, a.Body, status)
		}
		return c
	}
	first := f("198.51.100.1", 200)
	f("198.51.100.1", 200)
	f("198.51.100.1", 503)
	f("198.51.100.2", 200)        // its neighbour is somebody else
	f("::ffff:198.51.100.1", 503) // the same address in other words
	f("2001:db8:0:1::1", 200)
	f("2001:db8:0:1:ffff::2", 200)
	f("2001:db8:0:1:1:2:3:4", 503) // same /64
	f("2001:db8:0:2::1", 200)
	first.Close()
	eventually(t, 2*time.Second, "the place of a closed connection is free", func() bool {
		return j.Metric("jetway_open_connections") == "5"
	})
	f("198.51.100.1", 200)
	if got := j.Metric(`jetway_connections_refused_total{limit="connections_per_source"}`); got != "3" {
		t.Errorf("%s refused, want 3", got)
	}
}

// TestLimitHead: bytes and lines of a head.
func TestLimitHead(t *testing.T) {
	t.Parallel()
	s, _, m := edge(t, nil, func(s *site) { s.limits = "header_bytes: 2KiB, header_fields: 10" })
	fill := func(n int) string { // a head of n bytes in all
		head := get("/", "X: ")
		return strings.Replace(head, "X: ", "X: "+strings.Repeat("a", n-len(head)), 1)
	}
	lines := func(n int) string { return get("/", strings.Split(strings.Repeat("X: y\n", n-1), "\n")[:n-1]...) }
	want(t, s.addr(), fill(2048), 200)
	want(t, s.addr(), fill(2049), 431)
	want(t, s.addr(), "GET /"+strings.Repeat("a", 4096), 414) // and nothing more comes
	want(t, s.addr(), lines(10), 200)
	want(t, s.addr(), lines(11), 431)
	want(t, s.addr(), fill(600)+fill(600)+fill(600)+fill(600)+fill(600), 200) // five small heads in one packet
	if n := len(m.Requests()); n < 3 {
		t.Errorf("%d requests at the member", n)
	}
}

// TestLimitBody: 413 by Content-Length before a byte is read, and in chunks
// as soon as it is one byte too many.
func TestLimitBody(t *testing.T) {
	t.Parallel()
	s, _, m := edge(t, nil, func(s *site) { s.service = "    limits: {body: 100KiB}\n" })
	const limit = 100 << 10
	f := func(name, head, body string, status int) {
		t.Helper()
		c := harness.Dial(t, s.addr())
		defer c.Close()
		c.Send(head)
		go c.Send(body)
		a, err := c.Await("POST", 20*time.Second)
		if err != nil || a.Status != status {
			t.Errorf("%s: %v %d %s, want %d", name, err, a.Status, a.Body, status)
		}
	}
	chunked := strings.Replace(get("/", "Transfer-Encoding: chunked"), "GET", "POST", 1)
	chunks := func(n int) string {
		text := strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", 1024, strings.Repeat("x", 1024)), n/1024)
		if rest := n % 1024; rest > 0 {
			text += fmt.Sprintf("%x\r\n%s\r\n", rest, strings.Repeat("x", rest))
		}
		return text
	}
	whole := func() (n int) {
		for _, r := range m.Take() {
			if r.Complete {
				n++
			}
		}
		return n
	}
	f("length, at the limit", post(limit), strings.Repeat("x", limit), 200)
	f("chunked, at the limit", chunked, chunks(limit)+"0\r\n\r\n", 200)
	if n := whole(); n != 2 {
		t.Errorf("%d whole requests at the member, want 2", n)
	}
	f("length, one more", post(limit+1), "", 413)
	f("length with expectation", post(limit+1, "Expect: 100-continue"), "", 413)
	if n := len(m.Take()); n != 0 {
		t.Errorf("%d requests at the member, want none: their length was known", n)
	}
	f("chunked, one more", chunked, chunks(limit+1)+"0\r\n\r\n", 413)
	f("chunked, endless", chunked, chunks(20*limit), 413)
	f("chunked in small, too many", chunked, strings.Repeat("1\r\nx\r\n", limit+1), 413)
	m.AwaitQuiet(2 * time.Second)
	if n := whole(); n != 0 {
		t.Errorf("%d whole requests at the member, want none", n)
	}
}

// TestLimitUpgrades: no more tunnels than allowed, also where many ask at once.
func TestLimitUpgrades(t *testing.T) {
	t.Parallel()
	s, j, _ := edge(t, func(c *harness.MemberConn, r *harness.Request) {
		if !strings.Contains(string(r.Head), "Upgrade:") {
			harness.Echo(c, r)
			return
		}
		time.Sleep(200 * time.Millisecond) // all of them ask before the first is answered
		c.Send(switching)
		c.EchoTunnel("")
	}, func(s *site) { s.limits = "upgrades: 3" })
	var wg sync.WaitGroup
	var open, refused atomic.Int64
	var clients [12]*harness.Client
	for i := range clients {
		clients[i] = harness.Dial(t, s.addr())
		wg.Go(func() {
			switch a, status := ask(t, clients[i], upgrade); status {
			case 101:
				open.Add(1)
			case 503:
				refused.Add(1)
			default:
				t.Errorf("%d %s", status, a.Body)
			}
		})
	}
	wg.Wait()
	if open.Load() != 3 || refused.Load() != 9 {
		t.Errorf("%d upgraded, %d refused, want 3 and 9", open.Load(), refused.Load())
	}
	want(t, s.addr(), get("/"), 200) // everything else goes on
	for _, c := range clients {
		c.Close()
	}
	eventually(t, 3*time.Second, "no tunnel is counted", func() bool { return j.Metric("jetway_tunnels") == "0" })
	want(t, s.addr(), upgrade, 101)
}

// TestLimitRequestsPerConnection: the last answer says close, and no request
// is lost; Jetway's own answers count, too.
func TestLimitRequestsPerConnection(t *testing.T) {
	t.Parallel()
	s, _, m := edge(t, nil, func(s *site) { s.limits = "requests_per_connection: 3" })
	f := func(request string, status int) {
		t.Helper()
		c := harness.Dial(t, s.addr())
		defer c.Close()
		for i := range 3 {
			a, got := ask(t, c, request)
			if got != status {
				t.Fatalf("request %d: %d, want %d", i+1, got, status)
			}
			if closes := len(harness.Values(a.Fields, "Connection")) > 0; closes != (i == 2) {
				t.Errorf("request %d of 3 (%d) announces close: %v", i+1, status, closes)
			}
		}
		if err := c.AwaitEOF(time.Second); err != nil {
			t.Errorf("after 3 requests with %d: %v, want the end", status, err)
		}
	}
	f(get("/"), 200)
	f("GET / HTTP/1.1\r\nHost: unknown.test\r\n\r\n", 404)
	m.Take()
	c := harness.Dial(t, s.addr())
	c.Send(strings.Repeat(get("/"), 5)) // in one packet
	for range 3 {
		if a, err := c.Await("GET", 5*time.Second); err != nil || a.Status != 200 {
			t.Fatalf("%v %+v", err, a)
		}
	}
	if err := c.AwaitEOF(3 * time.Second); err != nil {
		t.Errorf("%v, want the end", err)
	}
	if n := len(m.Requests()); n != 3 {
		t.Errorf("%d requests at the member, want 3", n)
	}
}
