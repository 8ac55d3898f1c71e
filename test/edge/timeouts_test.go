package edge

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestTimeoutHeader: absolute from the first byte, so a client that drips is
// answered 408, and one that says nothing is closed without a word.
func TestTimeoutHeader(t *testing.T) {
	t.Parallel()
	s, _, m := edge(t, nil, func(s *site) { s.timeouts = "header: 1s, idle: 20s" })
	f := func(name string, before func(*harness.Client), first string) {
		t.Helper()
		c := harness.Dial(t, s.addr())
		before(c)
		start := time.Now()
		c.Send(first)
		sent := drip(c, "a", 50*time.Millisecond, 80)
		a, err := c.Await("GET", 5*time.Second)
		if err != nil || a.Status != 408 {
			t.Errorf("%s: %v %+v, want 408", name, err, a)
		}
		between(t, name, time.Since(start), 900*time.Millisecond, 2*time.Second)
		c.Close()
		<-sent
	}
	nothing := func(*harness.Client) {}
	f("request line", nothing, "GET /")
	f("field", nothing, "GET / HTTP/1.1\r\nHost: a.test\r\nX: ")
	f("second request", func(c *harness.Client) { ask(t, c, get("/")) }, "GET / HTTP/1.1\r\nX: ")
	start := time.Now()
	c := harness.Dial(t, s.addr())
	if err := c.AwaitEOF(5 * time.Second); err != nil {
		t.Errorf("silent connection: %v, want its end", err)
	}
	between(t, "silence", time.Since(start), 900*time.Millisecond, 2*time.Second)
	if n := len(m.Requests()); n != 1 {
		t.Errorf("%d requests at the member, want the whole one", n)
	}
}

// TestTimeoutBodyMinRate: after a grace of timeouts.header a body must keep
// its rate over its whole life.
func TestTimeoutBodyMinRate(t *testing.T) {
	t.Parallel()
	s, _, m := edge(t, nil, func(s *site) { s.timeouts = "header: 1s, body_min_rate: 1KiB" })
	f := func(name, head, piece string, times, status int, least, most time.Duration) {
		t.Helper()
		c := harness.Dial(t, s.addr())
		start := time.Now()
		c.Send(head)
		sent := drip(c, piece, 100*time.Millisecond, times)
		a, err := c.Await("POST", 10*time.Second)
		if err != nil || a.Status != status {
			t.Errorf("%s: %v %+v, want %d", name, err, a, status)
		}
		between(t, name, time.Since(start), least, most)
		c.Close()
		<-sent
	}
	chunked := strings.Replace(get("/", "Transfer-Encoding: chunked"), "GET", "POST", 1)
	// At 500 B/s the body has earned less than it took after 1 s / (1 - 500/1024),
	// or sooner where this test was kept from sending.
	least := 900 * time.Millisecond
	if long() {
		least = 1200 * time.Millisecond
	}
	f("dripped", post(1<<20), strings.Repeat("x", 50), 100, 408, least, 3500*time.Millisecond)
	f("dripped in chunks", chunked, "32\r\n"+strings.Repeat("x", 50)+"\r\n", 100, 408, least, 3500*time.Millisecond)
	f("nothing", post(10), "", 1, 408, 900*time.Millisecond, 2500*time.Millisecond)
	f("fast enough", post(20*1000), strings.Repeat("x", 1000), 20, 200, 1800*time.Millisecond, 4*time.Second)
	eventually(t, 5*time.Second, "all connections to the member but idle ones are freed", func() bool { return m.OpenConns() <= 1 })
}

// TestTimeoutBodySlowMember: a member that takes its time is not the client's
// fault: the rate counts only while the client is waited for.
func TestTimeoutBodySlowMember(t *testing.T) {
	t.Parallel()
	s, _, _ := edge(t, func(c *harness.MemberConn, r *harness.Request) {
		time.Sleep(6 * time.Second) // reads nothing meanwhile: twice what was earned by then
		harness.Echo(c, r)
	}, func(s *site) { s.timeouts = "header: 1s, body_min_rate: 3MiB" })
	const size = 40 << 20
	request := []byte(post(size) + strings.Repeat("x", size)) // before dialling: so much fresh memory takes its time
	c := harness.Dial(t, s.addr())
	go c.Conn.Write(request)
	if a, err := c.Await("POST", 30*time.Second); err != nil || a.Status != 200 {
		t.Errorf("%v %d %s, want 200: the client sent as fast as it was let", err, a.Status, a.Body)
	}
}

