package harness

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Member stands for an application instance. It records every request that
// reaches it and answers by its script.
type Member struct {
	Name string
	Port int

	ln net.Listener
	wg sync.WaitGroup

	mu       sync.Mutex // guards what follows and the Requests' own fields
	script   Script
	bytewise bool
	requests []*Request
	conns    []*MemberConn
	lastPeer string // address of the connection accepted last
	closed   bool
}

// Script answers one request. It is called when the head is there; the body
// is read by Request.ReadBody, at the latest after the script returned. It
// runs in the connection's goroutine.
type Script func(c *MemberConn, r *Request)

// Request is one message that reached a member.
type Request struct {
	Member   string
	Conn     int    // number of the connection it came on, from 1
	Head     []byte // exact bytes, with the blank line
	Line     string
	Fields   []Field
	Chunked  bool
	Complete bool  // the whole message came
	Err      error // why it never did
	body

	length int64
	c      *MemberConn
	read   bool
}

// MemberConn is a connection to a member.
type MemberConn struct {
	ID int
	net.Conn

	m    *Member
	br   *bufio.Reader
	done bool // the script ended the connection

	reading bool // a Read waits; guarded by m.mu
}

// StartMember starts a member on a free port; it ends with the test. A nil
// script is Echo.
func StartMember(t testing.TB, name string, script Script) *Member {
	t.Helper()
	for tries := 0; ; tries++ {
		port := FreePort(t)
		ln, err := net.Listen("tcp", Loopback(port))
		if err == nil {
			return ServeMember(t, name, port, ln, script)
		}
		if tries == 5 {
			t.Fatal(err)
		}
	}
}

// StartMemberAt starts a member at a port that the test was given before, such
// as that of a member that ended.
func StartMemberAt(t testing.TB, name string, port int, script Script) *Member {
	t.Helper()
	ln, err := net.Listen("tcp", Loopback(port))
	if err != nil {
		t.Fatal(err)
	}
	return ServeMember(t, name, port, ln, script)
}

// ServeMember starts a member that accepts on ln; Port is told, not asked.
func ServeMember(t testing.TB, name string, port int, ln net.Listener, script Script) *Member {
	m := &Member{Name: name, Port: port, ln: ln, script: script}
	if script == nil {
		m.script = Echo
	}
	m.wg.Go(m.accept)
	t.Cleanup(m.Close)
	return m
}

// Echo answers 200 with EchoBody, and HEAD without it. It waits for the whole
// request.
func Echo(c *MemberConn, r *Request) {
	if r.ReadBody() != nil {
		return
	}
	text := EchoBody(c.m.Name, r.Line)
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(text))
	if strings.HasPrefix(r.Line, "HEAD ") {
		text = ""
	}
	c.Send(head + text)
}

// EchoBody is the body of Echo's answer: the member's name, method and target.
func EchoBody(member, requestLine string) string {
	i := strings.LastIndexByte(requestLine, ' ')
	return member + " " + requestLine[:max(i, 0)]
}

// SetScript changes the answer to requests whose head comes from now on.
func (m *Member) SetScript(s Script) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.script = s; s == nil {
		m.script = Echo
	}
}

// SetBytewise makes Send write one byte at a time.
func (m *Member) SetBytewise(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytewise = on
}

// Requests returns copies of what came so far, in order of arrival.
func (m *Member) Requests() []Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Request, len(m.requests))
	for i, r := range m.requests {
		list[i] = *r
	}
	return list
}

// Take is Requests, and forgets them.
func (m *Member) Take() []Request {
	list := m.Requests()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests = m.requests[min(len(list), len(m.requests)):]
	return list
}

// OpenConns returns how many connections are open.
func (m *Member) OpenConns() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, c := range m.conns {
		if c != nil {
			n++
		}
	}
	return n
}

// CloseIdle closes every open connection; the listener stays.
func (m *Member) CloseIdle() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.conns {
		if c != nil {
			c.Conn.Close()
		}
	}
}

// Close ends listener and connections; further connects are refused.
func (m *Member) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.ln.Close()
	m.CloseIdle()
	m.wg.Wait()
}

func (m *Member) accept() {
	for {
		conn, err := m.ln.Accept()
		if err != nil {
			return
		}
		c := &MemberConn{Conn: conn, m: m}
		c.br = bufio.NewReaderSize(watchedConn{c}, 16<<10)
		m.mu.Lock()
		if m.closed {
			m.mu.Unlock()
			conn.Close()
			return
		}
		m.conns = append(m.conns, c)
		c.ID = len(m.conns)
		m.lastPeer = conn.RemoteAddr().String()
		m.mu.Unlock()
		m.wg.Go(c.serve)
	}
}

