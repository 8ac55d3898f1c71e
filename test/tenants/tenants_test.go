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
  defaults: {limits: {%s}}
  app:
    hosts: [app.test]
    domains:
      jet.domain: {tenant_range: "1-100000"}
      shared.domain: {tenant_range: "*"}
`, s.state, st.port, harness.FreePort(t), st.jet.Port, st.shared.Port, extra, s.conf, limits)
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
const patience = 300 * time.Millisecond

func (s *site) trouble(t *testing.T, tr trouble, known int, fresh *int) {
	tr.begin()
	lost, asked, late, slowest := 0, 0, 0, time.Duration(0)
	for i, end := 0, time.Now().Add(2500*time.Millisecond); time.Now().Before(end); i++ {
		if who, _, _ := s.get(fmt.Sprintf("/t/t%d/", i%known+1)); who != "jet" {
			lost++
			t.Logf("known tenant t%d: %s", i%known+1, who)
		}
		if i%4 != 0 {
			continue
		}
		*fresh++
		asked++
		who, took, header := s.get(fmt.Sprintf("/t/t%d/", *fresh))
		slowest = max(slowest, took)
		if took > patience {
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
		t.Errorf("%d requests of known tenants lost; %d of %d others answered after more than %v, the slowest after %v", lost, late, asked, patience, slowest)
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

// TestFlood: names that nobody has cost constant memory, a bounded number of
// questions and no series, and take nothing from tenants that are known.
func TestFlood(t *testing.T) {
	names := 50_000
	if harness.Long() {
		names = 1_000_000
	}
	svc, url := startService(t)
	s := startSite(t, source{conf: "http: {url: '" + url + "', token: let-me-in}, rate: 1000"}, "unknown: refuse", "")
	for i := 1; i <= 50; i++ {
		if who, _, _ := s.get(fmt.Sprintf("/t/t%d/", i)); who != "jet" {
			t.Fatalf("t%d: %s", i, who)
		}
	}
	seriesBefore := s.series()
	var next, lost, odd atomic.Int64
	start, asked := time.Now(), svc.asked.Load()
	half := func(until int64) (peak int64) {
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				for n := next.Add(1); n <= until; n = next.Add(1) {
					who, _, _ := s.get(fmt.Sprintf("/t/nobody-%d-%s/", n, strings.Repeat("x", 100)))
					if who != "403 unknown_tenant" && who != "503 directory" {
						odd.Add(1)
					}
					if n%50 == 0 {
						if who, _, _ := s.get(fmt.Sprintf("/t/t%d/", n%50+1)); who != "jet" {
							lost.Add(1)
						}
					}
				}
			})
		}
		go func() { wg.Wait(); close(stop) }()
		for {
			peak = max(peak, s.RSS())
			select {
			case <-stop:
				return peak
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	first := half(int64(names / 2))
	next.Store(int64(names / 2))
	second := half(int64(names))
	took := time.Since(start)
	questions := svc.asked.Load() - asked
	t.Logf("%d names in %v; peak %d MiB, then %d MiB; %d questions", names, took.Round(time.Millisecond), first>>20, second>>20, questions)
	if odd.Load() > 0 || lost.Load() > 0 {
		t.Errorf("%d odd answers, %d requests of known tenants lost", odd.Load(), lost.Load())
	}
	if harness.Long() && float64(second) > 1.05*float64(first) {
		t.Errorf("the second half took the peak from %d to %d", first, second)
	}
	if most := int64(2 * 1000 * (took.Seconds() + 1)); questions > most+200 {
		t.Errorf("%d questions in %v", questions, took)
	}
	if n := s.series(); n > seriesBefore+2 {
		t.Errorf("%d series before, %d after", seriesBefore, n)
	}
}

func (s *site) series() (n int) {
	_, body := s.Get("/metrics")
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "jetway_") {
			n++
		}
	}
	return n
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
	stop := time.Now().Add(3 * time.Second)
	var wg sync.WaitGroup
	wg.Go(func() { // ten times its rate
		for ; time.Now().Before(stop); time.Sleep(5 * time.Millisecond) {
			switch who, _, h := s.get("/t/t1/"); who {
			case "jet":
				ok.Add(1)
			case "429 limited":
				refused.Add(1)
				if h.Get("Retry-After") != "1" || h.Get("RateLimit-Limit") != "20" || h.Get("RateLimit-Remaining") != "0" ||
					h.Get("RateLimit-Reset") != "1" || h.Get("RateLimit-Policy") != "20;w=1" {
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
	t.Logf("t1: %d served, %d refused in 3 s at 20 per second and a burst of 20", ok.Load(), refused.Load())
	if n := ok.Load(); n < 60 || n > 85 || refused.Load() == 0 {
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
	if who, _, h := s.get("/t/t2/"); who != "429 limited" || h.Get("Retry-After") != "1" || h.Get("RateLimit-Limit") != "5" {
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
	if n := s.Metric(`jetway_tenant_requests{id="1",tenant="t1"}`); n != "20" {
		t.Errorf("%q requests of t1, want 20", n)
	}
}
