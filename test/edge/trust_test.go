package edge

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// dialFrom connects from a local address of loopback.
func dialFrom(t testing.TB, local, addr string) *harness.Client {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}, Timeout: 30 * time.Second}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return harness.NewClient(conn)
}

const proxyAddr, clientAddr = "127.0.0.7", "127.0.0.8"

// trustSite trusts 127.0.0.7; in.test is only for 198.51.100.0/24.
func trustSite(t testing.TB) (*site, *harness.Member) {
	s, _, m := edge(t, nil, func(s *site) {
		s.top = "  trusted_proxies: [127.0.0.7, 203.0.113.0/24, \"2001:db8:1::/48\"]\n"
		s.limits = "header_fields: 1000, header_bytes: 64KiB"
		s.services = "  in:\n    hosts: [in.test]\n    allow_from: [198.51.100.0/24]\n    domains: {in: {}}\n"
		s.static = fmt.Sprintf("    - {id: in, domain: in, host: 127.0.0.1, http: %d}\n", s.member)
	})
	return s, m
}

// forwarded are the fields that tell a member about the client, as a client
// would write them itself.
func forwarded() []string {
	return []string{"X-Forwarded-For: 198.51.100.1, 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: told.test",
		"X-Forwarded-Port: 4444", "Forwarded: for=198.51.100.1", "X-Real-IP: 198.51.100.1", "X-Request-Id: told-1",
		"X-Forwarded-Prefix: /p", "X-Tenant-Id: 42", "X-Tenant-Name: told"}
}

// TestTrustedFields: what a trusted proxy says is passed on, what anybody else
// says is replaced.
func TestTrustedFields(t *testing.T) {
	t.Parallel()
	s, m := trustSite(t)
	f := func(from string, want map[string]string) {
		t.Helper()
		m.Take()
		c := dialFrom(t, from, s.addr())
		if _, status := ask(t, c, get("/", forwarded()...)); status != 200 {
			t.Fatalf("status %d", status)
		}
		r := m.Requests()[0]
		for name, value := range want {
			got := strings.Join(harness.Values(r.Fields, name), " and ")
			if got != value && !(value == "?" && got != "" && !strings.Contains(got, "told")) {
				t.Errorf("from %s: %s is %q, want %q", from, name, got, value)
			}
		}
	}
	f(proxyAddr, map[string]string{"X-Forwarded-For": "198.51.100.1, 203.0.113.9, " + proxyAddr, "X-Forwarded-Proto": "https",
		"X-Forwarded-Host": "told.test", "X-Forwarded-Port": "4444", "Forwarded": "for=198.51.100.1", "X-Real-IP": "198.51.100.1",
		"X-Request-Id": "told-1", "X-Forwarded-Prefix": "/p", "X-Tenant-Id": "42", "X-Tenant-Name": "told"})
	f(clientAddr, map[string]string{"X-Forwarded-For": clientAddr, "X-Forwarded-Proto": "http", "X-Forwarded-Host": "a.test",
		"X-Forwarded-Port": fmt.Sprint(s.port), "Forwarded": "", "X-Real-IP": "", "X-Request-Id": "?", "X-Forwarded-Prefix": "",
		"X-Tenant-Id": "", "X-Tenant-Name": ""})
}

// TestTrustedSpellings: other ways to write the names are nobody's.
func TestTrustedSpellings(t *testing.T) {
	t.Parallel()
	s, m := trustSite(t)
	c := dialFrom(t, clientAddr, s.addr())
	if _, status := ask(t, c, get("/", "X_Forwarded_For: 6.6.6.6", "x-forwarded_for: 6.6.6.6", "X_REAL_IP: 6.6.6.6", "X_Tenant_Id: 6.6.6.6",
		"X-Forwarded-For : 6.6.6.6")); status != 400 {
		t.Errorf("a space in front of the colon: %d, want 400", status)
	}
	c = dialFrom(t, clientAddr, s.addr())
	ask(t, c, get("/", "X_Forwarded_For: 6.6.6.6", "x-forwarded_for: 6.6.6.6", "X_REAL_IP: 6.6.6.6", "X_Tenant_Id: 6.6.6.6", "X-Tenant_Name: 6.6.6.6",
		"X-FORWARDED-FOR: 6.6.6.6", "FORWARDED: for=6.6.6.6", "X_Client_Cert_Subject: 6.6.6.6", "X_Request-Id: 6.6.6.6"))
	if head := string(m.Requests()[0].Head); strings.Contains(head, "6.6.6.6") {
		t.Errorf("the member believes the client:\n%s", head)
	}
}

