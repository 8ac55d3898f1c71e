package httpcases

import "fmt"

// tenantPathRows are group N: the path decides whose request it is.
func tenantPathRows() []row {
	in := func(target string) string { return raw("GET "+target+" HTTP/1.1", "Host: n.lb.test") }
	at := func(id, what, target, member string) row {
		return goodAs(id, what, in(target), same(in(target)).to(member))
	}
	claim := func(id, what, field, target, member string) row {
		text := raw("GET "+target+" HTTP/1.1", "Host: n.lb.test", field)
		return goodAs(id, what, text, fwd(text, field).to(member))
	}
	// The flood itself, a million of them, is in test/tenants.
	strangers := row{id: "N17", what: "many unknown tenants on one connection"}
	var known []msg
	for i := range 40 {
		text := in(fmt.Sprintf("/t/stranger-%d.example/x", i))
		strangers.in += text
		known = append(known, same(text).to("n0"))
	}
	strangers.want = ok(known...)
	eitherAt := func(id, what, target string, members ...string) row {
		r := bad(id, what, in(target))
		for _, m := range members {
			r.want = append(r.want, ok(same(in(target)).to(m))...)
		}
		return r
	}
	return []row{
		bad("N01", "plain dot segment", in("/t/t1/../t2/x")),
		bad("N01a", "dot segment at the end", in("/t/t1/..")),
		bad("N01b", "dot segment first", in("/../t/t2/x")),
		bad("N02", "escaped dots", in("/t/t1/%2e%2e/t2/x")),
		bad("N02a", "one dot escaped", in("/t/t1/.%2E/t2/x")),
		bad("N02b", "escaped dots and slash", in("/t/t1/%2e%2e%2ft2/x")),
		bad("N02c", "escaped dots at the end", in("/t/t1/%2e%2e")),
		bad("N03", "dots between escaped slashes", in("/t/t1%2f..%2ft2/x")),
		bad("N03a", "escaped slash behind the tenant", in("/t/t1%2fx")),
		bad("N03b", "escaped slash hides another tenant", in("/t%2ft2/t/t1/x")),
		at("N03c", "escaped slash that moves nothing", "/t/t1/a%2Fb", "n1"),
		bad("N04", "back-slashes", in("/t/t1\\..\\t2/x")),
		bad("N04a", "escaped back-slashes", in("/t/t1%5c..%5ct2/x")),
		at("N05", "empty segment", "/t/t1//x", "n1"),
		at("N05a", "two slashes first", "//t/t1/x", "n1"),
		at("N05b", "two slashes before the tenant", "/t//t1/x", "n1"),
		bad("N06", "single dot", in("/t/t1/./x")),
		bad("N06a", "single escaped dot", in("/t/%2e/t1/x")),
		bad("N06b", "single dot at the end", in("/t/t1/.")),
		eitherAt("N07", "dots escaped twice", "/t/t1/%252e%252e/t2/x", "n1"),
		bad("N08", "escaped NUL", in("/t/t1%00/x")),
		bad("N08a", "escaped NUL elsewhere", in("/t/t1/x%00y")),
		eitherAt("N09", "escaped CRLF in the name", "/t/t1%0d%0aX-Evil:%201/x", "n0"),
		eitherAt("N09a", "escaped CRLF behind it", "/t/t1/x%0d%0aX-Evil:%201", "n1"),
		at("N10", "tenant in upper case", "/t/T1/x", "n1"),
		eitherAt("N10a", "tenant escaped", "/t/%741/x", "n1"),
		eitherAt("N10b", "marker escaped", "/%74/t1/x", "n1"),
		bad("N11", "dot segment behind a parameter", in("/t/t1;a=1/../t2")),
		bad("N11a", "dot segment with a parameter", in("/t/t1/..;/t2")),
		bad("N11b", "escaped dots with a parameter", in("/t/t1/%2e%2e;a=b/t2")),
		eitherAt("N11c", "parameter on the tenant", "/t/t1;v=1/x", "n1"),
		bad("N11d", "dots before an escaped semicolon", in("/t/t1/..%3b/t2")),
		bad("N12", "bad escape", in("/t/t1%zz/x")),
		bad("N12a", "cut escape", in("/t/t1/x%2")),
		bad("N12b", "percent alone", in("/t/t1/x%")),
		bad("N12c", "escape of IIS", in("/t/t1/%u002e%u002e/t2")),
		{id: "N13", what: "absolute form", in: in("http://n.lb.test/t/t1/x"), want: ok(same(in("/t/t1/x")).to("n1"))},
		bad("N13a", "absolute form, dot segment", in("http://n.lb.test/t/t1/../t2/x")),
		at("N14", "dots in the query", "/t/t1?x=../../t2", "n1"),
		at("N14a", "another tenant in the query", "/t/t1/x?tenantDomain=t2", "n1"),
		at("N14b", "tenant in the query only", "/x?tenantDomain=t2", "n2"),
		at("N14c", "path in the query", "/x?/t/t2/", "n0"),
		claim("N15", "the client claims a tenant's id", "X-Tenant-Id: t2", "/x", "n0"),
		claim("N15a", "and is of another tenant", "X-Tenant-Id: 2", "/t/t1/x", "n1"),
		claim("N15b", "or claims a name, in upper case", "X-TENANT-NAME: t2", "/t/t1/x", "n1"),
		claim("N15c", "or with underscores", "X_Tenant_Id: 2", "/t/t1/x", "n1"),
		strangers,
		at("N16", "two tenants in the path", "/t/t1/x/t/t2/y", "n1"),
		at("N16a", "tenant at the end", "/a/b/t/t2", "n2"),
		at("N16b", "no tenant behind the marker", "/t/", "n0"),
		at("N16c", "unknown tenant", "/t/unknown/x", "n0"),
		at("N16d", "no marker", "/x", "n0"),
		at("N16e", "super tenant", "/t/carbon.super/x", "n0"),
		at("N16f", "dots that are no segment", "/t/t1/...//.hidden/x..y/..z", "n1"),
		eitherAt("N16g", "overlong UTF-8 dots", "/t/t1/%c0%ae%c0%ae/t2", "n1"),
		at("N16h", "marker in upper case is another path", "/T/t1/x", "n0"),
	}
}
