package edge

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"jetway/test/harness"
)

// rewriteSite has two listeners before one member that answers with the lines
// in X-Give; PORT in them is its port.
type rewriteSite struct {
	*site
	secure int // port of the TLS listener
	ca     *authority
	member *harness.Member
}

func startRewriting(t *testing.T, rewrite string) *rewriteSite {
	t.Helper()
	m := harness.StartMember(t, "m", func(c *harness.MemberConn, r *harness.Request) {
		r.ReadBody()
		lines := ""
		for _, f := range r.Fields {
			if f.Name == "X-Give" {
				lines += f.Value + "\r\n"
			}
		}
		c.Send("HTTP/1.1 302 Found\r\n" + lines + "Content-Length: 0\r\n\r\n")
	})
	r := &rewriteSite{site: newSite(t, m), secure: harness.FreePort(t), ca: newAuthority(t, "ca"), member: m}
	r.listeners = fmt.Sprintf("    - {name: tls, address: \"127.0.0.1:%d\", tls: {certificates: [{cert_file: site.crt, key_file: site.key}]}}\n", r.secure)
	r.service = "    member_scheme: http\n" + rewrite
	r.start(t, r.ca.issue(t, nil, "a.test").files("site")...)
	return r
}

// lines sends a request whose answer has these lines and returns the values
// of the named field.
func (r *rewriteSite) lines(t testing.TB, secure bool, host, field string, give ...string) []string {
	t.Helper()
	var c *harness.Client
	if secure {
		c, _ = dialTLS(t, harness.Loopback(r.secure), r.ca.trusting("a.test"))
	} else {
		c = harness.Dial(t, r.addr())
	}
	defer c.Close()
	request := "GET / HTTP/1.1\r\nHost: " + host + "\r\n"
	for _, line := range give {
		request += "X-Give: " + strings.ReplaceAll(line, "PORT", fmt.Sprint(r.site.member)) + "\r\n"
	}
	a, status := ask(t, c, request+"\r\n")
	if status != 302 {
		t.Fatalf("status %d", status)
	}
	return harness.Values(a.Fields, field)
}

// TestRewriteLocation: what names the member names what the client dialled;
// everything else stays to the byte.
func TestRewriteLocation(t *testing.T) {
	t.Parallel()
	r := startRewriting(t, "    rewrite: {location: true}\n")
	f := func(secure bool, host, in, want string) {
		t.Helper()
		in = strings.ReplaceAll(in, "PORT", fmt.Sprint(r.site.member))
		if want == "" {
			want = in
		}
		want = strings.ReplaceAll(want, "PORT", fmt.Sprint(r.site.member))
		for _, field := range []string{"Location", "Content-Location"} {
			if got := r.lines(t, secure, host, field, field+": "+in); len(got) != 1 || got[0] != want {
				t.Errorf("client %s (TLS %v), %s %q: %q, want %q", host, secure, field, in, got, want)
			}
		}
	}
	// The member's address.
	f(false, "a.test", "http://127.0.0.1:PORT/x?y#z", "http://a.test/x?y#z")
	f(false, "a.test:8280", "http://127.0.0.1:PORT/x", "http://a.test:8280/x")
	f(true, "a.test", "http://127.0.0.1:PORT/x", "https://a.test/x")
	f(true, "a.test:8443", "HTTP://127.0.0.1:PORT", "https://a.test:8443")
	f(false, "a.test", "http://127.0.0.1:PORT?y", "http://a.test?y")
	f(false, "a.test", "http://127.0.0.1/x", "http://a.test/x")
	f(false, "A.test", "http://127.0.0.1:PORT/", "http://A.test/")
	// The member's port with the client's host.
	f(false, "a.test", "http://a.test:PORT/x", "http://a.test/x")
	f(false, "a.test:8280", "http://A.TEST:PORT/x", "http://a.test:8280/x")
	f(true, "a.test", "http://a.test:PORT/x", "https://a.test/x")
	f(false, "a.test", "http://a.test.:PORT/x", "http://a.test/x")
	// The member's scheme.
	f(true, "a.test", "http://a.test/x", "https://a.test/x")
	f(true, "a.test:8443", "http://a.test:8443/x", "https://a.test:8443/x")
	f(true, "a.test", "https://a.test/x", "")
	f(false, "a.test", "http://a.test/x", "")
	f(false, "a.test", "https://a.test/login", "") // the application sends its client to TLS: undoing that is a loop
	f(false, "a.test:8280", "https://a.test:8280/login", "")
	// Protocol-relative.
	f(true, "a.test", "//127.0.0.1:PORT/x", "https://a.test/x")
	f(false, "a.test", "//a.test:PORT/x", "http://a.test/x")
	f(false, "a.test", "//other.test/x", "")
	f(true, "a.test", "//a.test/x", "https://a.test/x")
	// Not the member.
	for _, foreign := range []string{"http://other.test/x", "http://other.test:PORT/x", "http://127.0.0.1:1/x", "http://127.0.0.2:PORT/x",
		"http://a.test:1/x", "http://a.test.evil.test:PORT/x", "http://evil-a.test:PORT/", "http://127.0.0.1.evil.test:PORT/",
		"/x", "x/y", "../x", "?q", "#f", "/http://127.0.0.1:PORT/", "", "ftp://127.0.0.1:PORT/x", "mailto:a@a.test",
		"http:/127.0.0.1:PORT/", "http:///x", "http://", "https://", "//", "http://[::1]:PORT/x", "http://[::1",
		"http://user@127.0.0.1:PORT/x", "http://127.0.0.1:PORT@evil.test/x", "http://a.test:PORT@evil.test/", "http://127.0.0.1:PORT\\@evil.test/"} {
		f(false, "a.test", foreign, "")
	}
	// Only these fields.
	if got := r.lines(t, false, "a.test", "Link", "Link: <http://127.0.0.1:PORT/x>"); len(got) != 1 || !strings.Contains(got[0], "127.0.0.1") {
		t.Errorf("Link: %q", got)
	}
	cookie := "Set-Cookie: a=b; Domain=127.0.0.1"
	if got := r.lines(t, true, "a.test", "Set-Cookie", cookie); len(got) != 1 || "Set-Cookie: "+got[0] != cookie {
		t.Errorf("cookies are not to be rewritten: %q", got)
	}
}

