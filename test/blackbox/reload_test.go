package blackbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// oneMember is a configuration with one static member and the host names it
// is reached by.
func oneMember(s site, m *harness.Member, hosts string) string {
	return fmt.Sprintf(`loadbalancer:
  listeners:
    - {name: http, address: "127.0.0.1:%d"}
  admin: {address: "127.0.0.1:%d"}
  timeouts: {drain: 5s}
membership:
  static:
    - {id: %s, domain: web.domain, host: 127.0.0.1, http: %d}
services:
  defaults: {affinity: {mode: none}}
  web:
    domains:
      web.domain: {hosts: [%s]}
`, s.http, s.admin, m.Name, m.Port, hosts)
}

// lastReload is what the admin API says of the newest load.
func lastReload(t testing.TB, j *harness.Jetway) (ok bool, when time.Time, reason string) {
	t.Helper()
	var v struct {
		LastReload struct {
			OK    bool      `json:"ok"`
			Time  time.Time `json:"time"`
			Error string    `json:"error"`
		} `json:"last_reload"`
	}
	_, body := j.Get("/api/v1/overview")
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("cannot read overview %q: %v", body, err)
	}
	return v.LastReload.OK, v.LastReload.Time, v.LastReload.Error
}

// reload writes a configuration, sends SIGHUP, and waits for the result.
func reload(t testing.TB, j *harness.Jetway, conf string) (ok bool, reason string) {
	t.Helper()
	_, before, _ := lastReload(t, j)
	j.Reload(t, conf)
	eventually(t, 10*time.Second, "the reload is done", func() bool {
		var when time.Time
		ok, when, reason = lastReload(t, j)
		return when.After(before)
	})
	return ok, reason
}

// TestBadReload: a file with a mistake changes nothing, and is reported with
// its position in the log, the API and the metrics.
func TestBadReload(t *testing.T) {
	s := newSite(t)
	m := harness.StartMember(t, "m", nil)
	good := oneMember(s, m, "a.example.com")
	j := harness.Start(t, good)
	l := startLoad(s.http, "a.example.com")

	f := func(bad, want string) {
		t.Helper()
		ok, reason := reload(t, j, bad)
		if ok || !strings.Contains(reason, want) {
			t.Errorf("reload is ok=%v %q, want a failure that says %q", ok, reason, want)
		}
		if g := web(s.http, "a.example.com", "/x").do(t); g.String() != "200 m GET /x" {
			t.Errorf("after a bad reload: %s", g)
		}
	}
	f(strings.Replace(good, "a.example.com", "b.example.com", 1)+"  - oops: [\n", "loadbalancer.conf:")
	f(strings.Replace(good, "hosts: [a.example.com]", "host: [b.example.com]", 1), `"hosts"`)
	f(strings.Replace(good, "drain: 5s", "drain: 5 parsecs", 1), "loadbalancer.conf:5:")
	f("", "loadbalancer.conf")
	f(strings.Replace(good, "listeners:\n", "name: other\n  listeners:\n", 1), "name") // needs a restart
	if !strings.Contains(j.Log(), "5 parsecs") {
		t.Error("the log does not tell what is wrong")
	}

	req, err := http.NewRequest(http.MethodPost, "http://"+j.Admin+"/api/v1/reload", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("POST /api/v1/reload of a bad file: %d, want 422", res.StatusCode)
	}
	l.more(t, 50)
	l.stopClean(t)
}

// TestReloadDropsNothing: 20 reloads that change routes, members and
// listeners, under load and with a request in flight. No request fails, and
// no connection is closed for it.
func TestReloadDropsNothing(t *testing.T) {
	s := newSite(t)
	m := harness.StartMember(t, "m", nil)
	other := harness.StartMember(t, "other", nil)
	slow, release := slowMember(t)
	first := withSlow(oneMember(s, m, "a.example.com"), slow.Port)
	second := withSlow(oneMember(s, other, `a.example.com, "*.example.org"`), slow.Port)
	second = strings.Replace(second, "  admin:", fmt.Sprintf("    - {name: more, address: \"127.0.0.1:%d\"}\n  admin:", s.mapped), 1)
	j := harness.Start(t, first)
	l := startLoad(s.http, "a.example.com")
	l.reach(t, 50)
	kept := harness.Dial(t, harness.Loopback(s.http))
	keptAsk := func(want string) {
		t.Helper()
		if err := kept.Send("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if a, err := kept.Await("GET", 5*time.Second); err != nil || string(a.Body) != want {
			t.Fatalf("kept connection: %v, %+v, want %q", err, a, want)
		}
	}
	keptAsk("m GET /")
	inFlight := harness.Dial(t, harness.Loopback(s.http))
	if err := inFlight.Send("GET /slow HTTP/1.1\r\nHost: slow.example.com\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the slow request is in flight", func() bool { return len(slow.Requests()) == 1 })

	for i := range 10 {
		if ok, reason := reload(t, j, second); !ok {
			t.Fatalf("reload %d: %s", 2*i+1, reason)
		}
		keptAsk("other GET /")
		if g := web(s.mapped, "x.example.org", "/").do(t); g.String() != "200 other GET /" {
			t.Fatalf("new listener and host: %s", g)
		}
		if ok, reason := reload(t, j, first); !ok {
			t.Fatalf("reload %d: %s", 2*i+2, reason)
		}
		keptAsk("m GET /")
		if _, err := web(s.mapped, "a.example.com", "/").try(); err == nil {
			t.Fatal("the listener that the file no longer has still answers")
		}
	}
	l.stopClean(t)
	if n := l.dials.Load(); n != loadConns {
		t.Errorf("%d connections were opened for the load, want %d: some were closed", n, loadConns)
	}
	close(release)
	if a, err := inFlight.Await("GET", 5*time.Second); err != nil || a.Status != 200 {
		t.Errorf("the request in flight over all reloads: %v, %+v", err, a)
	}
}

// slowMember answers only once release is closed.
func slowMember(t testing.TB) (m *harness.Member, release chan struct{}) {
	release = make(chan struct{})
	m = harness.StartMember(t, "slow", func(c *harness.MemberConn, r *harness.Request) {
		select {
		case <-release:
			harness.Echo(c, r)
		case <-time.After(30 * time.Second):
		}
	})
	return m, release
}

// withSlow adds a service for slow.example.com to a configuration of oneMember.
func withSlow(conf string, port int) string {
	conf = strings.Replace(conf, "  static:\n",
		fmt.Sprintf("  static:\n    - {id: slow, domain: slow.domain, host: 127.0.0.1, http: %d}\n", port), 1)
	return conf + "  slow:\n    domains:\n      slow.domain: {hosts: [slow.example.com]}\n"
}

// TestFileWatch: a changed file is taken without a signal, also one that was
// replaced by renaming, as editors do, and so is the tenants file.
func TestFileWatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	m := harness.StartMember(t, "m", nil)
	j := harness.Start(t, oneMember(s, m, "a.example.com"))
	j.WriteFile(t, "loadbalancer.conf", oneMember(s, m, "b.example.com"))
	eventually(t, 10*time.Second, "the changed file is in force", func() bool {
		return web(s.http, "b.example.com", "/").do(t).status == 200
	})
	if g := web(s.http, "a.example.com", "/").do(t); g.status != 404 {
		t.Errorf("the old host: %s", g)
	}
	rename(t, j, "loadbalancer.conf", oneMember(s, m, "c.example.com"))
	eventually(t, 10*time.Second, "the renamed file is in force", func() bool {
		return web(s.http, "c.example.com", "/").do(t).status == 200
	})
}
