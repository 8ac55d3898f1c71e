package edge

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// longLived answers upgrades with an echoing tunnel, /long with a piece every
// 100 ms until stop is closed, and everything else at once.
func longLived(stop <-chan struct{}) harness.Script {
	return func(c *harness.MemberConn, r *harness.Request) {
		switch {
		case strings.Contains(string(r.Head), "Upgrade:"):
			c.Send(switching)
			c.EchoTunnel("")
		case strings.HasPrefix(r.Line, "GET /long "):
			c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for c.Send("1\r\nx\r\n") == nil {
				select {
				case <-stop:
					c.Send("0\r\n\r\n")
					return
				case <-tick.C:
				}
			}
		default:
			harness.Echo(c, r)
		}
	}
}

// alive are a WebSocket and a long answer under way, and an idle connection.
type alive struct{ tunnel, answer, idle *harness.Client }

func startAlive(t testing.TB, addr string, m *harness.Member) *alive {
	t.Helper()
	before := len(m.Requests())
	a := &alive{harness.Dial(t, addr), harness.Dial(t, addr), harness.Dial(t, addr)}
	if _, status := ask(t, a.tunnel, upgrade); status != 101 {
		t.Fatalf("upgrade: %d", status)
	}
	if _, status := ask(t, a.idle, get("/")); status != 200 {
		t.Fatalf("idle: %d", status)
	}
	a.answer.Send(get("/long"))
	eventually(t, 5*time.Second, "the long answer is under way", func() bool { return len(m.Requests()) == before+3 })
	return a
}

// ping uses the tunnel.
func (a *alive) ping(t testing.TB, when string) {
	t.Helper()
	a.tunnel.Send("ping")
	if got := a.tunnel.Raw(4, 5*time.Second); got != "ping" {
		t.Errorf("%s the tunnel gives %q", when, got)
	}
}

// TestDrainOnStop: what is under way lives on, idle connections end, nothing
// new is accepted; what takes longer than timeouts.drain is cut.
func TestDrainOnStop(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	m := harness.StartMember(t, "m", longLived(stop))
	s := newSite(t, m)
	s.timeouts = "drain: 10s"
	j := s.start(t)
	a := startAlive(t, s.addr(), m)
	j.Signal(syscall.SIGTERM)
	if err := a.idle.AwaitEOF(3 * time.Second); err != nil {
		t.Errorf("idle connection: %v, want its end", err)
	}
	eventually(t, 3*time.Second, "nothing new is accepted", func() bool { return refused(s.addr()) })
	if status, body := j.Get("/ready"); status != 503 {
		t.Errorf("/ready: %d %s, want 503 while draining", status, body)
	}
	for range 5 {
		a.ping(t, "while draining")
		time.Sleep(200 * time.Millisecond) // over more than a second
	}
	close(stop)
	if got, err := a.answer.Await("GET", 5*time.Second); err != nil || !got.Complete || got.Status != 200 {
		t.Errorf("the long answer: %v, complete %v", err, got.Complete)
	}
	a.ping(t, "after the long answer")
	a.tunnel.Close()
	select {
	case <-j.Gone():
	case <-time.After(3 * time.Second):
		t.Error("Jetway does not end although nothing is under way")
	}
}

// refused reports whether nobody listens at addr.
func refused(addr string) bool {
	c, err := tryDial(addr)
	if err == nil {
		c.Close()
	}
	return err != nil
}

// TestDrainCut: at the end of timeouts.drain everything ends, exit code 1.
func TestDrainCut(t *testing.T) {
	t.Parallel()
	m := harness.StartMember(t, "m", longLived(nil))
	s := newSite(t, m)
	s.timeouts = "drain: 1s"
	j := s.start(t, harness.ExitCode(1))
	a := startAlive(t, s.addr(), m)
	start := time.Now()
	j.Signal(syscall.SIGTERM)
	got, err := a.answer.Await("GET", 5*time.Second)
	if err == nil || got.Complete {
		t.Error("the long answer looks whole")
	}
	between(t, "drain", time.Since(start), 900*time.Millisecond, 2500*time.Millisecond)
	if err := a.tunnel.AwaitEOF(3 * time.Second); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("tunnel: %v, want its end", err)
	}
	<-j.Gone()
	between(t, "stop", time.Since(start), 900*time.Millisecond, 4*time.Second)
}

