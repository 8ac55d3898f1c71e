package blackbox

import (
	"fmt"
	"testing"
	"time"

	"jetway/test/harness"
)

// site is the ports of one Jetway.
type site struct{ http, mapped, admin, gossip int }

func newSite(t testing.TB) site {
	return site{harness.FreePort(t), harness.FreePort(t), harness.FreePort(t), harness.FreePort(t)}
}

// conf is a site with a shared domain, a private jet for tenant 42, and
// management that is kept to one listener and one client address.
func (s site) conf() string {
	return fmt.Sprintf(`loadbalancer:
  listeners:
    - {name: http, address: "127.0.0.1:%d"}
    - {name: mapped, address: "127.0.0.1:%d", public_port: 8281}
  admin: {address: "127.0.0.1:%d"}
membership:
  gossip: {bind: "127.0.0.1:%d"}
tenants:
  identify: [{path: "**/t/{tenant}/"}, {query: tenantDomain}]
  directory: {file: tenants.csv}
services:
  defaults: {affinity: {mode: none}}
  appserver:
    domains:
      as.shared.domain:
        tenant_range: "*"
        sub_domains:
          mgt: {hosts: [mgt.as.example.com], listeners: [http], allow_from: [127.0.0.1/32]}
          worker: {hosts: [as.example.com, "*.as.example.com"]}
      as.jet.domain:
        tenant_range: "42"
        sub_domains:
          worker: {hosts: [as.example.com, "*.as.example.com"]}
`, s.http, s.mapped, s.admin, s.gossip)
}

func startSite(t testing.TB, s site) *harness.Jetway {
	return harness.Start(t, s.conf(), harness.WithFile("tenants.csv", "acme.com,7\njet.com,42\n"))
}

// TestRoutingWithSerfAgents routes to members that only a stock serf agent
// announces: by host, sub-domain, tenant range, port, listener and client.
func TestRoutingWithSerfAgents(t *testing.T) {
	eachSerf(t, func(t *testing.T, serf string) {
		s := newSite(t)
		j := startSite(t, s)
		worker := harness.StartMember(t, "worker", nil)
		mgt := harness.StartMember(t, "mgt", nil)
		jet, jetMapped := harness.StartMember(t, "jet", nil), harness.StartMember(t, "jet-mapped", nil)
		agent(t, serf, "worker", s.gossip, "domain=as.shared.domain", fmt.Sprintf("http=%d", worker.Port)) // sub_domain: worker
		agent(t, serf, "mgt", s.gossip, "domain=as.shared.domain", "sub_domain=mgt", fmt.Sprintf("http=%d", mgt.Port))
		agent(t, serf, "jet", s.gossip, "domain=as.jet.domain", "sub_domain=worker",
			fmt.Sprintf("http=%d", jet.Port), fmt.Sprintf("port.mapping.8281=%d", jetMapped.Port))
		for _, id := range []string{"worker", "mgt", "jet"} {
			awaitState(t, j, id, "up", 10*time.Second)
		}

		f := func(a ask, want string) {
			t.Helper()
			if g := a.do(t); g.String() != "200 "+want {
				t.Errorf("%s %s: %s, want %s", a.host, a.url, g, want)
			}
		}
		f(web(s.http, "as.example.com", "/a?b"), "worker GET /a?b")
		f(web(s.http, "AS.example.com:80", "/"), "worker GET /")
		f(web(s.http, "shop.as.example.com", "/"), "worker GET /")
		f(web(s.http, "mgt.as.example.com", "/"), "mgt GET /")
		f(web(s.http, "as.example.com", "/t/acme.com/x"), "worker GET /t/acme.com/x")
		f(web(s.http, "as.example.com", "/t/jet.com/x"), "jet GET /t/jet.com/x")
		f(web(s.http, "as.example.com", "/app/t/JET.com/"), "jet GET /app/t/JET.com/")
		f(web(s.http, "as.example.com", "/?tenantDomain=jet.com"), "jet GET /?tenantDomain=jet.com")
		f(web(s.http, "as.example.com", "/t/carbon.super/"), "worker GET /t/carbon.super/")
		f(web(s.http, "as.example.com", "/t/nobody.com/"), "worker GET /t/nobody.com/")
		f(web(s.mapped, "as.example.com", "/t/jet.com/"), "jet-mapped GET /t/jet.com/")
		f(web(s.mapped, "as.example.com", "/"), "worker GET /") // maps nothing

		refused := func(a ask, why string) {
			t.Helper()
			a.accept = "application/json"
			if g := a.do(t); g.status != 404 || g.reason() != "no_host" {
				t.Errorf("%s %s: %s, want 404 no_host", a.host, why, g)
			}
		}
		refused(web(s.http, "example.com", "/"), "is unknown")
		refused(web(s.http, "as.example.com.evil.org", "/"), "is unknown")
		refused(web(s.mapped, "mgt.as.example.com", "/"), "is not on this listener")
		outside := web(s.http, "mgt.as.example.com", "/")
		outside.from = "127.0.0.2"
		refused(outside, "is not for this client")
		if n := len(mgt.Requests()); n != 1 {
			t.Errorf("mgt got %d requests, want 1", n)
		}
	})
}

