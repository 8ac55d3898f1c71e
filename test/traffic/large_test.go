package traffic

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jetway/test/harness"
)

const (
	growthMax  = 32 << 20 // of Jetway's memory, whatever passes through
	acceptsMax = 32 << 20 // what it and the kernel, whose buffers may grow to many MiB, take for an end that does not read
)

// bulk is a member that gives and takes large bodies. What it wrote, or read,
// and how that ended, is told.
type bulk struct {
	port   int
	size   int64
	moved  atomic.Int64
	read   chan bool // where not nil, an upload waits for it
	result chan error
}

func startBulk(t *testing.T, size int64) *bulk {
	b := &bulk{size: size, result: make(chan error, 8)}
	b.port = startRaw(t, func(conn net.Conn) {
		// Little in the kernel, so that what is measured is Jetway's.
		conn.(*net.TCPConn).SetWriteBuffer(128 << 10)
		conn.(*net.TCPConn).SetReadBuffer(128 << 10)
		br := bufio.NewReaderSize(conn, 64<<10)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if req.Method == http.MethodGet {
				b.give(conn, req)
			} else {
				b.take(conn, req)
			}
		}
	})
	return b
}

func (b *bulk) give(conn net.Conn, req *http.Request) {
	w := io.Writer(conn)
	if chunked := strings.HasPrefix(req.URL.Path, "/chunked"); chunked {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		w = chunker{conn}
		defer io.WriteString(conn, "0\r\n\r\n")
	} else {
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", b.size)
	}
	_, err := io.CopyBuffer(counter{w, &b.moved}, struct{ io.Reader }{source(b.size)}, make([]byte, 32<<10))
	b.result <- err
}

func (b *bulk) take(conn net.Conn, req *http.Request) {
	if b.read != nil {
		<-b.read
	}
	err := verify(req.Body, b.size, &b.moved)
	if n, _ := io.Copy(io.Discard, req.Body); err == nil && n > 0 {
		err = fmt.Errorf("%d bytes too many", n)
	}
	b.result <- err
	io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
}

// counter counts what is written.
type counter struct {
	io.Writer
	n *atomic.Int64
}

