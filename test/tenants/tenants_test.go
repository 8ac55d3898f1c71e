package tenants

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jetway/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// site is a Jetway before two members: jet serves the tenants 1 to 100000,
// shared everybody else.
type site struct {
	*harness.Jetway
	t           *testing.T
	port        int
	client      *http.Client
	jet, shared *harness.Member
}

// startSite: extra stands under tenants, limits under services.defaults.
func startSite(t *testing.T, s source, extra, limits string, opts ...harness.Option) *site {
	t.Helper()
	st := &site{t: t, port: harness.FreePort(t), jet: harness.StartMember(t, "jet", nil), shared: harness.StartMember(t, "shared", nil),
		client: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	conf := fmt.Sprintf(`loadbalancer:
  state_dir: "%s"
  listeners: [{name: http, address: "127.0.0.1:%d"}]
  admin: {address: "127.0.0.1:%d"}
  trusted_proxies: [127.0.0.2]
  timeouts: {drain: 2s}
membership:
  static:
    - {id: jet, domain: jet.domain, host: 127.0.0.1, http: %d}
    - {id: shared, domain: shared.domain, host: 127.0.0.1, http: %d}
tenants:
  %s
  directory: {%s}
services:
  defaults: {limits: {%s}, affinity: {mode: none}}
  app:
    hosts: [app.test%s]
    domains:
      jet.domain: {tenant_range: "1-100000"}
      shared.domain: {tenant_range: "*"}
`, s.state, st.port, harness.FreePort(t), st.jet.Port, st.shared.Port, extra, s.conf, limits, s.hosts)
	st.Jetway = harness.Start(t, conf, append(s.files, opts...)...)
	t.Cleanup(st.client.CloseIdleConnections)
	if s.started != nil {
		s.started(st.Jetway)
	}
	return st
}

// get asks for a path and returns who answered: a member's name, or the status
// and reason of Jetway itself.
func (s *site) get(path string) (who string, took time.Duration, header http.Header) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+harness.Loopback(s.port)+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = "app.test"
	start := time.Now()
	res, err := s.client.Do(req)
	if err != nil {
		return "error: " + err.Error(), time.Since(start), nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	took = time.Since(start)
	if err != nil {
		return "error: " + err.Error(), took, nil
	}
	if res.StatusCode == 200 {
		who, _, _ = strings.Cut(string(body), " ")
		return who, took, res.Header
	}
	_, reason, _ := strings.Cut(string(body), "(")
	reason, _, _ = strings.Cut(reason, ",")
	return fmt.Sprintf("%d %s", res.StatusCode, reason), took, res.Header
}

func (s *site) eventually(what string, within time.Duration, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			_, view := s.Get("/api/v1/tenants")
			s.t.Fatalf("not within %v: %s\n%s", within, what, view)
		}
	}
}

// TestDirectories puts every directory through every trouble: tenants that are
// known lose nothing, others are answered at once, and nobody of a numbered
// range is ever served by "*".
func TestDirectories(t *testing.T) {
	for name, start := range map[string]func(*testing.T) source{"postgres": postgres, "mariadb": mariadb, "sqlite": sqlite,
		"embedded": embedded, "http": service1, "file": file} {
		t.Run(name, func(t *testing.T) {
			if !harness.Long() {
				t.Parallel()
			}
			src := start(t)
			if name != "file" {
				src.conf += ", ttl: 500ms, negative_ttl: 300ms"
			}
			s := startSite(t, src, "super: carbon.super", "")
			const known = 50
			for i := 1; i <= known; i++ {
				path := fmt.Sprintf("/t/t%d/", i)
				s.eventually(path+" at the jet", 5*time.Second, func() bool { who, _, _ := s.get(path); return who == "jet" })
			}
			s.eventually("a stranger at *", 5*time.Second, func() bool { who, _, _ := s.get("/t/nobody/"); return who == "shared" })
			fresh := 1000
			for _, tr := range src.troubles {
				t.Run(tr.name, func(t *testing.T) { s.trouble(t, tr, known, &fresh) })
			}
		})
	}
}

// patience is in how long a tenant nobody asked for yet has to be answered.
// Where all directories are tested at once on whatever machine, what was not
// limited at all would still be seen.
func patience() time.Duration {
	if harness.Long() {
		return 300 * time.Millisecond
	}
	return 3 * time.Second
}

func (s *site) trouble(t *testing.T, tr trouble, known int, fresh *int) {
	tr.begin()
	lost, asked, late, slowest := 0, 0, 0, time.Duration(0)
	lasts := 1200 * time.Millisecond // more than twice the life of an answer
	if harness.Long() {
		lasts = 10 * time.Second
	}
	for i, end := 0, time.Now().Add(lasts); time.Now().Before(end); i++ {
		if who, _, _ := s.get(fmt.Sprintf("/t/t%d/", i%known+1)); who != "jet" {
			lost++
			t.Logf("known tenant t%d: %s", i%known+1, who)
		}
		if i%4 != 0 {
			continue
		}
		if *fresh++; *fresh > rows() {
			*fresh = known + 1
		}
		asked++
		who, took, header := s.get(fmt.Sprintf("/t/t%d/", *fresh))
		slowest = max(slowest, took)
		if took > patience() {
			late++
		}
		switch {
		case who == "jet":
		case tr.file || who != "503 directory" || header.Get("Retry-After") == "":
			t.Fatalf("t%d, of a numbered range: %s %v", *fresh, who, header)
		}
	}
	t.Logf("%d others asked for, the slowest took %v", asked, slowest)
	if lost > 0 || late > asked/50 {
		t.Errorf("%d requests of known tenants lost; %d of %d others answered after more than %v, the slowest after %v", lost, late, asked, patience(), slowest)
	}
	tr.end()
	// Questions that began before may end badly; then all is well again.
	*fresh++
	path := fmt.Sprintf("/t/t%d/", *fresh)
	s.eventually("all is well again after "+tr.name, 15*time.Second, func() bool {
		who, _, _ := s.get(path)
		if who == "shared" {
			t.Fatalf("%s, of a numbered range, was served by *", path)
		}
		return who == "jet"
	})
}

