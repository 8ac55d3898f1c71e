package traffic

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// upgradeTo asks for a WebSocket at a path.
func upgradeTo(path string) string {
	return head("GET "+path+" HTTP/1.1", "Host: lb.test", "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
}

// startSwitching starts a member that switches protocols and then does what
// the path says. What it read, and how that ended, is sent to ends.
func startSwitching(t *testing.T, ends chan string) (port int) {
	return startRaw(t, func(conn net.Conn) {
		h, err := skipHead(conn)
		if err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		switch {
		case strings.HasPrefix(h, "GET /member-first"):
			io.WriteString(conn, "hello")
			conn.(*net.TCPConn).CloseWrite()
			said, err := io.ReadAll(conn)
			ends <- fmt.Sprintf("%s %v", said, err)
		case strings.HasPrefix(h, "GET /client-first"):
			said, err := io.ReadAll(conn)
			fmt.Fprintf(conn, "heard %s", said)
			ends <- fmt.Sprintf("%s %v", said, err)
		default:
			_, err := io.Copy(struct{ io.Writer }{conn}, conn)
			ends <- fmt.Sprint(err)
		}
	})
}

// tunnel opens one and returns it after the 101.
func (b *bench) tunnel(t *testing.T, path string) *harness.Client {
	t.Helper()
	c := b.dial(t)
	c.Send(upgradeTo(path))
	if a, err := c.Await("GET", 5*time.Second); err != nil || a.Status != 101 {
		t.Fatalf("%s: %d, %v", path, a.Status, err)
	}
	return c
}

// bounce sends text through an echoing tunnel.
func bounce(t *testing.T, c *harness.Client, text string) {
	t.Helper()
	c.Send(text)
	if got := c.Raw(len(text), 5*time.Second); got != text {
		t.Errorf("sent %q, got %q", text, got)
	}
}

// TestTunnelHalfClose: either end may stop talking and go on listening.
func TestTunnelHalfClose(t *testing.T) {
	ends := make(chan string, 1)
	b := startBench(t, options{}, startSwitching(t, ends))

	c := b.tunnel(t, "/client-first")
	c.Send("question")
	c.CloseWrite()
	if got := <-ends; got != "question <nil>" {
		t.Errorf("member read %q", got)
	}
	if got := c.Raw(100, 5*time.Second); got != "heard question" {
		t.Errorf("client read %q", got)
	}
	if err := c.AwaitEOF(time.Second); err != nil {
		t.Error(err)
	}

	c = b.tunnel(t, "/member-first")
	if got := c.Raw(100, 5*time.Second); got != "hello" {
		t.Errorf("client read %q", got)
	}
	c.Send("still here")
	c.CloseWrite()
	if got := <-ends; got != "still here <nil>" {
		t.Errorf("member read %q", got)
	}
	b.quiet(t)
}

// TestTunnelMany: 200 tunnels echo at once, each its own bytes.
func TestTunnelMany(t *testing.T) {
	ends := make(chan string, 200)
	b := startBench(t, options{}, startSwitching(t, ends))
	before := b.leftovers()
	size := 256 << 10
	if testing.Short() {
		size = 16 << 10
	}
	var tunnels []*harness.Client
	for range cap(ends) {
		tunnels = append(tunnels, b.tunnel(t, "/echo"))
	}
	if n := b.Metric("jetway_tunnels"); n != "200" {
		t.Errorf("%s tunnels", n)
	}
	fullest := b.leftovers()
	var wg sync.WaitGroup
	for i, c := range tunnels {
		wg.Go(func() {
			if err := echoed(c, pattern(uint64(i), 0, size)); err != nil {
				t.Errorf("tunnel %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for range tunnels {
		<-ends
	}
	b.quiet(t)
	b.backTo(t, before, fullest)
}

// echoed sends text in random pieces, half-closes, and compares what comes back.
func echoed(c *harness.Client, text []byte) error {
	rng := rand.New(rand.NewPCG(1, uint64(text[7])))
	go func() {
		for rest := text; len(rest) > 0; {
			n := 1 + rng.IntN(min(len(rest), 40000))
			if _, err := c.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
		c.CloseWrite()
	}()
	if got := c.Raw(len(text), 20*time.Second); !bytes.Equal([]byte(got), text) {
		return fmt.Errorf("%d of %d bytes came back, or wrong ones", len(got), len(text))
	}
	return c.AwaitEOF(5 * time.Second)
}

// TestTunnelIdle: a tunnel ends when nothing moved for timeouts.upgrade_idle,
// and not while one direction is alive.
func TestTunnelIdle(t *testing.T) {
	const idle = 2 * time.Second
	ends := make(chan string, 2)
	b := startBench(t, options{timeouts: "upgrade_idle: " + idle.String()}, startSwitching(t, ends))
	c := b.tunnel(t, "/client-first") // the member says nothing
	var start time.Time               // of the silence
	for range 6 {
		time.Sleep(idle / 4) // the client's pace
		start = time.Now()
		if err := c.Send("x"); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case end := <-ends:
		t.Fatalf("ended while the client talked: %s", end)
	default:
	}
	<-ends
	if took := time.Since(start); took < idle-50*time.Millisecond || took > 3*idle {
		t.Errorf("ended after %v of silence, limit %v", took, idle)
	}
	if err := c.AwaitEOF(time.Second); err != nil && !isReset(err) {
		t.Error(err)
	}
	b.quiet(t)
}

func isReset(err error) bool {
	return err != nil && !errors.Is(err, io.EOF) && strings.Contains(err.Error(), "reset")
}

// TestTunnelReload: a change of the configuration does not touch tunnels, not
// even one that takes their member away.
func TestTunnelReload(t *testing.T) {
	ends := make(chan string, 4)
	first, second := startSwitching(t, ends), startSwitching(t, ends)
	b := startBench(t, options{}, first)
	c := b.tunnel(t, "/echo")
	bounce(t, c, "before")
	b.Reload(t, strings.Replace(b.config, fmt.Sprintf("id: m0, domain: d.domain, host: 127.0.0.1, http: %d", first),
		fmt.Sprintf("id: m1, domain: d.domain, host: 127.0.0.1, http: %d", second), 1))
	eventually(t, 5*time.Second, "the new configuration in force", func() bool {
		return strings.Contains(b.Log(), `"member":"m1"`)
	})
	bounce(t, c, "after")
	bounce(t, b.tunnel(t, "/echo"), "new")
	bounce(t, c, "and again")
}

// TestTunnelDrain: a stop waits for tunnels until timeouts.drain and then
// ends them.
func TestTunnelDrain(t *testing.T) {
	const drain = time.Second
	ends := make(chan string, 1)
	port := startSwitching(t, ends)
	b := startBench(t, options{timeouts: "drain: " + drain.String(), exitCode: 1}, port)
	c := b.tunnel(t, "/echo")
	start := time.Now()
	b.Signal(syscall.SIGTERM)
	eventually(t, 2*time.Second, "no new connections", func() bool {
		conn, err := net.DialTimeout("tcp", b.addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	bounce(t, c, "while it drains")
	if err := c.AwaitEOF(5 * time.Second); err != nil && !isReset(err) {
		t.Error(err)
	}
	<-ends
	if took := time.Since(start); took < drain-100*time.Millisecond || took > drain+time.Second {
		t.Errorf("the tunnel ended after %v, timeouts.drain is %v", took, drain)
	}
	select {
	case <-b.Gone():
	case <-time.After(3 * time.Second):
		t.Error("jetway is still there")
	}
}