// TestAnswers: who is not served learns why, as text and as JSON.
func TestAnswers(t *testing.T) {
	s := newSite(t)
	closed := harness.FreePort(t)
	j := harness.Start(t, fmt.Sprintf(`loadbalancer:
  listeners:
    - {name: http, address: "127.0.0.1:%d"}
  admin: {address: "127.0.0.1:%d"}
membership:
  static:
    - {id: dead, domain: dead.domain, host: 127.0.0.1, http: %d}
    - {id: mapped, domain: mapped.domain, host: 127.0.0.1, port_mapping: {8281: %d}}
tenants:
  identify: [{path: "/t/{tenant}/"}]
  unknown: refuse
  directory: {file: tenants.yaml}
services:
  defaults: {affinity: {mode: none}}
  one:
    domains:
      range.domain: {hosts: [range.example.com], tenant_range: "1-6,8"}
      empty.domain: {hosts: [empty.example.com]}
      dead.domain: {hosts: [dead.example.com]}
      mapped.domain: {hosts: [mapped.example.com]}
`, s.http, s.admin, closed, closed), harness.WithFile("tenants.yaml", "- {name: acme.com, id: 7}\n- {name: small.com, id: 8}\n"))

	f := func(host, path string, status int, reason, retryAfter string) {
		t.Helper()
		a := web(s.http, host, path)
		text := a.do(t)
		a.accept = "application/json"
		data := a.do(t)
		if text.status != status || data.status != status || data.reason() != reason {
			t.Errorf("%s%s: text %s; json %s; want %d %s", host, path, text, data, status, reason)
		}
		if ct := text.header.Get("Content-Type"); ct != "text/plain; charset=utf-8" {
			t.Errorf("%s%s: text has Content-Type %q", host, path, ct)
		}
		if ct := data.header.Get("Content-Type"); ct != "application/json" {
			t.Errorf("%s%s: JSON has Content-Type %q", host, path, ct)
		}
		if got := text.header.Get("Retry-After"); got != retryAfter {
			t.Errorf("%s%s: Retry-After is %q, want %q", host, path, got, retryAfter)
		}
	}
	f("nobody.example.com", "/", 404, "no_host", "")
	f("range.example.com", "/t/acme.com/", 404, "no_domain", "")
	f("range.example.com", "/", 404, "no_domain", "") // no tenant: "*", which is not there
	f("range.example.com", "/t/stranger.com/", 403, "unknown_tenant", "")
	f("range.example.com", "/t/small.com/", 503, "no_member", "1")
	f("empty.example.com", "/", 503, "no_member", "1")
	f("mapped.example.com", "/", 503, "no_port", "1")

	a := web(s.http, "dead.example.com", "/")
	a.accept = "application/json"
	if g := a.do(t); g.status != 502 || g.reason() != "connect_failed" {
		t.Errorf("refused connection: %s, want 502 connect_failed", g)
	}
	awaitState(t, j, "dead", "down", 5*time.Second) // its first check found that out before
}