// TestTrustedClientAddress: allow_from goes by the nearest address that is no
// trusted proxy, and only where trusted proxies told it.
func TestTrustedClientAddress(t *testing.T) {
	t.Parallel()
	s, _ := trustSite(t)
	f := func(from string, status int, lists ...string) {
		t.Helper()
		c := dialFrom(t, from, s.addr())
		var lines []string
		for _, l := range lists {
			lines = append(lines, "X-Forwarded-For: "+l)
		}
		if _, got := ask(t, c, strings.Replace(get("/", lines...), "a.test", "in.test", 1)); got != status {
			t.Errorf("from %s by %q: %d, want %d", from, lists, got, status)
		}
	}
	f(proxyAddr, 200, "198.51.100.1")
	f(proxyAddr, 200, "198.51.100.1:4711")
	f(proxyAddr, 200, "::ffff:198.51.100.1")
	f(proxyAddr, 200, "198.51.100.1, 203.0.113.9")           // by two trusted ones
	f(proxyAddr, 200, "198.51.100.1", "203.0.113.9")         // on two lines
	f(proxyAddr, 200, "198.51.100.1", "[2001:db8:1::7]:443") // IPv6 with port
	f(proxyAddr, 200, "6.6.6.6, 198.51.100.1")
	f(proxyAddr, 404, "198.51.100.1, 6.6.6.6") // the client itself put the first one there
	f(proxyAddr, 404, "198.51.100.1, unknown")
	f(proxyAddr, 404, "198.51.100.1, ")
	f(proxyAddr, 404)
	f(clientAddr, 404, "198.51.100.1")
	f(clientAddr, 404, "198.51.100.1, 203.0.113.9")
}

// TestTrustedManyEntries: the nearest twenty of five hundred are passed on.
func TestTrustedManyEntries(t *testing.T) {
	t.Parallel()
	s, m := trustSite(t)
	var entries []string
	for i := range 500 {
		entries = append(entries, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	f := func(lines ...string) {
		t.Helper()
		m.Take()
		c := dialFrom(t, proxyAddr, s.addr())
		if _, status := ask(t, c, get("/", lines...)); status != 200 {
			t.Fatalf("status %d", status)
		}
		want := append(slices.Clone(entries[480:]), proxyAddr)
		if got := harness.Values(m.Requests()[0].Fields, "X-Forwarded-For"); len(got) != 1 || got[0] != strings.Join(want, ", ") {
			t.Errorf("X-Forwarded-For %q", got)
		}
	}
	f("X-Forwarded-For: " + strings.Join(entries, ","))
	var lines []string
	for _, e := range entries {
		lines = append(lines, "X-Forwarded-For: "+e)
	}
	f(lines...)
}

// TestTrustConnectionNames: what Connection lists is removed, but neither what
// frames or routes the message nor what Jetway itself adds.
func TestTrustConnectionNames(t *testing.T) {
	t.Parallel()
	s, m := trustSite(t)
	for _, from := range []string{proxyAddr, clientAddr} {
		m.Take()
		c := dialFrom(t, from, s.addr())
		request := post(3, "X-Hop: 1", "X-Stays: 1", "Cookie: a=b", "Authorization: Basic eDp5",
			"Connection: X-Hop, Host, Content-Length, Transfer-Encoding, X-Forwarded-For, X-Forwarded-Proto, X-Request-Id, X-Tenant-Id, Via", "Connection: close") + "abc"
		if _, status := ask(t, c, request); status != 200 {
			t.Fatalf("status %d", status)
		}
		r := m.Requests()[0]
		if string(r.Body) != "abc" {
			t.Errorf("body %q", r.Body)
		}
		for name, n := range map[string]int{"X-Hop": 0, "X-Stays": 1, "Cookie": 1, "Authorization": 1, "Host": 1, "Content-Length": 1, "Connection": 0,
			"X-Forwarded-For": 1, "X-Forwarded-Proto": 1, "X-Request-Id": 1, "Via": 1} {
			if got := len(harness.Values(r.Fields, name)); got != n {
				t.Errorf("from %s: %d fields %s at the member, want %d:\n%s", from, got, name, n, r.Head)
			}
		}
	}
}
