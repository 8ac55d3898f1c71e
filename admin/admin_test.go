package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
	"jetway/tenant"
)

// fixture is a server over two domains with three members, one of them unused.
type fixture struct {
	*Server
	state     State
	level     string
	reloadErr error
	reloads   atomic.Int32
	log       bytes.Buffer
}

func newFixture(t *testing.T, cfg Config) *fixture {
	t.Helper()
	resolver, err := tenant.NewResolver(tenant.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := tenant.ParseRanges("*")
	if err != nil {
		t.Fatal(err)
	}
	router, err := balancer.NewRouter(balancer.Config{Tenants: resolver,
		Listeners: []balancer.Listener{{Name: "http", PublicPort: 80}},
		Clusters: []balancer.ClusterConfig{
			{Service: "app", Key: balancer.Key{Domain: "shared", SubDomain: "worker"}, Hosts: []string{"a.example"}, Ranges: all},
			{Service: "app", Key: balancer.Key{Domain: "jet", SubDomain: "worker"}, Hosts: []string{"b.example"}, Ranges: all, Elastic: true},
		}}, balancer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	router.SetMembers([]balancer.Member{
		{ID: "w1", Domain: "shared", Host: "10.0.0.1", HTTP: 9763, Ports: []balancer.PortMapping{{From: 8280, To: 9768}}, Source: "static"},
		{ID: "w1", Domain: "jet", Host: "10.0.0.2", HTTP: 9763, Source: "gossip"},
		{ID: "w2", Domain: "jet", Host: "10.0.0.3", HTTP: 9763, Source: "gossip"},
		{ID: "w9", Domain: "nobodys", Host: "10.0.0.9", HTTP: 9763, Source: "gossip"},
	})
	f := &fixture{state: Ready, level: "info"}
	src := Sources{
		Router: router, Name: "lb1", Started: time.Now(), Build: Build{Version: "v1", Go: "go1"},
		State:      func() (State, string) { return f.state, "it is " + string(f.state) },
		Config:     func() ConfigView { return ConfigView{File: "x.conf", YAML: "loadbalancer: {}\n"} },
		LastReload: func() Reload { return Reload{Time: time.Unix(1700000000, 0), OK: f.reloadErr == nil} },
		Reload:     func() error { f.reloads.Add(1); return f.reloadErr },
		InFlight:   func() int64 { return 7 },
		Listeners:  func() []net.Addr { return []net.Addr{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8280}} },
		Gossip:     func() *Gossip { return &Gossip{Node: "lb1-0", Nodes: map[string]int{"alive": 2}} },
		Standby:    Standby{Health: func() Health { return Health{OK: true, State: Ready, Listeners: []string{}} }},
		Events:     NewEvents(time.Now()),
		LogLevel:   func() string { return f.level },
		SetLogLevel: func(level string) error {
			if level == "loud" {
				return errors.New("no such level")
			}
			f.level = level
			return nil
		},
		CheckReload: func() error { return f.reloadErr },
		Rejected:    func() []Rejected { return []Rejected{{Name: "bad", Reason: "no port"}} },
	}
	if f.Server, err = New(cfg, src, zerolog.New(&f.log)); err != nil {
		t.Fatal(err)
	}
	return f
}

// request is what a client on this machine would send to a loopback listener.
func request(method, path string) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	r.Host, r.RemoteAddr = "127.0.0.1:9280", "127.0.0.1:50000"
	return from(r, "127.0.0.1:9280")
}

func from(r *http.Request, local string) *http.Request {
	a, _ := net.ResolveTCPAddr("tcp", local)
	return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(a)))
}

func (f *fixture) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.http.Handler.ServeHTTP(w, r)
	return w
}

