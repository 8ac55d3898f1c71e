package tenants

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestNaming: who names its tenant how, from where, and what members are told.
func TestNaming(t *testing.T) {
	s := startSite(t, source{hosts: `, "*.apps.test"`, conf: "file: tenants.csv", files: []harness.Option{harness.WithFile("tenants.csv", "t1,1\nt2,2\n")}},
		`identify: [{header: X-Tenant}, {cookie: tenant}, {host: "{tenant}.apps.test"}, {path: "**/t/{tenant}/"}, {query: tenantDomain}]
  headers: {id: X-Tenant-Id, name: X-Tenant-Name}`, "")
	const trusted, other = "127.0.0.2", "127.0.0.3"
	f := func(from, host, target string, fields []string, want, tenant string) {
		t.Helper()
		c := dialFrom(t, from, harness.Loopback(s.port))
		defer c.Close()
		s.jet.Take()
		s.shared.Take()
		c.Send("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nX-Tenant-Id: 7\r\nX-Tenant-Name: liar\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n")
		a, err := c.Await("GET", 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		who, _, _ := strings.Cut(string(a.Body), " ")
		if a.Status != 200 || who != want {
			t.Errorf("%s %s%s %q: %d %s, want %s", from, host, target, fields, a.Status, who, want)
			return
		}
		var name, id []string
		for _, r := range append(s.jet.Take(), s.shared.Take()...) {
			for _, fl := range r.Fields {
				switch {
				case strings.EqualFold(fl.Name, "X-Tenant-Name"):
					name = append(name, fl.Value)
				case strings.EqualFold(fl.Name, "X-Tenant-Id"):
					id = append(id, fl.Value)
				case strings.EqualFold(fl.Name, "X-Tenant") && from != trusted:
					t.Errorf("a member sees X-Tenant: %s of a client that is not trusted", fl.Value)
				}
			}
		}
		switch {
		case tenant == "" && slices.Contains(append(name, id...), "liar"), tenant == "" && slices.Contains(id, "7"):
			t.Errorf("%s%s %q: the member is told what the client made up: %q %q", host, target, fields, name, id)
		case tenant != "" && (!slices.Equal(name, []string{tenant}) || !slices.Equal(id, []string{tenant[1:]})):
			t.Errorf("%s%s %q: the member is told %q %q, want %q", host, target, fields, name, id, tenant)
		}
	}
	one := func(fields ...string) []string { return fields }
	// From a trusted proxy header and cookie name the tenant, in the order of the rules.
	f(trusted, "app.test", "/", one("X-Tenant: t1"), "jet", "t1")
	f(trusted, "app.test", "/", one("x-tenant: T2"), "jet", "t2")
	f(trusted, "app.test", "/t/t2/", one("X-Tenant: t1"), "jet", "t1")
	f(trusted, "app.test", "/", one("Cookie: a=b; tenant=t1; c=d"), "jet", "t1")
	f(trusted, "app.test", "/", one(`Cookie: tenant="t2"`), "jet", "t2")
	f(trusted, "app.test", "/", one("Cookie: tenant=t1", "X-Tenant: t2"), "jet", "t2")
	f(trusted, "app.test", "/t/t2/", one("Cookie: nottenant=t1; TENANT=t1"), "jet", "t2")
	// Said twice and differently, it is nobody's name; said twice alike, it is one.
	f(trusted, "app.test", "/t/t1/", one("X-Tenant: t1", "X-Tenant: t2"), "shared", "")
	f(trusted, "app.test", "/", one("X-Tenant: t1", "X-Tenant: t1"), "jet", "t1")
	f(trusted, "app.test", "/t/t1/", one("Cookie: tenant=t1; tenant=t2"), "shared", "")
	f(trusted, "app.test", "/t/t1/", one("X-Tenant: ../t1"), "shared", "")
	f(trusted, "app.test", "/t/t1/", one("X-Tenant: t1, t2"), "shared", "")
	// A field that ends at this hop says nothing.
	f(trusted, "app.test", "/t/t2/", one("X-Tenant: t1", "Connection: X-Tenant"), "jet", "t2")
	// From anybody else they count for nothing, and the field does not travel on.
	f(other, "app.test", "/", one("X-Tenant: t1"), "shared", "")
	f(other, "app.test", "/t/t2/", one("X-Tenant: t1"), "jet", "t2")
	f(other, "app.test", "/", one("Cookie: tenant=t1"), "shared", "")
	f(other, "app.test", "/t/t2/", one("Cookie: tenant=t1"), "jet", "t2")
	// Host, path and query are for everybody; the query is the last to count.
	f(other, "t1.apps.test", "/", nil, "jet", "t1")
	f(other, "T1.APPS.test:80", "/t/t2/", nil, "jet", "t1")
	f(other, "app.test", "/x/t/T2/y", nil, "jet", "t2")
	f(other, "app.test", "/t/t2/?tenantDomain=t1", nil, "jet", "t2")
	f(other, "app.test", "/?tenantDomain=t1", nil, "jet", "t1")
	f(other, "app.test", "/?q=/t/t1/", nil, "shared", "")
	// Written in other ways it is the name that members read.
	f(other, "app.test", "/%74/t1/", nil, "jet", "t1")
	f(other, "app.test", "/x//t//T1;a=/t/t2/", nil, "jet", "t1")
	f(other, "app.test", "/t/t%31/", nil, "jet", "t1")
	// Tricks name nobody.
	f(other, "app.test", "/t/%2574%2531/", nil, "shared", "")
	f(other, "app.test", "/%2574/t1/", nil, "shared", "")
	f(other, "app.test", "/T/t1/", nil, "shared", "")
	f(other, "app.test", "/?tenantDomain=..%2Ft1", nil, "shared", "")
	for _, target := range []string{"/t/t2/../t1/", "/t/t2/%2e%2E/t1/", "/t/t2/..;x=1/t1/", "/t/t2%2f..%2ft1/", "/x%2ft%2ft1/", "/t/t1%00/",
		"/t/t1%5c..%5ct2/", "/t/t1\\..\\t2/", "/./t/t1/", "/t/t1%", "/t/t1\x00/"} {
		c := dialFrom(t, other, harness.Loopback(s.port))
		c.Send("GET " + target + " HTTP/1.1\r\nHost: app.test\r\n\r\n")
		a, err := c.Await("GET", 10*time.Second)
		if err != nil {
			t.Fatalf("%q: %v", target, err)
		}
		if n := len(s.jet.Take()) + len(s.shared.Take()); a.Status != 400 || n != 0 {
			t.Errorf("%q: %d, and %d requests at members; want 400 and none", target, a.Status, n)
		}
	}
}

// dialFrom connects from a local address of loopback.
func dialFrom(t testing.TB, local, addr string) *harness.Client {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}, Timeout: 5 * time.Second}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(fmt.Errorf("cannot connect from %s: %w", local, err))
	}
	t.Cleanup(func() { conn.Close() })
	return harness.NewClient(conn)
}
