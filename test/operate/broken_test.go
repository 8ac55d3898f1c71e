package operate

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"jetway/test/harness"
)

// learner is a Jetway that learns the sessions of two domains.
type learner struct {
	site
	a, b     *harness.Member
	sessions []learned
}

// learned is a session and how it was found first.
type learned struct {
	tenant, cookie, member string
}

// learnerConf has the file's variable parts: members of "shop", what stands
// under it, its affinity, and the tenants file.
func (l *learner) conf(members, domain, affinity, tenants string) string {
	return fmt.Sprintf(`loadbalancer:
  listeners: [{name: http, address: "127.0.0.1:%d"}]
  admin: {address: "%s"}
  timeouts: {connect: 20s}
membership:
  static:
%s    - {id: c, domain: jet, host: 127.0.0.1, http: %d}
tenants:
  identify: [{path: "/t/{tenant}/"}]
  directory: {file: %s}
services:
  shop:
    hosts: [%s]
    affinity: %s
    domains:
      shop: {tenant_range: "*"}
      jet: {tenant_range: "%s"}
`, l.port, l.Admin, members, l.a.Port, tenants, host, affinity, domain)
}

func (l *learner) member(id string, m *harness.Member) string {
	return fmt.Sprintf("    - {id: %s, domain: shop, host: 127.0.0.1, http: %d}\n", id, m.Port)
}

const learnedTenants = "acme,42\nzed,43\nowl,44\n"

func startLearner(t *testing.T) *learner {
	var ids atomic.Int64
	script := func(c *harness.MemberConn, r *harness.Request) {
		c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: JSESSIONID=session-%d; Path=/\r\n\r\nok", ids.Add(1)))
	}
	l := &learner{a: harness.StartMember(t, "a", script), b: harness.StartMember(t, "b", script)}
	l.port = harness.FreePort(t)
	l.Jetway = &harness.Jetway{Admin: harness.Loopback(harness.FreePort(t))}
	l.Jetway = harness.Start(t, l.conf(l.member("a", l.a)+l.member("b", l.b), "99", "{mode: learn}", "tenants.csv"), harness.WithFile("tenants.csv", learnedTenants))
	eventually(t, "all members are up", func() bool {
		_, text := l.Get("/api/v1/members")
		return strings.Count(text, `"state": "up"`) == 3
	})
	for i := range 60 {
		tenant := []string{"acme", "zed", "owl", "stranger"}[i%4]
		for _, f := range l.ask(t, "GET /t/"+tenant+"/ HTTP/1.1\r\nHost: "+host+"\r\n\r\n").Fields {
			if pair, _, _ := strings.Cut(f.Value, ";"); strings.EqualFold(f.Name, "Set-Cookie") {
				v := l.find(t, "http://"+host+"/t/"+tenant+"/", pair)
				if v.Verdict != "kept" {
					t.Fatalf("%s is not learned: %+v", pair, v)
				}
				l.sessions = append(l.sessions, learned{tenant, pair, v.Member.ID})
			}
		}
	}
	return l
}

// against returns how many learned sessions a file is said to break.
func (l *learner) against(t *testing.T, conf string) (broken, known int, out string) {
	t.Helper()
	l.WriteFile(t, "new.conf", conf)
	file := filepath.Join(l.Dir, "new.conf")
	var v struct {
		Learned struct{ Known, Broken int } `json:"learned_sessions"`
	}
	if text := run(t, 0, "check", "-c", file, "--against", "live", "-o", "json"); json.Unmarshal([]byte(text), &v) != nil {
		t.Fatal(text)
	}
	return v.Learned.Broken, v.Learned.Known, run(t, 0, "check", "-c", file, "--against", "live")
}

// broken returns how many sessions are not found or not served where they were.
func (l *learner) broken(t *testing.T) (n int) {
	t.Helper()
	for _, s := range l.sessions {
		if v := l.find(t, "http://"+host+"/t/"+s.tenant+"/", s.cookie); v.Verdict != "kept" || v.Member == nil || v.Member.ID != s.member {
			n++
		}
	}
	return n
}

// TestSessionsThatBreak: the number of learned sessions that a file is said to
// break is that of those that it breaks.
func TestSessionsThatBreak(t *testing.T) {
	t.Parallel()
	l := startLearner(t)
	both := l.member("a", l.a) + l.member("b", l.b)
	first := l.conf(both, "99", "{mode: learn}", "tenants.csv")
	reload := func(conf string) {
		t.Helper()
		l.WriteFile(t, "loadbalancer.conf", conf)
		run(t, 0, "reload", "--admin", l.Admin)
	}
	f := func(what, conf, says string) {
		t.Helper()
		said, known, out := l.against(t, conf)
		reload(conf)
		found := l.broken(t)
		reload(first)
		if known != 60 || said != found || !strings.Contains(out, fmt.Sprintf("up to %d of 60 learned sessions break", said)) || !strings.Contains(out, says) {
			t.Errorf("%s: said to break %d of %d, found %d:\n%s", what, said, known, found, out)
		}
	}
	l.WriteFile(t, "other.csv", "acme,142\nzed,43\nowl,44\n")
	f("nothing", first, "0 of 3 known tenants move")
	f("a member goes", l.conf(l.member("a", l.a), "99", "{mode: learn}", "tenants.csv"), ": those bound to member shop/b: it goes")
	f("a tenant moves", l.conf(both, "43", "{mode: learn}", "tenants.csv"), "  15: tenants leave shop")
	f("both", l.conf(l.member("a", l.a), "43-44", "{mode: learn}", "tenants.csv"), "  30: tenants leave shop")
	f("another id", l.conf(both, "99", "{mode: learn}", "other.csv"), "  15: tenants of shop get another id")
	f("another mode", l.conf(both, "99", "{mode: cookie}", "tenants.csv"), "  60: all of shop/worker: affinity.mode changes")
	f("another cookie", l.conf(both, "99", "{mode: learn, cookies: [OTHER]}", "tenants.csv"), "  60: some of shop/worker: a session cookie")
}