func TestEndpoints(t *testing.T) {
	s := newFixture(t, Config{})
	f := func(method, path string, status int, has string) {
		t.Helper()
		w := s.do(request(method, path))
		if w.Code != status || !strings.Contains(w.Body.String(), has) {
			t.Fatalf("%s %s = %d %s, want %d with %q", method, path, w.Code, w.Body, status, has)
		}
	}
	f("GET", "/ping", 200, "pong")
	f("HEAD", "/ping", 200, "")
	f("GET", "/ready", 200, "ready")
	f("GET", "/version", 200, `"go": "go1"`)
	f("GET", "/api/v1/overview", 200, `"tenant_range": "*"`)
	f("GET", "/api/v1/overview", 200, `"127.0.0.1:8280"`)
	f("GET", "/api/v1/members", 200, `"state": "unused"`)
	f("GET", "/api/v1/members", 200, `"reason": "no port"`)
	f("GET", "/api/v1/config", 200, `"yaml": "loadbalancer: {}\n"`)
	f("POST", "/api/v1/reload", 200, `"ok": true`)
	f("POST", "/api/v1/members/w2/drain", 200, `"state": "draining"`)
	f("POST", "/api/v1/members/w2/undrain", 200, `"state": "up"`)
	f("POST", "/api/v1/members/shared/w1/drain", 200, `"domain": "shared"`)
	f("POST", "/api/v1/members/jet%2Fw1/drain", 200, `"domain": "jet"`)
	f("POST", "/api/v1/members/w1/drain", 409, "expected domain/id")
	f("POST", "/api/v1/members/nobody/drain", 404, "no such member")
	f("POST", "/api/v1/members/w1", 405, "expected GET")
	f("POST", "/api/v1/members//drain", 404, "no such endpoint") // and not sent on, as ServeMux would
	f("POST", "/api/v1/members/w1/explode", 404, "no such endpoint")
	f("GET", "/api/v1/members/w1/drain", 405, "expected POST")
	f("GET", "/api/v1/reload", 405, "expected POST")
	f("POST", "/ping", 405, "expected GET")
	f("DELETE", "/api/v1/members", 405, "expected GET")
	f("GET", "/", 404, "no such endpoint")
	f("GET", "/etc/passwd", 404, "no such endpoint")
	if n := s.reloads.Load(); n != 1 {
		t.Fatalf("%d reloads, want the one by POST", n)
	}
	s.state = Starting
	f("GET", "/ping", 200, "pong")
	f("GET", "/ready", 503, "it is starting")
	s.state = Draining
	f("GET", "/ping", 503, "it is draining")
	f("GET", "/ready", 503, "it is draining")
	s.reloadErr = errors.New("x.conf:1:2: bad")
	f("POST", "/api/v1/reload", 422, "x.conf:1:2: bad")
}