// TestDrainSlowClients: neither half a head nor a handshake that never ends
// holds up the stop for longer than timeouts.drain, and neither is a request
// that was cut.
func TestDrainSlowClients(t *testing.T) {
	t.Parallel()
	s, j, _ := edge(t, nil, func(s *site) { s.timeouts = "drain: 1s, header: 20s" })
	half := harness.Dial(t, s.addr())
	half.Send("GET / HTTP/1.1\r\nHost: ")
	silent := harness.Dial(t, s.addr())
	eventually(t, 3*time.Second, "both are open", func() bool { return j.Metric("jetway_open_connections") == "2" })
	start := time.Now()
	j.Signal(syscall.SIGTERM)
	if err := silent.AwaitEOF(3 * time.Second); err != nil {
		t.Errorf("silent connection: %v", err)
	}
	<-j.Gone()
	between(t, "stop", time.Since(start), 0, 2500*time.Millisecond)
}

// TestDrainOnReload: reloads that change everything leave tunnels and long
// answers alone.
func TestDrainOnReload(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	m, other := harness.StartMember(t, "m", longLived(stop)), harness.StartMember(t, "other", nil)
	s := newSite(t, m)
	s.timeouts = "drain: 10s"
	j := s.start(t)
	a := startAlive(t, s.addr(), m)
	changed := *s
	changed.member, changed.limits, changed.timeouts = other.Port, "header_bytes: 8KiB", "drain: 10s, total: 2s"
	begun := time.Now()
	for range 3 {
		mustReload(t, j, changed.String())
		if got := want(t, s.addr(), get("/"), 200); string(got.Body) != "other GET /" {
			t.Errorf("after the reload: %s", got.Body)
		}
		a.ping(t, "after a reload")
		mustReload(t, j, s.String())
		a.ping(t, "after a reload back")
	}
	if _, status := ask(t, a.idle, get("/")); status != 200 {
		t.Errorf("the idle connection: %d", status)
	}
	time.Sleep(max(0, 2500*time.Millisecond-time.Since(begun))) // the long answer is past the total of the other file by now
	close(stop)
	if got, err := a.answer.Await("GET", 5*time.Second); err != nil || !got.Complete {
		t.Errorf("the long answer: %v, complete %v", err, got.Complete)
	}
	a.tunnel.Close()
}

// TestDrainRemovedListener: on a listener that a reload removes, requests and
// tunnels go on to their end or to timeouts.drain, and nothing new begins.
func TestDrainRemovedListener(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	m := harness.StartMember(t, "m", longLived(stop))
	s := newSite(t, m)
	s.timeouts = "drain: 3s, idle: 30s"
	extra := harness.FreePort(t)
	both := *s
	both.listeners = fmt.Sprintf("    - {name: extra, address: \"127.0.0.1:%d\"}\n", extra)
	j := both.start(t)
	a := startAlive(t, harness.Loopback(extra), m)
	asked := time.Now()
	mustReload(t, j, s.String())
	removed := time.Now()
	if !refused(harness.Loopback(extra)) {
		t.Error("the removed listener still accepts")
	}
	a.ping(t, "after the removal")
	if err := a.idle.AwaitEOF(2 * time.Second); err != nil {
		t.Errorf("idle connection of the removed listener: %v, want its end", err)
	}
	close(stop)
	if got, err := a.answer.Await("GET", 2*time.Second); err != nil || !got.Complete {
		t.Errorf("the long answer: %v, complete %v", err, got.Complete)
	}
	if err := a.answer.AwaitEOF(2 * time.Second); err != nil {
		t.Errorf("connection of the removed listener after its answer: %v, want its end", err)
	}
	err := a.tunnel.AwaitEOF(6 * time.Second)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("tunnel of the removed listener: %v, want its end at timeouts.drain", err)
	}
	between(t, "the tunnel's end since it was asked for", time.Since(asked), 2500*time.Millisecond, time.Minute)
	between(t, "the tunnel's end", time.Since(removed), 0, 5*time.Second)
	want(t, s.addr(), get("/"), 200)
}