func (c counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// chunker writes each piece as a chunk.
type chunker struct{ w io.Writer }

func (c chunker) Write(p []byte) (int, error) {
	b := append(append(fmt.Appendf(nil, "%x\r\n", len(p)), p...), "\r\n"...)
	if _, err := c.w.Write(b); err != nil {
		return 0, err
	}
	return len(p), nil
}

func largeSize() int64 {
	mib := 64
	if testing.Short() {
		mib = 16
	}
	return int64(envInt("JETWAY_TRAFFIC_MIB", mib)) << 20
}

// flat runs work and checks that Jetway's memory does not grow with it.
func (b *bench) flat(t *testing.T, name string, work func() error) {
	t.Helper()
	before, most := b.RSS(), int64(0)
	done := make(chan error, 1)
	start := time.Now()
	go func() { done <- work() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			most = max(most, b.RSS())
			continue
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		break
	}
	grown := most - before
	t.Logf("%s: %v, memory grew by %.1f MiB", name, time.Since(start).Round(time.Millisecond), float64(grown)/(1<<20))
	if grown > growthMax {
		t.Errorf("%s: memory grew by %d MiB", name, grown>>20)
	}
}

// TestStreamLarge: large bodies pass whole, and Jetway does not hold them.
func TestStreamLarge(t *testing.T) {
	m := startBulk(t, largeSize())
	b := startBench(t, options{}, m.port)
	warm := b.dial(t)
	warm.Send(head("POST /warm HTTP/1.1", "Host: lb.test", "Content-Length: 0"))
	warm.Await("POST", 5*time.Second)
	<-m.result
	warm.Close()
	size := m.size >> 20
	for _, kind := range []string{"length", "chunked"} {
		b.flat(t, fmt.Sprintf("%d MiB down, %s", size, kind), func() error { return m.download(b.dial(t), kind) })
		b.flat(t, fmt.Sprintf("%d MiB up, %s", size, kind), func() error { return m.upload(b.dial(t), kind) })
	}
	b.quiet(t)
}

func (m *bulk) download(c *harness.Client, kind string) error {
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	c.Send(get("/" + kind))
	if err := m.receive(c); err != nil {
		return err
	}
	return <-m.result
}

// receive reads the answer and compares it.
func (m *bulk) receive(c *harness.Client) error {
	res, err := http.ReadResponse(bufio.NewReaderSize(c.Conn, 64<<10), nil)
	if err != nil {
		return err
	}
	var n atomic.Int64
	if err := verify(res.Body, m.size, &n); err != nil {
		return err
	}
	_, err = io.ReadFull(res.Body, make([]byte, 1))
	if err != io.EOF {
		return fmt.Errorf("%v behind the body", err)
	}
	return nil
}

func (m *bulk) upload(c *harness.Client, kind string) error {
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	return m.put(c, kind)
}

// put sends a body, counting into also, and takes the answer.
func (m *bulk) put(c *harness.Client, kind string, also ...io.Writer) error {
	if err := m.send(c, kind, also...); err != nil {
		return err
	}
	if a, err := c.Await("POST", 5*time.Minute); err != nil || a.Status != 200 {
		return fmt.Errorf("answered %d, %v", a.Status, err)
	}
	return <-m.result
}

// send sends a request with a body.
func (m *bulk) send(c *harness.Client, kind string, also ...io.Writer) error {
	w := io.Writer(c.Conn)
	if kind == "chunked" {
		c.Send(head("POST /up HTTP/1.1", "Host: lb.test", "Transfer-Encoding: chunked"))
		w = chunker{w}
	} else {
		c.Send(head("POST /up HTTP/1.1", "Host: lb.test", fmt.Sprintf("Content-Length: %d", m.size)))
	}
	w = io.MultiWriter(append([]io.Writer{w}, also...)...)
	if _, err := io.CopyBuffer(w, struct{ io.Reader }{source(m.size)}, make([]byte, 32<<10)); err != nil {
		return err
	}
	if kind == "chunked" {
		return c.Send("0\r\n\r\n")
	}
	return nil
}

// TestStreamBackPressure: an end that does not read stops the other one, and
// once it reads, everything is there.
func TestStreamBackPressure(t *testing.T) {
	const size = 48 << 20
	m := startBulk(t, size)
	b := startBench(t, options{}, m.port)
	for _, kind := range []string{"length", "chunked"} {
		m.moved.Store(0)
		c := b.dial(t)
		c.Conn.(*net.TCPConn).SetReadBuffer(128 << 10)
		c.SetDeadline(time.Now().Add(time.Minute))
		c.Send(get("/" + kind))
		stalls(t, "download, "+kind, &m.moved)
		if err := m.receive(c); err != nil {
			t.Errorf("download, %s: %v", kind, err)
		}
		<-m.result
		c.Close()
	}
	m.read = make(chan bool, 1)
	for _, kind := range []string{"length", "chunked"} {
		c := b.dial(t)
		c.Conn.(*net.TCPConn).SetWriteBuffer(128 << 10)
		c.SetDeadline(time.Now().Add(time.Minute))
		var sent atomic.Int64
		done := make(chan error, 1)
		go func() { done <- m.put(c, kind, counter{io.Discard, &sent}) }()
		stalls(t, "upload, "+kind, &sent)
		m.read <- true
		if err := <-done; err != nil {
			t.Errorf("upload, %s: %v", kind, err)
		}
		c.Close()
	}
	b.quiet(t)
}

// stalls waits until n stands still and checks that it does so early.
func stalls(t *testing.T, name string, n *atomic.Int64) {
	t.Helper()
	last, since := int64(-1), time.Now()
	if !holds(10*time.Second, func() bool {
		if now := n.Load(); now != last || now == 0 {
			last, since = now, time.Now()
		}
		return time.Since(since) > 400*time.Millisecond
	}) {
		t.Errorf("%s: does not stop", name)
	}
	t.Logf("%s: stopped after %.1f MiB", name, float64(last)/(1<<20))
	if last > acceptsMax {
		t.Errorf("%s: %d MiB taken for an end that does not read", name, last>>20)
	}
}
