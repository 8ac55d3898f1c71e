package traffic

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	streamEvents = 100
	streamMax    = 50 * time.Millisecond // from one end's write to the other end's read
	// streamTries: other work on the machine may hold one of them up, a proxy
	// that collects holds up all.
	streamTries = 3
)

// writes notes when each event was written; the ends share a clock.
type writes [streamEvents]atomic.Int64

func (w *writes) note(i int) { w[i].Store(time.Now().UnixNano()) }

func (w *writes) since(i int) time.Duration {
	return time.Duration(time.Now().UnixNano() - w[i].Load())
}

// event is one line; it is as long as its number says.
func event(i int) string {
	return fmt.Sprintf("data: %03d %s\n", i, strings.Repeat("e", i%10*300))
}

// sendEvents writes events in pieces framed by frame, with pauses between them.
func sendEvents(w io.Writer, at *writes, frame func(string) string) error {
	for i := range streamEvents {
		time.Sleep(time.Duration(i%7) * time.Millisecond) // the pace of the source
		at.note(i)
		if _, err := io.WriteString(w, frame(event(i))); err != nil {
			return err
		}
	}
	return nil
}

// slowest reads events out of a body, chunked or not, and returns the largest delay.
// A chunk may be cut in two on its way (RFC 9112, 7.1): what counts is its bytes.
func slowest(br *bufio.Reader, at *writes, chunked bool) (time.Duration, error) {
	var worst time.Duration
	if chunked {
		br = bufio.NewReader(httputil.NewChunkedReader(br))
	}
	for i := range streamEvents {
		got := ""
		for !strings.HasSuffix(got, event(i)) {
			line, err := br.ReadString('\n')
			if err != nil {
				return worst, fmt.Errorf("event %d: %w", i, err)
			}
			got += line
			if len(got) > 1<<20 {
				return worst, fmt.Errorf("event %d is missing", i)
			}
		}
		worst = max(worst, at.since(i))
	}
	return worst, nil
}

func inChunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
func asIs(s string) string    { return s }

// sized is the length of all events.
func sized() int {
	n := 0
	for i := range streamEvents {
		n += len(event(i))
	}
	return n
}

// TestStreamEvents: each event reaches the client as the member writes it, in
// every framing and to every version.
func TestStreamEvents(t *testing.T) {
	var at writes
	member := startRaw(t, func(conn net.Conn) {
		h, err := skipHead(conn)
		if err != nil {
			return
		}
		start := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
		switch {
		case strings.Contains(h, "/chunked"):
			io.WriteString(conn, start+"Transfer-Encoding: chunked\r\n\r\n")
			sendEvents(conn, &at, inChunk)
			io.WriteString(conn, "0\r\n\r\n")
		case strings.Contains(h, "/length"):
			fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n", start, sized())
			sendEvents(conn, &at, asIs)
		default:
			io.WriteString(conn, start+"\r\n")
			sendEvents(conn, &at, asIs)
		}
	})
	b := startBench(t, options{}, member)
	f := func(path, version string, chunked bool) {
		t.Helper()
		within(t, "GET "+path+" "+version, func() (time.Duration, error) {
			c := b.dial(t)
			defer c.Close()
			c.SetDeadline(time.Now().Add(10 * time.Second))
			c.Send(head("GET "+path+" "+version, "Host: lb.test"))
			if _, err := skipHead(c); err != nil {
				return 0, err
			}
			return slowest(bufio.NewReader(c.Conn), &at, chunked)
		})
	}
	f("/chunked", "HTTP/1.1", true)
	f("/chunked", "HTTP/1.0", false)
	f("/length", "HTTP/1.1", false)
	f("/end", "HTTP/1.1", true)
	f("/end", "HTTP/1.0", false)
	b.quiet(t)
}

// TestStreamUpload: the member sees each piece as the client writes it.
func TestStreamUpload(t *testing.T) {
	var at writes
	type result struct {
		worst time.Duration
		err   error
	}
	results := make(chan result, 1)
	member := startRaw(t, func(conn net.Conn) {
		h, err := skipHead(conn)
		if err != nil {
			return
		}
		worst, err := slowest(bufio.NewReader(conn), &at, strings.Contains(h, "chunked"))
		results <- result{worst, err}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	})
	b := startBench(t, options{}, member)
	f := func(name, framing string, frame func(string) string) {
		t.Helper()
		within(t, name, func() (time.Duration, error) {
			c := b.dial(t)
			defer c.Close()
			c.SetDeadline(time.Now().Add(10 * time.Second))
			c.Send(head("POST /up HTTP/1.1", "Host: lb.test", framing))
			if err := sendEvents(c, &at, frame); err != nil {
				return 0, err
			}
			select {
			case r := <-results:
				return r.worst, r.err
			case <-time.After(5 * time.Second):
				return 0, fmt.Errorf("the member did not get it all")
			}
		})
	}
	f("chunked upload", "Transfer-Encoding: chunked", inChunk)
	f("upload with a length", fmt.Sprintf("Content-Length: %d", sized()), asIs)
	b.quiet(t)
}

// within measures a delay some times and fails if all are too long.
func within(t *testing.T, name string, measure func() (time.Duration, error)) {
	t.Helper()
	for try := 1; ; try++ {
		worst, err := measure()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		t.Logf("%s: slowest of %d events %v", name, streamEvents, worst.Round(10*time.Microsecond))
		if worst <= streamMax {
			return
		}
		if try == streamTries {
			t.Errorf("%s: an event took %v, at most %v", name, worst, streamMax)
			return
		}
	}
}

// source yields n bytes that any loss, doubling or exchange would show in.
func source(n int64) io.Reader { return io.LimitReader(&counting{}, n) }

// counting is an endless stream of numbers.
type counting struct {
	at   uint64
	rest []byte
}

func (s *counting) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		s.rest = pattern(s.at, s.at, 32<<10)
		s.at++
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// verify compares what comes with source(n) and returns how much was right.
func verify(r io.Reader, n int64, seen *atomic.Int64) error {
	want := &counting{}
	got, buf := make([]byte, 64<<10), make([]byte, 64<<10)
	for left := n; left > 0; {
		k, err := r.Read(got[:min(left, int64(len(got)))])
		io.ReadFull(want, buf[:k])
		if !bytes.Equal(got[:k], buf[:k]) {
			return fmt.Errorf("wrong bytes at %d", n-left)
		}
		left -= int64(k)
		seen.Add(int64(k))
		if err != nil && left > 0 {
			return fmt.Errorf("ended at %d of %d: %w", n-left, n, err)
		}
	}
	return nil
}
