package traffic

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestStalledMember: while a member takes nothing, Jetway does not read from
// the client, and must not hold that against the client's minimum rate.
func TestStalledMember(t *testing.T) {
	m := startBulk(t, 32<<20)
	m.read = make(chan bool, 1)
	b := startBench(t, options{timeouts: "header: 500ms, body_min_rate: 16MiB"}, m.port)
	c := b.dial(t)
	defer c.Close()
	c.Conn.(*net.TCPConn).SetWriteBuffer(128 << 10)
	c.SetDeadline(time.Now().Add(20 * time.Second))
	time.AfterFunc(2*time.Second, func() { m.read <- true }) // the member's pause
	if err := m.put(c, "length"); err != nil {
		t.Errorf("upload to a member that paused: %v", err)
	}
}

// TestEarlyCloseWhole: an answer after which the connection ends arrives whole,
// however slowly it is read, also where the client sent more than was looked at.
func TestEarlyCloseWhole(t *testing.T) {
	const size = 192 << 10 // fits into what the kernel keeps of an answer
	member := startRaw(t, func(conn net.Conn) {
		if _, err := skipHead(conn); err != nil {
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", size)
		io.CopyN(conn, &counting{}, size)
		io.Copy(io.Discard, conn)
	})
	b := startBench(t, options{}, member)
	f := func(name, request string) {
		t.Helper()
		c := b.dial(t)
		defer c.Close()
		c.Send(request)
		eventually(t, 5*time.Second, name+": Jetway is done with it", func() bool { return b.Metric("jetway_requests_in_flight") == "0" })
		holds(300*time.Millisecond, func() bool { return b.Metric("jetway_open_connections") == "0" })
		a, err := c.Await("GET", 5*time.Second)
		if err != nil {
			t.Errorf("%s: %d of %d bytes, then %v", name, a.BodyLen, size, err)
		}
	}
	last := head("GET / HTTP/1.1", "Host: lb.test", "Connection: close")
	f("nothing behind", last)
	f("little behind", last+get("/"))
	f("much behind", last+strings.Repeat(get("/"), 1000))
	f("POST, answered before its body", head("POST / HTTP/1.1", "Host: lb.test", "Content-Length: 100000")+strings.Repeat("b", 100000))
}

// TestEarlyAnswerEndsUpload: once the member answered and reads no more, what
// the client still sends is not waited for: the request ends, and the client
// has its answer.
func TestEarlyAnswerEndsUpload(t *testing.T) {
	release := make(chan bool)
	member := startRaw(t, func(conn net.Conn) {
		if _, err := skipHead(conn); err != nil {
			return
		}
		conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		io.CopyN(io.Discard, conn, 300<<10) // the upload is in full flow
		io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
		<-release
	})
	b := startBench(t, options{}, member)
	for _, framing := range []string{"length", "chunked"} {
		c := b.dial(t)
		sent := make(chan error, 1)
		go func() { sent <- (&bulk{size: 64 << 20}).send(c, framing) }()
		a, err := c.Await("POST", 5*time.Second)
		if err != nil || a.Status != 413 {
			t.Errorf("%s: %d, %v", framing, a.Status, err)
		}
		eventually(t, 2*time.Second, framing+": the request ended", func() bool { return b.Metric("jetway_requests_in_flight") == "0" })
		select {
		case err := <-sent:
			if err == nil {
				t.Errorf("%s: all of the body was taken", framing)
			}
		case <-time.After(3 * time.Second):
			t.Errorf("%s: the client can still send", framing)
		}
		c.Close()
	}
	close(release)
	b.quiet(t)
}
