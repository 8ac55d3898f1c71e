package harness

import (
	"bufio"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestMemberRecordsExactBytes(t *testing.T) {
	m := StartMember(t, "m1", nil)
	c := Dial(t, Loopback(m.Port))
	get := "GET /a%2fb HTTP/1.1\r\nhOst: x\r\nX-A:  b \r\nX-A: \xff\r\n\r\n"
	post := "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;e=1\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
	if err := c.SendBytewise(get + post); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"m1 GET /a%2fb", "m1 POST /c"} {
		a, err := c.Await("GET", time.Second)
		if err != nil || string(a.Body) != want || a.Status != 200 {
			t.Fatalf("answer %d %q, %v; want %q", a.Status, a.Body, err, want)
		}
	}
	got := m.Take()
	if len(got) != 2 || string(got[0].Head) != get {
		t.Fatalf("recorded %+v", got)
	}
	r := got[1]
	if string(r.Body) != "hello" || !r.Complete || !r.Extensions || len(r.Trailers) != 1 || r.Trailers[0] != (Field{"X-T", "1"}) {
		t.Fatalf("recorded %+v", r)
	}
	if len(m.Requests()) != 0 {
		t.Fatal("Take left requests")
	}
}

func TestMemberRecordsWhatIsMalformed(t *testing.T) {
	f := func(sent string) {
		t.Helper()
		m := StartMember(t, "m1", nil)
		c := Dial(t, Loopback(m.Port))
		c.Send(sent)
		c.CloseWrite()
		if err := c.AwaitEOF(time.Second); err != nil {
			t.Fatalf("%q: %v", sent, err)
		}
		if got := m.Requests(); len(got) != 1 || got[0].Complete || got[0].Err == nil {
			t.Fatalf("%q: recorded %+v", sent, got)
		}
	}
	f("GET / HTTP/1.1\nHost: x\n\n")
	f("GET / HTTP/1.1\r\nHost : x\r\n\r\n")
	f("GET / HTTP/1.1\r\nX: a\rb\r\n\r\n")
	f("GET / HTTP/1.1\r\nHo")
	f("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhell")
	f("POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")
	f("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n")
	f("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n")
	f("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n")
	f("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
}

func TestClientReadsStrictly(t *testing.T) {
	f := func(sent, method string, complete bool) {
		t.Helper()
		m := StartMember(t, "m1", func(c *MemberConn, r *Request) { c.Send(sent); c.Close() })
		c := Dial(t, Loopback(m.Port))
		c.Send("GET / HTTP/1.1\r\n\r\n")
		if a, err := c.Await(method, time.Second); a.Complete != complete {
			t.Fatalf("%q: complete %v, %v", sent, a.Complete, err)
		}
	}
	f("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "GET", true)
	f("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "GET", true)
	f("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "HEAD", true)
	f("HTTP/1.1 200 OK\r\n\r\nhi", "GET", true)
	f("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh", "GET", false)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", "GET", false)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "GET", true)
	f("HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nhi", "GET", false)
	f("<html>", "GET", false)
	f("HTTP/1.1 103 Early Hints\r\n\r\n", "GET", false)
	f("", "GET", false)
}

func TestResetIsNoCompleteEnd(t *testing.T) {
	m := StartMember(t, "m1", func(c *MemberConn, r *Request) {
		c.Send("HTTP/1.1 200 OK\r\n\r\nhi")
		time.Sleep(20 * time.Millisecond)
		c.Reset()
	})
	c := Dial(t, Loopback(m.Port))
	c.Send("GET / HTTP/1.1\r\n\r\n")
	if a, err := c.Await("GET", time.Second); a.Complete || err == nil {
		t.Fatalf("%+v, %v", a, err)
	}
}

func TestReadFixed(t *testing.T) {
	f := func(n int64, want string, wantErr error) {
		t.Helper()
		var b body
		err := readFixed(bufio.NewReader(strings.NewReader("hello")), n, b.add)
		if string(b.Body) != want || err != wantErr {
			t.Fatalf("%d: %q, %v", n, b.Body, err)
		}
	}
	f(0, "", nil)
	f(4, "hell", nil)
	f(5, "hello", nil)
	f(6, "hello", io.ErrUnexpectedEOF)
	f(-1, "hello", nil)
}

func TestFreePortIsNotHandedOutTwice(t *testing.T) {
	seen := map[int]bool{}
	for range 50 {
		port := FreePort(t)
		if seen[port] || port >= 32768 {
			t.Fatalf("port %d", port)
		}
		seen[port] = true
	}
}

func TestProcessIsStoppedAndItsOutputKept(t *testing.T) {
	p := startProcess(t, exec.Command("/bin/sh", "-c", "trap 'echo bye; exit 3' TERM; echo hi; while :; do sleep 0.01; done"))
	p.await("a greeting", func() bool { return strings.Contains(p.Log(), "hi") })
	if p.RSS() == 0 || p.Descriptors() == 0 {
		t.Fatalf("RSS %d, descriptors %d", p.RSS(), p.Descriptors())
	}
	if code := p.Stop(); code != 3 || !strings.Contains(p.Log(), "bye") {
		t.Fatalf("exit code %d, log %q", code, p.Log())
	}
}

func TestAdminAddressIsFound(t *testing.T) {
	f := func(config, want string) {
		t.Helper()
		m := adminAddress.FindStringSubmatch(config)
		if m == nil || m[1] != want {
			t.Fatalf("%q: %q", config, m)
		}
	}
	f("loadbalancer:\n  admin: {address: \"127.0.0.1:92\"}\n", "127.0.0.1:92")
	f("loadbalancer:\n  admin:\n    address: 127.0.0.1:92\n", "127.0.0.1:92")
}

func TestMain(m *testing.M) {
	Main(m)
}
