package tenant

import (
	"bytes"
	"net/url"
	"strings"
	"testing"
)

// fields are header fields as name and value in turn.
type fields []string

func (f fields) Field(name string, from int) ([]byte, int) {
	for i := from; i < len(f); i += 2 {
		if strings.EqualFold(f[i], name) {
			return []byte(f[i+1]), i + 2
		}
	}
	return nil, -1
}

func mustIdentifier(t testing.TB, rules ...Rule) *Identifier {
	t.Helper()
	id, err := NewIdentifier(rules)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestFind: want is the name, "-" where none is found and "" where an
// impossible one is.
func TestFind(t *testing.T) {
	f := func(rule Rule, req Request, want string) {
		t.Helper()
		var found Found
		got := "-"
		if mustIdentifier(t, rule).Find(&found, &req) {
			got = string(found.Name())
		}
		if got != want {
			t.Fatalf("%+v in %+v: %q, want %q", rule, req, got, want)
		}
	}
	host := func(pattern, h, want string) {
		t.Helper()
		f(Rule{Host: pattern}, Request{Host: []byte(h)}, want)
	}
	host("{tenant}.apps.example.com", "acme.apps.example.com", "acme")
	host("{Tenant}.apps.example.com", "acme.apps.example.com", "acme")
	host("{tenant}.Apps.example.com", "acme.com.apps.example.com", "acme.com") // several labels
	host("{tenant}.apps.example.com", "apps.example.com", "-")
	host("{tenant}.apps.example.com", "acme.xapps.example.com", "-")
	host("{tenant}.apps.example.com", "acme.apps.example.com.evil.org", "-")
	host("{tenant}.apps.example.com", "_x.apps.example.com", "")
	host("www.{tenant}.example.com", "www.acme.example.com", "acme")
	host("www.{tenant}.example.com", "www.example.com", "-")
	host("www.{tenant}.example.com", "acme.example.com", "-")

	header := func(trusted bool, want string, list ...string) {
		t.Helper()
		f(Rule{Header: "X-Tenant"}, Request{Fields: fields(list), Trusted: trusted}, want)
	}
	header(true, "acme", "Host", "a", "x-tenant", "ACME")
	header(false, "-", "x-tenant", "acme")
	header(true, "-", "x-tenants", "acme")
	header(true, "", "x-tenant", "a b")
	header(true, "", "x-tenant", "")
	header(true, "acme", "X-Tenant", "acme", "X-Tenant", "acme")
	header(true, "", "X-Tenant", "acme", "X-Tenant", "t2") // whom do members believe?
	f(Rule{Header: "X-Tenant"}, Request{Trusted: true}, "-")

	cookie := func(trusted bool, want string, list ...string) {
		t.Helper()
		f(Rule{Cookie: "tenant"}, Request{Fields: fields(list), Trusted: trusted}, want)
	}
	cookie(true, "acme", "Cookie", "tenant=acme")
	cookie(true, "acme", "Cookie", `a=b; tenant="acme"; c`)
	cookie(true, "acme", "Cookie", "a=b", "Cookie", "xtenant=t2;tenant=acme")
	cookie(true, "acme", "Cookie", "tenant=acme; tenant=acme")
	cookie(true, "", "Cookie", "tenant=acme; tenant=t2")
	cookie(true, "", "Cookie", "tenant=acme", "Cookie", "tenant=t2")
	cookie(true, "", "Cookie", "tenant=")
	cookie(true, "-", "Cookie", "Tenant=acme") // cookie names have a case
	cookie(true, "-", "Cookie", ";;tenant;")
	cookie(false, "-", "Cookie", "tenant=acme")
}

// TestOrder: the first rule that finds a name wins, but a query never beats
// another place.
func TestOrder(t *testing.T) {
	id := mustIdentifier(t, Rule{Query: "tenantDomain"}, Rule{Host: "{tenant}.example.com"}, Rule{Path: "**/t/{tenant}/"})
	f := func(host, path, query, want string) {
		t.Helper()
		var found Found
		id.Find(&found, &Request{Host: []byte(host), Path: []byte(path), Query: []byte(query)})
		if got := string(found.Name()); got != want {
			t.Fatalf("%s%s?%s: %q, want %q", host, path, query, got, want)
		}
	}
	f("a.example.com", "/t/b/", "tenantDomain=c", "a")
	f("example.com", "/t/b/", "tenantDomain=c", "b")
	f("example.com", "/", "tenantDomain=c", "c")
	f("_.example.com", "/t/b/", "", "") // impossible, not absent
}

func TestServicesHaveTheirOwnRules(t *testing.T) {
	r, err := NewResolver(Config{Identify: []Rule{{Path: "**/t/{tenant}/"}},
		Services: map[string][]Rule{"own": {{Query: "who"}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var found Found
	if r.Identifier("own").Find(&found, &Request{Path: []byte("/t/acme/")}) {
		t.Fatal("the global rule counts where the service has its own")
	}
	if !r.Identifier("other").Find(&found, &Request{Path: []byte("/t/acme/")}) {
		t.Fatal("the global rule does not count for other services")
	}
	// An encoded slash that moves nobody there is no reason to refuse.
	if p := []byte("/a/t%2facme/x"); r.Identifier("own").PathAmbiguous(p) || !r.Identifier("other").PathAmbiguous(p) {
		t.Fatal("the encoded slash is not judged by the rules of its service")
	}
}

func TestCompileRuleRefuses(t *testing.T) {
	for _, c := range []Rule{{}, {Path: "/t/{tenant}", Query: "x"}, {Path: "/t/"}, {Path: "**/{tenant}"},
		{Path: "/{tenant}/x"}, {Path: "/a*/{tenant}"}, {Query: "a=b"}, {Path: "//{tenant}"}, {Path: "**"},
		{Header: "a b"}, {Header: "X:"}, {Cookie: "a=b"}, {Host: "example.com"}, {Host: "{tenant}"}, {Host: "{tenant}."},
		{Host: "x{tenant}.example.com"}, {Host: "{tenant}.*.com"}, {Host: "{tenant}.a..b"}, {Host: "{tenant}example.com"}, {Host: "{tenant}.{tenant}.com"}} {
		if _, err := compileRule(c); err == nil {
			t.Fatalf("%+v was accepted", c)
		}
	}
}

func TestResolveAllocatesNothing(t *testing.T) {
	r := newResolver(t, Rule{Header: "X-Tenant"}, Rule{Cookie: "tenant"}, Rule{Host: "{tenant}.example.com"}, Rule{Path: "**/t/{tenant}/"})
	var found Found
	req := &Request{Host: []byte("www.example.org"), Path: []byte("/services/t/acme/echo"), Query: []byte("a=1"), Trusted: true, Fields: noFields{}}
	if n := testing.AllocsPerRun(100, func() { r.Resolve(&found, r.standard, req) }); n != 0 || found.ID != 42 {
		t.Fatalf("%v allocations, id %d", n, found.ID)
	}
}

type noFields struct{}

func (noFields) Field(string, int) ([]byte, int) { return nil, -1 }

// FuzzFind holds that whatever a request says, the name is one of the grammar
// or empty, that nothing but what the rules look at has an influence, and that
// an untrusted client names nobody by field.
func FuzzFind(f *testing.F) {
	f.Add([]byte("a.example.com"), []byte("/t/b/"), []byte("d=c"), []byte("tenant=x"))
	f.Add([]byte("x"), []byte("/t/%00"), []byte("%64=%2e"), []byte("tenant=\"x\"; tenant=y"))
	f.Add([]byte("x"), []byte("/t/t/a/t/"), []byte(""), []byte(""))
	f.Add([]byte("x"), []byte("/t/"), []byte(""), []byte(""))
	id := mustIdentifier(f, Rule{Header: "X-Tenant"}, Rule{Cookie: "tenant"}, Rule{Host: "{tenant}.example.com"},
		Rule{Path: "**/t/{tenant}/"}, Rule{Query: "d"})
	f.Fuzz(func(t *testing.T, host, path, query, cookie []byte) {
		if len(path) == 0 || path[0] != '/' {
			return
		}
		req := Request{Host: host, Path: path, Query: query, Fields: fields{"Cookie", string(cookie), "X-Tenant", string(host)}}
		var untrusted, bare Found
		named := id.Find(&untrusted, &req)
		if n := untrusted.Name(); len(n) > 0 && !ValidName(n) || !named && len(n) > 0 {
			t.Fatalf("found %q", n)
		}
		req.Fields = nil
		if id.Find(&bare, &req) != named || !bytes.Equal(bare.Name(), untrusted.Name()) {
			t.Fatalf("fields of an untrusted client name %q", untrusted.Name())
		}
		req.Trusted, req.Fields = true, fields{"Cookie", string(cookie), "X-Tenant", string(host)}
		id.Find(&bare, &req)
		if n := bare.Name(); len(n) > 0 && !ValidName(n) {
			t.Fatalf("found %q", n)
		}
		// The short way through plain paths ends where the long one does.
		for _, pattern := range []string{"**/t/{tenant}/", "/{tenant}/", "/t/{tenant}", "**/a/t/{tenant}"} {
			r, err := compileRule(Rule{Path: pattern})
			if err != nil {
				t.Fatal(err)
			}
			got, found := r.pathValue(path)
			if want, there := r.segmentValue(path); found != there || found && !bytes.Equal(got, want) {
				t.Fatalf("%s in %q: %q %v, by segment %q %v", pattern, path, got, found, want, there)
			}
		}
		// What a member's own parser finds in the query is what is found here.
		if values, err := url.ParseQuery(string(query)); err == nil && len(query) > 0 {
			var q Found
			only := mustIdentifier(t, Rule{Query: "d"})
			if only.Find(&q, &Request{Path: []byte("/"), Query: query}) && q.n > 0 && strings.ToLower(values.Get("d")) != string(q.Name()) {
				t.Fatalf("%q: found %q, a member finds %q", query, q.Name(), values.Get("d"))
			}
		}
	})
}