// TestTimeoutIdle: a kept connection is closed without a word.
func TestTimeoutIdle(t *testing.T) {
	t.Parallel()
	s, _, _ := edge(t, nil, func(s *site) { s.timeouts = "header: 20s, idle: 2s" })
	c := harness.Dial(t, s.addr())
	var start time.Time // of the last request, before the limit begins
	for range 2 {
		start = time.Now()
		if _, status := ask(t, c, get("/")); status != 200 {
			t.Fatalf("status %d", status)
		}
	}
	if err := c.AwaitEOF(5 * time.Second); err != nil {
		t.Errorf("idle connection: %v, want its end", err)
	}
	between(t, "idle", time.Since(start), 1800*time.Millisecond, 4*time.Second)
}

// deaf returns the port of a listener whose queue is full: connecting to it
// gets no answer at all.
func deaf(t testing.TB) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	port := harness.FreePort(t)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for range 16 {
		c, err := net.DialTimeout("tcp", harness.Loopback(port), 100*time.Millisecond)
		if err != nil {
			return port
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue of a listener with backlog 0 does not fill")
	return 0
}

// TestTimeoutConnect: 504, and it counts as the member's failure.
func TestTimeoutConnect(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.member, s.timeouts = deaf(t), "connect: 500ms"
	s.start(t)
	start := time.Now()
	a := want(t, s.addr(), get("/", "Accept: application/json"), 504)
	between(t, "connect", time.Since(start), 400*time.Millisecond, 2*time.Second)
	if !strings.Contains(string(a.Body), "connect_timeout") {
		t.Errorf("body %s, want reason connect_timeout", a.Body)
	}
}

// TestTimeoutResponseHeader: 504, and the member's connection ends.
func TestTimeoutResponseHeader(t *testing.T) {
	t.Parallel()
	gone := make(chan time.Duration, 1)
	s, _, m := edge(t, func(c *harness.MemberConn, r *harness.Request) {
		r.ReadBody()
		closed(c, gone)
	}, func(s *site) { s.timeouts = "response_header: 1s, response_idle: 20s" })
	c := harness.Dial(t, s.addr())
	start := time.Now()
	if a, status := ask(t, c, post(3)+"abc"); status != 504 {
		t.Errorf("%d %s, want 504", status, a.Body)
	}
	if _, ok := <-gone; !ok {
		t.Error("the member's connection is still open")
	}
	between(t, "response_header", time.Since(start), 900*time.Millisecond, 2*time.Second)
	if n := len(m.Requests()); n != 1 {
		t.Errorf("%d requests at the member, want 1: a time-out is not repeated", n)
	}
	m.SetScript(nil)
	if _, status := ask(t, c, get("/")); status != 200 {
		t.Errorf("the client's connection after 504: %d, want 200", status)
	}
}

// TestTimeoutResponseIdle: a member that stalls in a body, and a client that
// does not read it.
func TestTimeoutResponseIdle(t *testing.T) {
	t.Parallel()
	f := func(name, head string, endless, reads bool) {
		t.Helper()
		gone := make(chan time.Duration, 1)
		s, _, _ := edge(t, func(c *harness.MemberConn, _ *harness.Request) {
			c.Send(head)
			for block := strings.Repeat("x", 64<<10); endless; {
				if _, err := io.WriteString(c, block); err != nil {
					break
				}
			}
			closed(c, gone)
		}, func(s *site) { s.timeouts = "response_header: 20s, response_idle: 1s" })
		c := harness.Dial(t, s.addr())
		start := time.Now()
		c.Send(get("/"))
		if reads {
			if a, err := c.Await("GET", 5*time.Second); err == nil || a.Complete || a.Status != 200 {
				t.Errorf("%s: %v, %d, complete %v, want an answer that is cut", name, err, a.Status, a.Complete)
			}
			between(t, name, time.Since(start), 900*time.Millisecond, 2500*time.Millisecond)
		}
		if _, ok := <-gone; !ok {
			t.Errorf("%s: the member's connection is still open", name)
		}
		between(t, name+": the member is free", time.Since(start), 800*time.Millisecond, 4*time.Second)
	}
	f("length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", false, true)
	f("chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false, true)
	f("until the end", "HTTP/1.1 200 OK\r\n\r\nabc", false, true)
	f("client does not read", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 1<<40), true, false)
}

// TestTimeoutTotal: the whole request, wherever it stands.
func TestTimeoutTotal(t *testing.T) {
	t.Parallel()
	f := func(name string, status int, request string, script func(*harness.MemberConn)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gone := make(chan time.Duration, 1)
			s, _, _ := edge(t, func(c *harness.MemberConn, _ *harness.Request) {
				script(c)
				closed(c, gone)
			}, func(s *site) { s.timeouts = "total: 1s, response_header: 8s, response_idle: 8s, header: 8s" })
			c := harness.Dial(t, s.addr())
			start := time.Now()
			go c.Send(request)
			if status >= 0 {
				a, err := c.Await("GET", 12*time.Second)
				if a.Status != status || err == nil && status == 200 {
					t.Errorf("%v, %d, want %d", err, a.Status, status)
				}
				between(t, "answer", time.Since(start), 900*time.Millisecond, 6*time.Second)
			}
			<-gone
			between(t, "the member", time.Since(start), 800*time.Millisecond, 6*time.Second) // the other limits are 8 s
		})
	}
	f("no head", 504, get("/"), func(*harness.MemberConn) {})
	f("body goes on", 200, get("/"), func(c *harness.MemberConn) {
		c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for range 60 {
			if c.Send("1\r\nx\r\n") != nil {
				return
			}
			<-tick.C
		}
	})
	f("body goes up slowly", 408, post(1000)+"abc", func(*harness.MemberConn) {})
	f("the client does not read", -1, get("/"), func(c *harness.MemberConn) {
		c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 1<<40))
		for block := strings.Repeat("x", 64<<10); ; {
			if _, err := io.WriteString(c, block); err != nil {
				return
			}
		}
	})
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	f("the member does not read", 504, post(100<<20)+strings.Repeat("x", 100<<20), func(c *harness.MemberConn) {
		select {
		case <-held:
		case <-time.After(2 * time.Second):
		}
	})
}

