package traffic

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// goneMax is how long a member may go on working for a client that left.
const goneMax = 500 * time.Millisecond

// thoughtful is a member that reads the request, says so, begins an answer if
// the path says "begun", and then waits for the end of its connection.
type thoughtful struct {
	port  int
	reads chan bool
	ends  chan time.Time
}

func startThoughtful(t *testing.T) *thoughtful {
	m := &thoughtful{reads: make(chan bool, 100), ends: make(chan time.Time, 100)}
	m.port = startRaw(t, func(conn net.Conn) {
		br := bufio.NewReader(conn)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if req.URL.Path == "/plain" {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			return
		}
		if req.URL.Path != "/unread" {
			io.Copy(io.Discard, req.Body)
		}
		if strings.HasPrefix(req.URL.Path, "/begun") {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
		}
		m.reads <- true
		conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		io.Copy(io.Discard, br)
		m.ends <- time.Now()
	})
	return m
}

// TestClientGone: a client that leaves while its member thinks takes the
// member's connection with it, soon, and is counted.
func TestClientGone(t *testing.T) {
	m := startThoughtful(t)
	b := startBench(t, options{}, m.port)
	small, large := strings.Repeat("b", 10), strings.Repeat("b", 200<<10)
	sized := func(body string) string { return fmt.Sprintf("Content-Length: %d", len(body)) }
	chunked := inChunk(small) + "0\r\n\r\n"
	requests := []struct {
		name  string
		parts []string // sent one by one
	}{
		{"GET", []string{get("/")}},
		{"GET, answer begun", []string{get("/begun")}},
		{"GET, the next one pipelined", []string{get("/") + get("/next")}},
		{"POST in one piece", []string{head("POST / HTTP/1.1", "Host: lb.test", sized(small)) + small}},
		{"POST, body behind its head", []string{head("POST / HTTP/1.1", "Host: lb.test", sized(small)), small}},
		{"POST, large", []string{head("POST / HTTP/1.1", "Host: lb.test", sized(large)), large}},
		{"POST, large, answer begun", []string{head("POST /begun HTTP/1.1", "Host: lb.test", sized(large)), large}},
		{"POST, chunked, in pieces", []string{head("POST / HTTP/1.1", "Host: lb.test", "Transfer-Encoding: chunked"), chunked[:3], chunked[3:]}},
		{"POST, half sent", []string{head("POST /unread HTTP/1.1", "Host: lb.test", sized(large)), large[:1000]}},
	}
	for _, r := range requests {
		for _, end := range []string{"RST", "FIN", "half-close"} {
			t.Run(r.name+", "+end, func(t *testing.T) { m.leave(t, b, r.parts, end) })
		}
	}
	b.quiet(t)
}

// leave sends a request in parts, ends the connection once the member has it,
// and looks how long the member is kept.
func (m *thoughtful) leave(t *testing.T, b *bench, parts []string, end string) {
	took := m.leaveOnce(t, b, parts, end)
	for tries := 1; took > goneMax && tries < 3; tries++ {
		t.Logf("the member was kept for %v; again, in case the machine stood still", took)
		took = m.leaveOnce(t, b, parts, end)
	}
	if took > goneMax {
		t.Errorf("the member was kept for %v, at most %v", took, goneMax)
	}
}

func (m *thoughtful) leaveOnce(t *testing.T, b *bench, parts []string, end string) time.Duration {
	const counter = `jetway_refused_total{reason="client_gone"}`
	before := b.number(counter)
	c := b.dial(t)
	for i, part := range parts {
		if i > 0 {
			time.Sleep(20 * time.Millisecond) // a packet of its own
		}
		c.Send(part)
	}
	select {
	case <-m.reads:
	case <-time.After(3 * time.Second):
		t.Fatal("the member did not get the request")
	}
	left := time.Now()
	switch end {
	case "RST":
		harness.Reset(c.Conn)
	case "FIN":
		c.Close()
	case "half-close":
		c.CloseWrite()
	}
	took := (<-m.ends).Sub(left)
	c.Close()
	if took <= goneMax { // or else it may have answered before the client left
		eventually(t, 5*time.Second, "client_gone counted once", func() bool { return b.number(counter) == before+1 })
	}
	b.quiet(t)
	return took
}

// TestClientGoneAtOnce: clients that leave in the moment in which their answer
// comes, again and again, leave nothing behind.
func TestClientGoneAtOnce(t *testing.T) {
	member := harness.StartMember(t, "m", func(c *harness.MemberConn, r *harness.Request) {
		time.Sleep(time.Duration(90+r.BodyLen) * time.Millisecond)
		harness.Echo(c, r)
	})
	b := startBench(t, options{}, member.Port)
	for i := range 60 {
		c := b.dial(t)
		c.Send(get("/"))
		time.AfterFunc(time.Duration(80+i/2)*time.Millisecond, func() { harness.Reset(c.Conn) })
	}
	eventually(t, 5*time.Second, "all requests at the member", func() bool { return len(member.Requests()) == 60 })
	b.quiet(t)
}

// TestStalledAnswer: an answer that comes just when Jetway begins to watch the
// client must not leave the connection deaf to the next request.
func TestStalledAnswer(t *testing.T) {
	member := harness.StartMember(t, "m", func(c *harness.MemberConn, r *harness.Request) {
		var us int
		fmt.Sscanf(r.Line, "GET /%d ", &us)
		time.Sleep(time.Duration(us) * time.Microsecond)
		harness.Echo(c, r)
	})
	b := startBench(t, options{}, member.Port)
	errs := make(chan error, 100)
	for i := range cap(errs) {
		c := b.dial(t)
		go func() { errs <- stalledAnswers(c, i) }()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

func stalledAnswers(c *harness.Client, i int) error {
	for j := range 15 {
		c.Send(get(fmt.Sprintf("/%d", 99200+(i*15+j)*7%1600)))
		if _, err := c.Await("GET", 4*time.Second); err != nil {
			return fmt.Errorf("request %d of a connection: %w", j, err)
		}
	}
	return nil
}
