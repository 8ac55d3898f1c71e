package cli

import (
	"testing"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
	"jetway/config"
	"jetway/standby"
	"jetway/tenant"
)

// syncPair are two load balancers whose peers' protocol is a copy of all cells.
type syncPair struct {
	a, b *memberSync
	now  time.Time // of both routers
}

func newSyncPair(t *testing.T) *syncPair {
	t.Helper()
	p := &syncPair{now: time.Now()}
	one := func(node string) *memberSync {
		cfg, err := config.Parse("test.conf", []byte(`
loadbalancer: {listeners: [{address: "127.0.0.1:8280"}]}
membership:
  static:
    - {id: w1, domain: d, host: 127.0.0.1, http: 9001}
    - {id: w2, domain: d, host: 127.0.0.1, http: 9002}
services:
  app:
    domains:
      d: {hosts: [a.example.com], health: {slow_start: 30s}}
`), nil)
		if err != nil {
			t.Fatal(err)
		}
		routing, err := cfg.Routing(nil, &tenant.Plans{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := balancer.NewRouter(routing, balancer.Options{Now: func() int64 { return p.now.UnixNano() }})
		if err != nil {
			t.Fatal(err)
		}
		r.SetMembers(cfg.Static)
		clock := standby.NewClock()
		cells := func(owned bool) *standby.Cells {
			return standby.NewCells(standby.CellsConfig{Node: node, Owned: owned}, clock)
		}
		return &memberSync{router: r, orders: cells(false), advice: cells(true), births: cells(true), node: node, log: zerolog.Nop()}
	}
	p.a, p.b = one("a"), one("b")
	return p
}

// turn lets both look at their members and tells each what the other has.
func (p *syncPair) turn(t *testing.T) {
	t.Helper()
	p.a.sync(p.now)
	p.b.sync(p.now)
	carry := func(from, to *standby.Cells) {
		b := standby.NewBatch()
		from.Walk(0, 0, b)
		if _, err := to.Apply(0, b.Count(), b.Records()); err != nil {
			t.Fatal(err)
		}
	}
	for _, both := range [][2]*memberSync{{p.a, p.b}, {p.b, p.a}} {
		carry(both[0].orders, both[1].orders)
		carry(both[0].advice, both[1].advice)
		carry(both[0].births, both[1].births)
	}
	p.a.sync(p.now)
	p.b.sync(p.now)
}

func (p *syncPair) status(t *testing.T, s *memberSync, id string) balancer.Status {
	t.Helper()
	for _, u := range s.router.Table().Upstreams() {
		if st := u.Status(p.now.UnixNano()); st.Member.ID == id {
			return st
		}
	}
	t.Fatalf("there is no member %s", id)
	return balancer.Status{}
}

// TestMemberSync: what an operator ordered at one is in force at the other, an
// ejection is told, and a slow start goes on where it is, once.
func TestMemberSync(t *testing.T) {
	p := newSyncPair(t)
	p.turn(t)
	if _, err := p.a.router.SetWeight("w2", 7); err != nil {
		t.Fatal(err)
	}
	if _, err := p.b.router.Drain("w2", true); err != nil {
		t.Fatal(err)
	}
	p.turn(t) // both changed the same member: the newer order counts, on both
	p.turn(t)
	x, y := p.status(t, p.a, "w2"), p.status(t, p.b, "w2")
	if x.Drained != y.Drained || x.Weight != y.Weight || !x.Drained && x.Weight != 7 {
		t.Errorf("w2 is %v %d here and %v %d there", x.Drained, x.Weight, y.Drained, y.Weight)
	}

	if _, err := p.a.router.Eject("w1", 8*time.Second); err != nil {
		t.Fatal(err)
	}
	p.turn(t)
	if s := p.status(t, p.b, "w1"); s.State != balancer.StateEjected || !s.Advised {
		t.Errorf("w1 is %s there", s.State)
	}
	p.now = p.now.Add(12 * time.Second) // a peer's word counts for 10
	p.turn(t)
	for _, s := range []*memberSync{p.a, p.b} {
		if st := p.status(t, s, "w1"); st.Share >= 1 || st.State == balancer.StateEjected {
			t.Errorf("%s: w1 is back as %s with a share of %v, want slow start", s.node, st.State, st.Share)
		}
	}
	if _, err := p.b.router.Restore("w1"); err != nil { // ends its slow start, there
		t.Fatal(err)
	}
	p.turn(t)
	if s := p.status(t, p.b, "w1"); s.Share < 1 {
		t.Errorf("a slow start that was ended began again with a share of %v", s.Share)
	}
}