// TestTimeoutUpgradeIdle: a tunnel lives while a byte moves in one direction.
func TestTimeoutUpgradeIdle(t *testing.T) {
	t.Parallel()
	s, j, _ := edge(t, func(c *harness.MemberConn, _ *harness.Request) {
		c.Send(switching)
		c.EchoTunnel("")
	}, func(s *site) { s.timeouts = "upgrade_idle: 4s, idle: 20s, response_idle: 20s" })
	c := harness.Dial(t, s.addr())
	if _, status := ask(t, c, upgrade); status != 101 {
		t.Fatalf("status %d, want 101", status)
	}
	var start time.Time // of the silence
	for range 10 {
		start = time.Now()
		c.Send("ping")
		if got := c.Raw(4, 5*time.Second); got != "ping" {
			t.Fatalf("after %v: %q", time.Since(start), got)
		}
		time.Sleep(500 * time.Millisecond) // the pace, below the limit; all together above it
	}
	if err := c.AwaitEOF(12 * time.Second); err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("silent tunnel: %v, want its end", err)
		}
	}
	between(t, "upgrade_idle", time.Since(start), 3500*time.Millisecond, 8*time.Second)
	eventually(t, 3*time.Second, "no tunnel is counted", func() bool { return j.Metric("jetway_tunnels") == "0" })
}

const (
	upgrade   = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
