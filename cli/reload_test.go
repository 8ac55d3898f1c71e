package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"jetway/admin"
	"jetway/balancer"
	"jetway/config"
	"jetway/discovery"
	"jetway/journal"
	"jetway/proxy"
)

// fakeServer is a data path that only notes what it was told.
type fakeServer struct {
	err       error
	cfg       proxy.Config
	committed int
	aborted   int
}

func (s *fakeServer) Prepare(cfg proxy.Config) (commit, abort func(), err error) {
	if s.err != nil {
		return nil, nil, s.err
	}
	return func() { s.cfg, s.committed = cfg, s.committed+1 }, func() { s.aborted++ }, nil
}

// reloadFixture is a reloader of a file in a directory of its own.
type reloadFixture struct {
	*reloader
	t      *testing.T
	path   string
	server *fakeServer
	log    bytes.Buffer
}

const reloadConf = `loadbalancer:
  name: lb1
  listeners: [{name: http, address: "127.0.0.1:0"}]
membership:
  gossip: {bind: "127.0.0.1:7946", join: ["127.0.0.1:7956"]}
  static: [{id: w1, domain: d, host: 10.0.0.1, http: 80}]
tenants: {directory: {file: tenants.csv}}
services:
  app: {domains: {d: {tenant_range: "*", hosts: [a.example.com]}}}
`