func TestEveryJSONAnswerHasItsVersion(t *testing.T) {
	s := newFixture(t, Config{})
	for _, path := range []string{"/version", "/api/v1/overview", "/api/v1/members", "/api/v1/config", "/nowhere"} {
		w := s.do(request("GET", path))
		var v struct {
			Schema int `json:"schema_version"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || v.Schema != SchemaVersion {
			t.Fatalf("%s: %v, schema_version %d in %s", path, err, v.Schema, w.Body)
		}
		if strings.Contains(w.Body.String(), "null") {
			t.Fatalf("%s: null where a list or nothing was expected: %s", path, w.Body)
		}
	}
}

// Whoever is not an operator on this machine changes nothing.
func TestRefusals(t *testing.T) {
	s := newFixture(t, Config{})
	f := func(why string, status int, change func(r *http.Request) *http.Request) {
		t.Helper()
		before := s.reloads.Load()
		w := s.do(change(request("POST", "/api/v1/reload")))
		if w.Code != status {
			t.Fatalf("%s: %d %s, want %d", why, w.Code, w.Body, status)
		}
		if done := s.reloads.Load() != before; done != (status == 200) {
			t.Fatalf("%s: reloaded %v", why, done)
		}
	}
	header := func(name, value string) func(*http.Request) *http.Request {
		return func(r *http.Request) *http.Request { r.Header.Set(name, value); return r }
	}
	host := func(h string) func(*http.Request) *http.Request {
		return func(r *http.Request) *http.Request { r.Host = h; return r }
	}
	peers := func(client, local string) func(*http.Request) *http.Request {
		return func(r *http.Request) *http.Request {
			r.RemoteAddr = client
			if h, _, _ := net.SplitHostPort(local); h != "" {
				r.Host = "127.0.0.1"
			}
			return from(r, local)
		}
	}
	f("a tool", 200, header("X", "y"))
	f("same origin", 200, header("Origin", "http://127.0.0.1:9280"))
	f("a page of another site", 403, header("Origin", "http://evil.example"))
	f("a page of no origin", 403, header("Origin", "null"))
	f("another port of this machine", 403, header("Origin", "http://127.0.0.1:3000"))
	f("cross-site by the browser's word", 403, header("Sec-Fetch-Site", "cross-site"))
	f("same-site is not same", 403, header("Sec-Fetch-Site", "same-site"))
	f("localhost", 200, host("LOCALHOST:1"))
	f("IPv6 loopback", 200, host("[::1]:9280"))
	f("a name that was made to point here", 403, host("rebound.example:9280"))
	f("no Host", 403, host(""))
	f("another machine", 403, peers("10.0.0.8:5", "10.0.0.4:9280"))
	f("this machine by its other address", 200, peers("10.0.0.4:5", "10.0.0.4:9280"))
	f("nobody knows who", 403, peers("@", "10.0.0.4:9280"))
	f("a long body", 413, func(r *http.Request) *http.Request { r.ContentLength = 1 << 20; return r })

	r := request("GET", "/api/v1/config")
	r.Host = "rebound.example"
	if w := s.do(r); w.Code != 403 {
		t.Fatalf("reading by a name that was made to point here = %d", w.Code)
	}
	r = from(request("GET", "/metrics"), "10.0.0.4:9280")
	r.Host, r.RemoteAddr = "lb1.example:9280", "10.0.0.8:5"
	if w := s.do(r); w.Code != 200 {
		t.Fatalf("reading from another machine where the operator opened that = %d", w.Code)
	}
}

func TestPanicCostsOneRequest(t *testing.T) {
	s := newFixture(t, Config{})
	s.src.Config = func() ConfigView { panic("boom") }
	if w := s.do(request("GET", "/api/v1/config")); w.Code != 500 || strings.Contains(w.Body.String(), "boom") {
		t.Fatalf("= %d %s, want 500 without details", w.Code, w.Body)
	}
	if !strings.Contains(s.log.String(), "boom") {
		t.Fatalf("log lacks the panic: %s", s.log.String())
	}
	if w := s.do(request("GET", "/metrics")); !strings.Contains(w.Body.String(), "jetway_admin_panics_total 1\n") {
		t.Fatal("the panic was not counted")
	}
}

func TestMetrics(t *testing.T) {
	s := newFixture(t, Config{})
	c := s.src.Router.Table().Clusters()[0]
	c.Begin(time.Now())
	c.End(404)
	body := s.do(request("GET", "/metrics")).Body.String()
	for _, line := range []string{
		`jetway_build_info{commit="",go_version="go1",version="v1"} 1`,
		`jetway_config_last_reload_success 1`,
		`jetway_config_last_reload_timestamp_seconds 1.7e+09`,
		`jetway_member_up{domain="shared",member="w1"} 1`,
		`jetway_member_requests_total{domain="jet",member="w2"} 0`,
		`jetway_cluster_in_flight{domain="jet",service="app",sub_domain="worker"} 0`,
		`jetway_requests_total{code_class="4xx",domain="jet",service="app",sub_domain="worker"} 1`,
		`jetway_gossip_members{state="alive"} 2`,
		`jetway_members_rejected 1`,
		`jetway_member_ejections_total{domain="jet",member="w2",reason="unreachable"} 0`,
		`jetway_retries_total{domain="jet",outcome="no_budget",service="app",sub_domain="worker"} 0`,
		`jetway_queue_length{domain="jet",service="app",sub_domain="worker"} 0`,
		`jetway_queue_wait_seconds_count{domain="jet",service="app",sub_domain="worker"} 0`,
		`jetway_ready 1`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	if !strings.Contains(body, "go_goroutines") || !strings.Contains(body, "process_open_fds") {
		t.Error("runtime metrics are missing")
	}
}

// Members that claim one id twice, or an id that is no text, cost no series of others.
func TestMetricsOfHostileMembers(t *testing.T) {
	s := newFixture(t, Config{})
	s.src.Router.SetMembers([]balancer.Member{
		{ID: "w", Domain: "shared", Host: "10.0.0.1", HTTP: 1},
		{ID: "w", Domain: "shared", Host: "10.0.0.2", HTTP: 1},
		{ID: "\xff", Domain: "shared", Host: "10.0.0.3", HTTP: 1},
		{ID: "?", Domain: "shared", Host: "10.0.0.4", HTTP: 1},
	})
	w := s.do(request("GET", "/metrics"))
	if w.Code != 200 || strings.Count(w.Body.String(), "\njetway_member_up{") != 2 {
		t.Fatalf("%d\n%s", w.Code, w.Body)
	}
}

func TestServe(t *testing.T) {
	s := newFixture(t, Config{Address: "127.0.0.1:0", Required: true})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	address := s.Address().String()

	var idle []net.Conn
	for range connectionsMax {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	over, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	over.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := over.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("connection over the limit: %v, want it closed", err)
	}
	over.Close()
	for _, c := range idle {
		c.Close()
	}
	var body string
	for range 200 { // the server notices closed connections in its own time
		resp, err := http.Get("http://" + address + "/metrics")
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		body = string(b)
		break
	}
	if !strings.Contains(body, "jetway_admin_connections_refused_total") {
		t.Fatalf("no answer after the idle connections left: %q", body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Fatal("still listening after Run")
	}
}

func TestListenOnBusyAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newFixture(t, Config{Address: l.Addr().String(), Required: true})
	if err := s.Listen(); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Fatalf("configured address in use: %v", err)
	}
	s = newFixture(t, Config{Address: l.Addr().String()})
	if err := s.Listen(); err != nil || s.Address() != nil || !strings.Contains(s.log.String(), "in use") {
		t.Fatalf("default address in use: %v, log %s", err, s.log.String())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestNewRefusesBadAddress(t *testing.T) {
	if _, err := New(Config{Address: "nonsense"}, Sources{}, zerolog.Nop()); err == nil {
		t.Fatal("no error")
	}
}
