package httpcases

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// noStrays fails where anything but canaries reached a member, or where the
// next client does not get its own answer.
func (b *bench) noStrays(t *testing.T) {
	t.Helper()
	s := &seen{}
	b.newCanary(s)
	b.collect(s, "p.lb.test n.lb.test")
	if s.canary != "" {
		t.Errorf("canary: %s", s.canary)
	}
	for _, r := range s.requests {
		t.Errorf("%s got %.300q", r.Member, r.Head)
	}
}

// TestRandomBytes is row R25: what is no HTTP reaches nobody and costs nothing.
func TestRandomBytes(t *testing.T) {
	t.Parallel()
	seeds := 10000
	if testing.Short() {
		seeds = 500
	}
	b := startBench(t, roomy())
	before := b.process.RSS()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			buf := make([]byte, 4096)
			for seed := next.Add(1); seed <= int64(seeds); seed = next.Add(1) {
				src := rand.NewPCG(uint64(seed), 25)
				for i := range buf {
					buf[i] = byte(src.Uint64())
				}
				if err := b.refusesGarbage(string(buf)); err != nil {
					t.Errorf("seed %d: %v", seed, err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.noStrays(t)
	if grown := b.process.RSS() - before; grown > 64<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
}

// refusesGarbage sends bytes and FIN and accepts an answer of 4xx or 5xx, or none.
func (b *bench) refusesGarbage(text string) error {
	c, err := b.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	c.Send(text)
	c.CloseWrite()
	a, err := c.Await("GET", 5*time.Second)
	if errors.Is(err, io.EOF) || isReset(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if a.Status < 400 {
		return fmt.Errorf("answered %d", a.Status)
	}
	return nil
}

// TestTransferEncodingMutants is row E24: the mutations of the smuggler lists,
// a byte put before, into and behind "Transfer-Encoding: chunked", with a
// length beside it. What the line is by the grammar of RFC 9110 decides what
// must happen.
func TestTransferEncodingMutants(t *testing.T) {
	t.Parallel()
	b := startBench(t, roomy())
	shapes := []string{"Transfer-Encoding%s: chunked", "Transfer-Encoding:%schunked", "Transfer-Encoding: chunked%s", "%sTransfer-Encoding: chunked",
		"X: X%sTransfer-Encoding: chunked", "Transfer-Encoding: chunked%sX: X", "X: X\r%sTransfer-Encoding: chunked", "X: X%s\nTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked\r%sX: X", "Transfer-Encoding: chunked%s\nX: X", "Transfer%sEncoding: chunked", "Transfer-Encoding: chu%snked",
		"Transfer-Encoding:\r\n%schunked", "Transfer-Encoding: %s, chunked", "Transfer-Encoding: \"%s\", chunked"}
	sample := 4 // of the bytes above space
	if testing.Short() {
		sample = 16
	} else if os.Getenv("JETWAY_REQUIRE_ALL") == "1" {
		sample = 1
	}
	var wrong int
	for i, shape := range shapes {
		for c := 0; c < 256; c++ {
			if c > 0x20 && (c+i)%sample != 0 {
				continue
			}
			line := fmt.Sprintf(shape, string([]byte{byte(c)}))
			in := P("hello", "Content-Length: 5", line)
			r := &row{id: "E24", in: in, want: mutantWant(in, line)}
			if err := b.judge(r, whole, b.run(r, whole)); err != nil {
				t.Errorf("%q: %v", line, err)
				if wrong++; wrong > 30 {
					t.Fatal("and so on")
				}
			}
		}
	}
}

// mutantWant applies the grammar to the lines behind Content-Length.
func mutantWant(in, text string) []outcome {
	kept := in
	for line := range strings.SplitSeq(text, "\r\n") {
		name, value, colon := strings.Cut(line, ":")
		switch {
		case strings.ContainsAny(line, "\r\n\x00"):
			return rej()
		case !colon || !validName(name):
			return rej()
		case strings.EqualFold(name, "Transfer-Encoding"):
			return rejAs(400, 501) // beside a length, whatever the coding
		case strings.EqualFold(strings.ReplaceAll(name, "_", "-"), "Transfer-Encoding"):
			kept = strings.Replace(kept, line+"\r\n", "", 1)
		case strings.ContainsFunc(value, isControl):
			return or(rej(), ok(same(in)))
		}
	}
	return or(ok(same(kept)), ok(same(respaced(kept))), droppable(kept != in))
}

// respaced writes every field as "Name: value".
func respaced(in string) string {
	head, body, _ := strings.Cut(in, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	for i := 1; i < len(lines); i++ {
		name, value, _ := strings.Cut(lines[i], ":")
		lines[i] = name + ": " + strings.Trim(value, " \t")
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

// droppable: a line that would be dropped may as well be refused.
func droppable(yes bool) []outcome {
	if yes {
		return rej()
	}
	return nil
}

func validName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return name != ""
}

func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// TestIdleConnections is row S10: connections without a byte are closed at
// the idle deadline and are in nobody's way.
func TestIdleConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for deadlines")
	}
	t.Parallel()
	n := 10000
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		n = min(n, int(limit.Cur)-1000)
	}
	b := startBench(t, tight())
	idle := make([]*harness.Client, 0, n)
	defer func() {
		for _, c := range idle {
			c.Close()
		}
	}()
	start := time.Now()
	for range n {
		c, err := b.dial()
		if err != nil {
			t.Fatalf("after %d connections: %v", len(idle), err)
		}
		idle = append(idle, c)
	}
	b.noStrays(t)
	for i, c := range idle {
		// Closed without a word, or with 408.
		if a, err := c.Await("GET", 10*time.Second); !errors.Is(err, io.EOF) && !isReset(err) && a.Status != 408 {
			t.Fatalf("connection %d of %d: %d, %v", i, n, a.Status, err)
		}
	}
	b.noStrays(t)
	t.Logf("%d connections closed after %v", n, time.Since(start))
}

// TestClientResets is row S11: a client that goes away in mid-answer frees
// the member's connection.
func TestClientResets(t *testing.T) {
	t.Parallel()
	b := startBench(t, roomy())
	freed := make(chan error, 1)
	b.setScript(func(c *harness.MemberConn, r *harness.Request) {
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nhello")
		_, err := c.AwaitClose(5 * time.Second)
		freed <- err
	})
	for _, end := range []func(c *harness.Client){
		func(c *harness.Client) { harness.Reset(c.Conn) },
		func(c *harness.Client) { c.Close() },
	} {
		c, err := b.dial()
		if err != nil {
			t.Fatal(err)
		}
		c.Send(G())
		if got := c.Raw(17, 5*time.Second); got != "HTTP/1.1 200 OK\r\n" {
			t.Fatalf("got %q", got)
		}
		end(c)
		if err := <-freed; err != nil {
			t.Error(err)
		}
	}
	b.setScript(nil)
	s := &seen{}
	if b.newCanary(s); s.canary != "" {
		t.Error(s.canary)
	}
}

// TestClientLeavesBeforeTheAnswer: the member's work is cancelled while it
// still thinks.
func TestClientLeavesBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	b := startBench(t, roomy())
	freed := make(chan error, 1)
	begun := make(chan bool, 1)
	b.setScript(func(c *harness.MemberConn, r *harness.Request) {
		begun <- true
		_, err := c.AwaitClose(5 * time.Second)
		freed <- err
	})
	c, err := b.dial()
	if err != nil {
		t.Fatal(err)
	}
	c.Send(G())
	<-begun
	start := time.Now()
	harness.Reset(c.Conn)
	if err := <-freed; err != nil || time.Since(start) > 3*time.Second {
		t.Errorf("member was let go after %v: %v", time.Since(start), err)
	}
}

// TestManyRequestsOnOneConnection is row S14: a request cap that is announced,
// or no growth; every answer its own.
func TestManyRequestsOnOneConnection(t *testing.T) {
	t.Parallel()
	n, batch := 20000, 50
	if testing.Short() {
		n = 2000
	}
	b := startBench(t, roomy())
	c, err := b.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var before int64
	for i := 0; i < n; i += batch {
		var requests strings.Builder
		for j := i; j < i+batch; j++ {
			requests.WriteString(line1(fmt.Sprintf("GET /%d HTTP/1.1", j)))
		}
		c.Send(requests.String())
		for j := i; j < i+batch; j++ {
			a, err := c.Await("GET", 5*time.Second)
			if err != nil || string(a.Body) != fmt.Sprintf("t1 GET /%d", j) {
				t.Fatalf("request %d: %d %q, %v", j, a.Status, a.Body, err)
			}
			if hasToken(a.Fields, "Connection", "close") {
				t.Logf("closed after %d requests", j+1)
				return
			}
		}
		b.members["t1"].Take()
		if i == n/4/batch*batch {
			before = b.process.RSS()
		}
	}
	if grown := b.process.RSS() - before; grown > 16<<20 {
		t.Errorf("memory grew by %d KiB", grown>>10)
	}
}

// TestEndlessBody is row B32: a member that sends for ever is slowed to the
// client's pace and memory stays flat.
func TestEndlessBody(t *testing.T) {
	t.Parallel()
	b := startBench(t, roomy())
	var sent atomic.Int64
	piece := strings.Repeat("x", 64<<10)
	b.setScript(func(c *harness.MemberConn, r *harness.Request) {
		c.Send("HTTP/1.1 200 OK\r\n\r\n")
		for c.Send(piece) == nil {
			sent.Add(int64(len(piece)))
		}
		c.Close()
	})
	before := b.process.RSS()
	c, err := b.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Send(G())
	c.Raw(1<<20, 5*time.Second)
	time.Sleep(300 * time.Millisecond)
	stalled := sent.Load()
	time.Sleep(300 * time.Millisecond)
	if now := sent.Load(); now != stalled || now > 64<<20 {
		t.Errorf("the member sent %d MiB to a client that read 1 MiB, %d more in 0.3 s", now>>20, now-stalled)
	}
	much := 64 << 20 // twice what is allowed below
	if harness.Long() {
		much = 256 << 20
	}
	c.Raw(much, 20*time.Second)
	if grown := b.process.RSS() - before; grown > 32<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
}

// TestEndlessUpload: the same the other way.
func TestEndlessUpload(t *testing.T) {
	t.Parallel()
	b := startBench(t, roomy())
	release := make(chan bool)
	b.setScript(func(c *harness.MemberConn, r *harness.Request) { <-release; c.Close() })
	defer close(release)
	before := b.process.RSS()
	c, err := b.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Send(line1("POST / HTTP/1.1", "Content-Length: 1000000000"))
	c.SetWriteDeadline(time.Now().Add(time.Second))
	var sent int
	for piece := strings.Repeat("x", 64<<10); c.Send(piece) == nil; {
		sent += len(piece)
	}
	if sent > 64<<20 {
		t.Errorf("took %d MiB for a member that read nothing", sent>>20)
	}
	if grown := b.process.RSS() - before; grown > 32<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
}
