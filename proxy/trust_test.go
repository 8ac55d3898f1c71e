package proxy

import (
	"net/netip"
	"strings"
	"testing"

	"jetway/balancer"
)

// headOf parses a request of a connection from peer under the given trust.
func exchangeOf(t *testing.T, raw, peer string, trusted ...string) *exchange {
	t.Helper()
	set := newSettings(Config{TenantHeaders: TenantHeaders{ID: "X-Tenant-Id", Name: "X-Tenant-Name"}}, nil)
	for _, p := range trusted {
		set.TrustedProxies = append(set.TrustedProxies, netip.MustParsePrefix(p))
	}
	l, err := newListener(ListenerConfig{Name: "http", Address: ":80"}, testLog())
	if err != nil {
		t.Fatal(err)
	}
	c := &clientConn{listener: l, addr: netip.MustParseAddr(peer), ip: peer}
	x := &exchange{conn: c, set: set}
	copy(x.id[:], strings.Repeat("0", len(x.id)))
	n, _, f := scanHead([]byte(raw), 0)
	if f != noFault || n == 0 {
		t.Fatal("not a head")
	}
	if f := x.req.parse([]byte(raw), 100, c.rules(set)); f != noFault {
		t.Fatal(f.code())
	}
	return x
}

func TestForwardedFields(t *testing.T) {
	const raw = "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 10.0.0.7\r\n" +
		"X-Forwarded-Proto: https\r\nX-Forwarded-Server: s\r\nForwarded: for=x\r\nX-Real-IP: 192.0.2.9\r\nX-Request-Id: abc\r\n" +
		"X-Tenant-Id: 7\r\nX-Client-Cert-Subject: CN=evil\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n"
	f := func(want string, trusted ...string) {
		t.Helper()
		x := exchangeOf(t, raw, "10.0.0.1", trusted...)
		x.buildRequest()
		if got := string(x.up); got != want {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
	}
	f("GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a.test\r\n" +
		"X-Forwarded-Port: 80\r\nVia: 1.1 jetway\r\nX-Request-Id: " + strings.Repeat("0", 32) + "\r\n\r\n")
	f("GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Server: s\r\nForwarded: for=x\r\nX-Real-IP: 192.0.2.9\r\n"+
		"X-Tenant-Id: 7\r\nX-Forwarded-For: 192.0.2.1, 10.0.0.7, 10.0.0.1\r\nX-Forwarded-Host: a.test\r\nX-Forwarded-Port: 80\r\n"+
		"Via: 1.1 jetway\r\nX-Request-Id: abc\r\n\r\n", "10.0.0.0/8")
}

func TestClientBehindProxies(t *testing.T) {
	f := func(fields, want string, trusted ...string) {
		t.Helper()
		x := exchangeOf(t, "GET / HTTP/1.1\r\nHost: a.test\r\n"+fields+"\r\n", "10.0.0.1", trusted...)
		if got := x.client().String(); got != want {
			t.Fatalf("%q: %s, want %s", fields, got, want)
		}
	}
	f("X-Forwarded-For: 192.0.2.1\r\n", "10.0.0.1")
	f("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1", "10.0.0.0/8")
	f("X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.2\r\n", "192.0.2.1", "10.0.0.0/8")
	f("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1", "10.0.0.0/8")
	f("X-Forwarded-For: 192.0.2.1, nonsense\r\n", "10.0.0.1", "10.0.0.0/8")
	f("X-Forwarded-For: 10.0.0.3\r\n", "10.0.0.3", "10.0.0.0/8")
	f("X-Forwarded-For: [2001:db8::1]:443\r\n", "2001:db8::1", "10.0.0.0/8")
	f("X-Forwarded-For: \r\n", "10.0.0.1", "10.0.0.0/8")
}

func TestManyForwardedEntriesAreCut(t *testing.T) {
	x := exchangeOf(t, "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: "+strings.Repeat("1.1.1.1, ", 500)+"2.2.2.2\r\n\r\n", "10.0.0.1", "10.0.0.0/8")
	got := string(x.appendForwardedFor(nil))
	if n := strings.Count(got, ","); n != forwardedMax || !strings.HasSuffix(got, "2.2.2.2, ") {
		t.Fatalf("%d entries: %q", n, got)
	}
}

func TestRewrite(t *testing.T) {
	f := func(host, name, value, want string, tls bool) {
		t.Helper()
		x := exchangeOf(t, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n", "192.0.2.1")
		x.conn.tls = tls
		router := testRouter(t, balancer.Member{ID: "m", Domain: "d", Host: "10.0.0.21", HTTP: 9763, HTTPS: 9443, Weight: 1},
			balancer.ClusterConfig{RewriteLocation: true, RewriteCookies: true})
		req := balancer.Request{Host: []byte("a.test"), Path: []byte("/"), PublicPort: 80}
		if reason := router.Table().Route(&req, &x.decision); reason != balancer.OK {
			t.Fatal(reason)
		}
		x.endpoint = x.decision.View.Pick(1, 0, nil)
		fl := field{name: []byte(name), value: []byte(value), line: []byte(name + ": " + value + "\r\n")}
		b, done := x.appendRewritten(nil, &fl)
		if !done {
			b = fl.line
		}
		if got := string(b); got != name+": "+want+"\r\n" {
			t.Fatalf("%s: %s from %s: %q, want %q", name, value, host, got, want)
		}
	}
	loc := func(host, value, want string) { t.Helper(); f(host, "Location", value, want, false) }
	loc("a.test", "/x", "/x")
	loc("a.test", "x?y", "x?y")
	loc("a.test", "http://10.0.0.21:9763/x?y#z", "http://a.test/x?y#z")
	loc("a.test", "https://10.0.0.21:9443/x", "http://a.test/x")
	loc("a.test", "http://10.0.0.21/x", "http://a.test/x")
	loc("a.test", "http://10.0.0.21:1/x", "http://10.0.0.21:1/x") // something else on that host
	loc("a.test:8280", "http://a.test:9763/x", "http://a.test:8280/x")
	loc("a.test:8280", "http://A.test:9763", "http://a.test:8280")
	loc("a.test", "https://a.test/x", "https://a.test/x") // the application wants https: the member is not
	loc("a.test", "http://a.test/x", "http://a.test/x")
	loc("a.test", "//10.0.0.21:9763/x", "http://a.test/x")
	loc("a.test", "http://other.test/x", "http://other.test/x")
	loc("a.test", "http://10.0.0.21.evil.test/x", "http://10.0.0.21.evil.test/x")
	loc("a.test", "http://u@10.0.0.21:9763/x", "http://u@10.0.0.21:9763/x")
	f("a.test", "Location", "http://a.test/x", "https://a.test/x", true)
	f("a.test", "Content-Location", "http://10.0.0.21:9763/", "https://a.test/", true)
	cookie := func(value, want string, tls bool) { t.Helper(); f("a.test", "Set-Cookie", value, want, tls) }
	cookie("a=b; Domain=10.0.0.21; Path=/", "a=b; Path=/", false)
	cookie("a=b; domain=.10.0.0.21", "a=b", false)
	cookie("a=b; Domain=a.test", "a=b; Domain=a.test", false)
	cookie("a=b; HttpOnly", "a=b; HttpOnly; Secure", true)
	cookie("a=b; secure", "a=b; secure", true)
}