func newReloadFixture(t *testing.T) *reloadFixture {
	t.Helper()
	f := &reloadFixture{t: t, path: filepath.Join(t.TempDir(), "lb.conf"), server: &fakeServer{}}
	f.write("tenants.csv", "acme.com,7\n")
	f.write("lb.conf", reloadConf)
	cfg, err := config.Load(f.path)
	if err != nil {
		t.Fatal(err)
	}
	known := newTenants(zerolog.Nop())
	book, err := known.prepare(cfg)
	if err != nil {
		t.Fatal(err)
	}
	known.commit(book)
	routing, err := known.routing(cfg, book)
	if err != nil {
		t.Fatal(err)
	}
	router, err := balancer.NewRouter(routing, balancer.Options{Transport: func(*balancer.Endpoint) io.Closer { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	set := discovery.NewSet(router.SetMembers)
	operators, err := admin.New(cfg.Admin.Listener(), admin.Sources{Router: router}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	f.reloader = newReloader(cfg, newWatcher(statFile), zerolog.New(&f.log))
	f.reloader.server, f.router, f.static, f.tenants = f.server, router, set.Source("static"), known
	f.admin, f.audit = operators, journal.New()
	f.static(cfg.Static)
	return f
}

func (f *reloadFixture) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(filepath.Dir(f.path), name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// table describes what requests are routed by.
func (f *reloadFixture) table() string {
	var out []string
	for _, c := range f.router.Table().Clusters() {
		out = append(out, fmt.Sprint(c.Config.Key, c.Config.Hosts))
	}
	for _, u := range f.router.Table().Upstreams() {
		out = append(out, u.Member().ID)
	}
	return strings.Join(out, " ")
}

func TestReloadIsAllOrNothing(t *testing.T) {
	f := func(problem, table string, pairs ...string) {
		t.Helper()
		r := newReloadFixture(t)
		before := r.table()
		r.write("lb.conf", strings.NewReplacer(pairs...).Replace(reloadConf))
		err := r.reload("test")
		if problem == "" {
			if err != nil || r.server.committed != 1 || r.server.aborted != 0 || r.table() != table || !r.result.Load().OK {
				t.Fatalf("%v: %v, %+v, %s, want %s", pairs, err, r.server, r.table(), table)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), problem) || r.server.committed != 0 || r.table() != before {
			t.Fatalf("%v: %v, want %q; %+v, %s", pairs, err, problem, r.server, r.table())
		}
		if res := r.result.Load(); res.OK || !strings.Contains(res.Error, problem) || r.current.Load().Name != "lb1" {
			t.Fatalf("%v: result %+v", pairs, res)
		}
	}
	f("", "d/worker [a.example.com] w1")
	f("", "d/worker [b.example.com] w1", "a.example", "b.example")
	f("", "d/worker [a.example.com] w2", "id: w1", "id: w2")
	f("", "e/worker [a.example.com] w1", "domain: d", "domain: e", "{d: {", "{e: {")
	f(`lb.conf:9:`, "", "hosts:", "hsts:")
	f("nowhere.csv", "", "tenants.csv", "nowhere.csv")
	f("loadbalancer.name cannot change", "", "lb1", "lb2")
	f("membership.gossip.bind cannot change", "", "7946", "7947")
	f("", "d/worker [a.example.com] w1", "7956", "7957")
	f("loadbalancer.name, membership.gossip cannot change", "", "lb1", "lb2", `gossip: {bind: "127.0.0.1:7946", join: ["127.0.0.1:7956"]}`, "# nothing")
}

func TestReloadWithTroubleInTheServer(t *testing.T) {
	r := newReloadFixture(t)
	r.server.err = errors.New("address in use")
	if err := r.reload("test"); err == nil || !strings.Contains(r.log.String(), "address in use") || r.server.aborted != 0 {
		t.Fatalf("%v, %s", err, r.log.String())
	}
	r.server.err = nil
	r.router = nil // a panic half-way
	if err := r.reload("test"); err == nil || r.server.aborted != 1 || r.server.committed != 0 {
		t.Fatalf("%v, %+v", err, r.server)
	}
}

func TestNeedRestart(t *testing.T) {
	f := func(change func(c *config.Config), want ...string) {
		t.Helper()
		old, next := &config.Config{Gossip: &discovery.GossipConfig{}}, &config.Config{Gossip: &discovery.GossipConfig{}}
		change(next)
		if got := needRestart(old, next); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	f(func(*config.Config) {})
	f(func(c *config.Config) { c.Proxy.Timeouts.Drain = 1; c.FailOver = true })
	f(func(c *config.Config) { c.Name = "x" }, "loadbalancer.name")
	f(func(c *config.Config) { c.Installation = "x" }, "loadbalancer.installation")
	f(func(c *config.Config) { c.StateDir = "x" }, "loadbalancer.state_dir")
	f(func(c *config.Config) { c.Admin.Address = "x" }, "loadbalancer.admin.address")
	f(func(c *config.Config) { c.Admin.Configured = true }) // the default, now written down
	f(func(c *config.Config) { c.Gossip = nil }, "membership.gossip")
	f(func(c *config.Config) { c.Gossip.Bind = "x" }, "membership.gossip.bind")
	f(func(c *config.Config) { c.Gossip.Advertise = "x" }, "membership.gossip.advertise")
	f(func(c *config.Config) { c.Gossip.Join, c.Gossip.FailedGrace = []string{"10.0.0.9:7946"}, 1 }) // taken at once
	f(func(c *config.Config) { c.Gossip.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, "membership.gossip.allowed_cidrs")
	f(func(c *config.Config) { c.Gossip.KeyFile, c.Gossip.Insecure = "x", true }, "membership.gossip.key_file", "membership.gossip.insecure")
}

// A change of the file is loaded once it rests, a bad one is told once.
func TestReloadOnFileChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReloadFixture(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		count := func(seconds int, reloaded, failed int) {
			t.Helper()
			time.Sleep(time.Duration(seconds) * time.Second)
			synctest.Wait()
			a := strings.Count(r.log.String(), `"configuration reloaded"`)
			b := strings.Count(r.log.String(), `"configuration not reloaded`)
			if a != reloaded || b != failed {
				t.Fatalf("%d reloaded, %d not, want %d and %d\n%s", a, b, reloaded, failed, r.log.String())
			}
		}
		count(5, 0, 0)
		r.write("lb.conf", strings.Replace(reloadConf, "w1", "other", 1))
		count(5, 1, 0)
		r.write("lb.conf", "half a fi")
		count(5, 1, 1)
		r.write("lb.conf", reloadConf)
		count(5, 2, 1)
		r.write("tenants.csv", "acme.com,7\njet.com,42\n")
		count(5, 3, 1)
		r.hangup <- struct{}{}
		count(1, 4, 1)
		count(5, 4, 1)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestRosterLogsTransitions(t *testing.T) {
	fixture := newReloadFixture(t)
	var log bytes.Buffer
	r := &roster{router: fixture.router, log: zerolog.New(&log)}
	m := func(id string) balancer.Member {
		return balancer.Member{ID: id, Domain: "d", Host: "10.0.0.1", HTTP: 80, Source: "gossip"}
	}
	f := func(want string, members ...balancer.Member) {
		t.Helper()
		log.Reset()
		r.publish(members)
		if got := log.String(); want == "" && got != "" || !strings.Contains(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	suspect, draining, unused := m("a"), m("a"), m("b")
	suspect.Suspect, draining.Draining, unused.Domain = true, true, "nobodys"
	f("")
	f("member joined", m("a"))
	f("", m("a"))
	f("member lost by gossip", suspect)
	f("member is back", m("a"))
	f("member is draining", draining)
	f("no service has its domain", m("a"), unused)
	f("member left", m("a"))
	var many []balancer.Member
	for i := range 50 {
		many = append(many, m(fmt.Sprint("m", i)))
	}
	f(`"changes":51`, many...)
}