func (c *MemberConn) serve() {
	defer func() {
		c.Conn.Close()
		c.m.mu.Lock()
		c.m.conns[c.ID-1] = nil
		c.m.mu.Unlock()
	}()
	for !c.done {
		r, script := c.next()
		if r == nil {
			return
		}
		script(c, r)
		if c.done {
			r.abandon()
		} else if r.ReadBody() != nil {
			return
		}
	}
}

// errAbandoned: the script ended the connection before the body was read.
var errAbandoned = errors.New("abandoned by the member's script")

func (r *Request) abandon() {
	r.c.m.mu.Lock()
	defer r.c.m.mu.Unlock()
	if !r.Complete && r.Err == nil {
		r.Err = errAbandoned
	}
}

// next reads and records a head. What cannot be read as one is recorded too,
// with Err, and ends the connection.
func (c *MemberConn) next() (*Request, Script) {
	head, err := readHead(c.br)
	if len(head) == 0 {
		return nil, nil
	}
	r := &Request{Member: c.m.Name, Conn: c.ID, Head: head, c: c}
	if err == nil {
		r.Line, r.Fields, err = parseHead(head)
	}
	if err == nil {
		r.Chunked, r.length, err = framing(r.Fields)
	}
	if err == nil && !r.Chunked && r.length <= 0 {
		r.read, r.Complete = true, true
	}
	r.Err = err
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.m.requests = append(c.m.requests, r)
	if err != nil {
		return nil, nil
	}
	return r, c.m.script
}

// ReadBody reads the rest of the message. Repeated calls return the same.
func (r *Request) ReadBody() error {
	if r.read {
		return r.Err
	}
	r.c.m.mu.Lock()
	r.read = true
	r.c.m.mu.Unlock()
	keep := func(p []byte) {
		r.c.m.mu.Lock()
		defer r.c.m.mu.Unlock()
		r.add(p)
	}
	var err error
	if r.Chunked {
		b := body{}
		err = readChunked(r.c.br, &b, keep)
		r.c.m.mu.Lock()
		r.Trailers, r.Extensions = b.Trailers, b.Extensions
		r.c.m.mu.Unlock()
	} else {
		err = readFixed(r.c.br, r.length, keep)
	}
	r.c.m.mu.Lock()
	defer r.c.m.mu.Unlock()
	r.Err, r.Complete = err, err == nil
	return err
}

// Send writes bytes as they are, one at a time after SetBytewise.
func (c *MemberConn) Send(s string) error {
	c.m.mu.Lock()
	bytewise := c.m.bytewise
	c.m.mu.Unlock()
	if !bytewise || len(s) > maxBytewise {
		_, err := io.WriteString(c.Conn, s)
		return err
	}
	return writeBytewise(c.Conn, s)
}

// maxBytewise bounds what is worth sending byte by byte.
const maxBytewise = 4 << 10

// writeBytewise sends every byte in a packet of its own; the pause lets the
// receiver run, so that it sees most of them one at a time.
func writeBytewise(w io.Writer, s string) error {
	for i := range len(s) {
		if _, err := io.WriteString(w, s[i:i+1]); err != nil {
			return err
		}
		time.Sleep(5 * time.Microsecond)
	}
	return nil
}

// Close ends the connection with FIN.
func (c *MemberConn) Close() error {
	c.done = true
	return c.Conn.Close()
}

// Reset ends the connection with RST.
func (c *MemberConn) Reset() {
	c.done = true
	Reset(c.Conn)
}

// AwaitClose waits until the peer closes and returns how long that took.
func (c *MemberConn) AwaitClose(patience time.Duration) (time.Duration, error) {
	start := time.Now()
	c.done = true
	c.SetReadDeadline(start.Add(patience))
	_, err := io.Copy(io.Discard, c.br)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return time.Since(start), fmt.Errorf("peer did not close within %v", patience)
	}
	return time.Since(start), nil
}

// EchoTunnel sends back what comes, each piece behind prefix, until the peer
// half-closes; then "bye", and closes.
func (c *MemberConn) EchoTunnel(prefix string) {
	buf := make([]byte, 16<<10)
	for {
		n, err := c.br.Read(buf)
		if n > 0 {
			io.WriteString(c.Conn, prefix+string(buf[:n]))
		}
		if err != nil {
			break
		}
	}
	io.WriteString(c.Conn, "bye")
	c.Close()
}

// Reset closes a TCP connection with RST, also one below TLS.
func Reset(conn net.Conn) {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = over.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}