// TestLimits: a tenant far over its rate is told so and when to come back,
// while the others lose nothing; and nothing stays counted.
func TestLimits(t *testing.T) {
	list := "name,id,active,plan\nt1,1,true,\nt2,2,true,\nt3,3,true,gold\nt4,4,false,\n"
	s := startSite(t, source{conf: "file: tenants.csv", files: []harness.Option{harness.WithFile("tenants.csv", list)}},
		"plans: {gold: {tenant_rate: 0}}", "tenant_rate: 20, tenant_burst: 20, tenant_in_flight: 5")
	if who, _, _ := s.get("/t/t4/"); who != "403 inactive_tenant" {
		t.Errorf("a tenant that is switched off: %s", who)
	}
	var ok, refused atomic.Int64
	begun := time.Now()
	stop := begun.Add(3 * time.Second)
	var wg sync.WaitGroup
	wg.Go(func() { // ten times its rate
		for ; time.Now().Before(stop); time.Sleep(5 * time.Millisecond) {
			switch who, _, h := s.get("/t/t1/"); who {
			case "jet":
				ok.Add(1)
			case "429 limited":
				refused.Add(1)
				if h.Get("Retry-After") != "1" || h.Get("RateLimit-Policy") != `"rate";q=20;w=1` || h.Get("RateLimit") != `"rate";r=0;t=1` {
					t.Errorf("fields %v", h)
				}
			default:
				t.Errorf("t1: %s", who)
			}
		}
	})
	for path, every := range map[string]time.Duration{"/t/t2/": 100 * time.Millisecond, "/t/t3/": 5 * time.Millisecond, "/": 5 * time.Millisecond} {
		wg.Go(func() {
			for ; time.Now().Before(stop); time.Sleep(every) {
				if who, _, _ := s.get(path); who != "jet" && who != "shared" {
					t.Errorf("%s, within its limits: %s", path, who)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begun)
	t.Logf("t1: %d served, %d refused in %v at 20 per second and a burst of 20", ok.Load(), refused.Load(), took)
	least := int64(60)
	if !harness.Long() {
		least = 30 // while the machine stands still no request uses what would be allowed
	}
	if n := ok.Load(); n < least || n > 25+int64(20*took.Seconds()) || refused.Load() == 0 {
		t.Errorf("%d served, %d refused", n, refused.Load())
	}
	// Requests in flight: five hang, the sixth is refused; then they break off.
	release := make(chan struct{})
	s.jet.SetScript(func(c *harness.MemberConn, r *harness.Request) { <-release })
	var conns []*harness.Client
	for range 5 {
		c := harness.Dial(t, harness.Loopback(s.port))
		c.Send("GET /t/t2/hang HTTP/1.1\r\nHost: app.test\r\n\r\n")
		conns = append(conns, c)
	}
	s.eventually("five in flight", 3*time.Second, func() bool { _, v := s.Get("/api/v1/tenants"); return strings.Contains(v, `"in_flight": 5`) })
	if who, _, h := s.get("/t/t2/"); who != "429 limited" || h.Get("Retry-After") != "1" ||
		h.Get("RateLimit-Policy") != `"in_flight";q=5;qu="concurrent-requests"` || h.Get("RateLimit") != `"in_flight";r=0` {
		t.Errorf("the sixth: %s %v", who, h)
	}
	for _, c := range conns {
		c.Close()
	}
	s.eventually("nothing stays counted", 5*time.Second, func() bool {
		_, v := s.Get("/api/v1/tenants")
		return strings.Contains(v, `"in_flight": 0`) && strings.Contains(v, `"busy": 0`)
	})
	close(release)
}

// TestDryRun only counts.
func TestDryRun(t *testing.T) {
	s := startSite(t, source{conf: "file: tenants.csv", files: []harness.Option{harness.WithFile("tenants.csv", "t1,1\n")}},
		"unknown: default", "tenant_rate: 1, dry_run: true")
	for range 20 {
		if who, _, _ := s.get("/t/t1/"); who != "jet" {
			t.Fatal(who)
		}
	}
	if n := s.Metric(`jetway_tenant_limited_total{domain="jet.domain",dry_run="true",limit="rate",service="app",sub_domain="worker"}`); n == "" || n == "0" {
		t.Errorf("%q counted", n)
	}
	if n := s.Metric(`jetway_tenant_requests_total{id="1",tenant="t1"}`); n != "20" {
		t.Errorf("%q requests of t1, want 20", n)
	}
}