// TestRewriteOff: the default touches nothing.
func TestRewriteOff(t *testing.T) {
	t.Parallel()
	r := startRewriting(t, "")
	for _, line := range []string{"Location: http://127.0.0.1:PORT/x", "Set-Cookie: a=b; Domain=127.0.0.1; Path=/"} {
		name, value, _ := strings.Cut(strings.ReplaceAll(line, "PORT", fmt.Sprint(r.site.member)), ": ")
		if got := r.lines(t, true, "a.test", name, line); len(got) != 1 || got[0] != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
}

// TestRewriteCookies: a Domain that is the member's host goes, Secure comes
// where only the client's side is TLS.
func TestRewriteCookies(t *testing.T) {
	t.Parallel()
	r := startRewriting(t, "    rewrite: {cookies: true}\n")
	f := func(secure bool, in, want string) {
		t.Helper()
		if got := r.lines(t, secure, "a.test", "Set-Cookie", "Set-Cookie: "+in); len(got) != 1 || got[0] != want {
			t.Errorf("TLS %v, %q: %q, want %q", secure, in, got, want)
		}
	}
	f(false, "a=b; Domain=127.0.0.1; Path=/", "a=b; Path=/")
	f(false, "a=b; Path=/; domain=.127.0.0.1", "a=b; Path=/")
	f(false, "a=b;DOMAIN = 127.0.0.1 ;HttpOnly", "a=b;HttpOnly")
	f(true, "a=b; Domain=127.0.0.1", "a=b; Secure")
	f(true, "a=b; Path=/; secure", "a=b; Path=/; secure")
	f(true, "a=b", "a=b; Secure")
	f(false, "a=b", "a=b")
	f(false, "a=b; Domain=a.test", "a=b; Domain=a.test")
	f(false, "a=b; Domain=27.0.0.1", "a=b; Domain=27.0.0.1")
	f(false, "Domain=127.0.0.1; Path=/", "Domain=127.0.0.1; Path=/") // a cookie of that name
	f(true, "Secure=1; Path=/", "Secure=1; Path=/; Secure")
	f(false, "a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Max-Age=1; SameSite=Lax", "a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Max-Age=1; SameSite=Lax")
	f(false, "a=\"x y\"; Domain=127.0.0.1", "a=\"x y\"")
	f(false, "a; Domain", "a; Domain")
	two := r.lines(t, true, "a.test", "Set-Cookie", "Set-Cookie: a=1; Domain=127.0.0.1", "Set-Cookie: b=2")
	if strings.Join(two, " and ") != "a=1; Secure and b=2; Secure" {
		t.Errorf("two cookies: %q", two)
	}
	if got := r.lines(t, false, "a.test", "Location", "Location: http://127.0.0.1:PORT/x"); len(got) != 1 || !strings.Contains(got[0], "127.0.0.1") {
		t.Errorf("locations are not to be rewritten: %q", got)
	}
}

// TestRewriteMember: a member by IPv6 address, and one by name in other case.
func TestRewriteMember(t *testing.T) {
	t.Parallel()
	f := func(listen, host string, locations ...string) {
		ln, err := net.Listen("tcp", listen)
		if err != nil {
			t.Skipf("no %s here: %v", listen, err)
		}
		defer ln.Close()
		port := ln.Addr().(*net.TCPAddr).Port
		give := make(chan string, 1)
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				conn.Read(make([]byte, 4096))
				fmt.Fprintf(conn, "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", <-give)
				conn.Close()
			}
		}()
		s := newSite(t, nil)
		s.services = "  v:\n    rewrite: {location: true}\n    hosts: [v.test]\n    domains: {e: {}}\n"
		s.static = fmt.Sprintf("    - {id: e, domain: e, host: %q, http: %d}\n", host, port)
		s.start(t)
		for _, l := range locations {
			give <- strings.ReplaceAll(l, "PORT", fmt.Sprint(port))
			a := want(t, s.addr(), "GET / HTTP/1.1\r\nHost: v.test\r\n\r\n", 302)
			if got := harness.Values(a.Fields, "Location"); len(got) != 1 || got[0] != "http://v.test/x" {
				t.Errorf("member %s, Location %q: %q, want http://v.test/x", host, l, got)
			}
		}
	}
	f("[::1]:0", "::1", "http://[::1]:PORT/x", "//[::1]:PORT/x", "http://v.test:PORT/x")
	f("127.0.0.1:0", "LocalHost", "http://localhost:PORT/x", "http://LOCALHOST:PORT/x")
}
