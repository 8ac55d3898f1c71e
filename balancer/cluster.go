package balancer

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// What comes of a request that is to be repeated on another member.
const (
	RetryServed   = iota // that one answered
	RetryFailed          // that one did not either
	RetryNoBudget        // it was not repeated: the budget was used up
)

// Cluster is one (domain, sub-domain) of a Table with its members. Immutable
// but for State and the Upstreams.
type Cluster struct {
	Config    *ClusterConfig
	State     *ClusterState
	Upstreams []*Upstream // by id
	views     []View
}

// ClusterState is what a cluster counts; it survives rebuilds of the Table.
type ClusterState struct {
	InFlight  atomic.Int64
	Responses [6]atomic.Uint64 // by class of status: [2] counts 2xx; [0] requests without an answer (client gone)
	Retries   atomic.Uint64
	// Repeats counts by what came of repeated requests, by Retry*.
	Repeats [RetryNoBudget + 1]atomic.Uint64
	Latency Latency // of all requests, as clients saw them; counted by who forwards
	// Limited counts requests of tenants over a limit, by Limited* (bodies are
	// no part of it), and WouldLimit those that were served because it is a
	// dry run.
	Limited, WouldLimit [LimitedBody + 1]atomic.Uint64
	Waits               Latency       // how long requests waited for a member, of an elastic cluster
	turn                atomic.Uint64 // round robin
	tokens              atomic.Int64  // retry budget in thousandths of a request
	broken              brokenSessions
	Signals             Signals // of an elastic cluster

	maglev   []uint16 // policy hash: the newest table, guarded by Router.mu like maglevOf
	maglevOf uint64   // hash of the members that it is for
}

func newState() *ClusterState {
	s := &ClusterState{}
	s.tokens.Store(budgetFloor)
	s.Signals.origin = time.Now()
	s.turn.Store(rand.Uint64()) // load balancers side by side must not go round in step
	return s
}

const (
	// budgetFloor lets a cluster without much traffic repeat a few requests.
	budgetFloor = 3 * 1000
	budgetMax   = 256 * 1000
)

// earn credits the retry budget for one request.
func (s *ClusterState) earn(budget float64) {
	if t := s.tokens.Load(); t < budgetMax {
		s.tokens.Add(int64(budget * 1000))
	}
}

// MayRetry takes one repeated request out of the budget, if it is there.
func (s *ClusterState) MayRetry() bool {
	for {
		t := s.tokens.Load()
		if t < 1000 {
			return false
		}
		if s.tokens.CompareAndSwap(t, t-1000) {
			s.Retries.Add(1)
			return true
		}
	}
}

// Begin counts a request of the cluster in whose head was complete at now; each
// must be followed by one End.
func (c *Cluster) Begin(now time.Time) {
	c.State.InFlight.Add(1)
	if c.Config.Elastic {
		c.State.Signals.load.begin(c.State.Signals.at(now))
	}
	c.State.earn(c.Config.Retry.Budget)
}

// End counts a request out by the status that the client got, 0 for none.
func (c *Cluster) End(status int) {
	c.State.InFlight.Add(-1)
	if c.Config.Elastic {
		c.State.Signals.load.end(c.State.Signals.at(time.Now()))
	}
	if class := status / 100; class >= 0 && class < len(c.State.Responses) {
		c.State.Responses[class].Add(1)
	}
}

// View is a cluster as seen from one kind of listener: its members at the
// ports that this listener's requests go to.
type View struct {
	port      uint16
	tls       bool
	policy    Policy
	health    *Health
	state     *ClusterState
	census    *census
	endpoints []*Endpoint
	slots     []slot           // beside endpoints
	loads     []*atomic.Uint32 // likewise, see words
	order     []int32          // round_robin: indexes of slots by weight
	drawing   *drawing         // nil: all weights are equal
	maglev    []uint16         // hash, in large clusters
	source    func() uint64    // of random numbers, nil: the runtime's
	bound     bindings
}

// Endpoints returns the members at their ports, by id; the caller must not
// change the slice.
func (v *View) Endpoints() []*Endpoint { return v.endpoints }

// view returns the view for requests that came in on a public port; nil where
// no member has a port for it.
func (c *Cluster) view(public uint16, tls bool) *View {
	for i := range c.views {
		if v := &c.views[i]; v.port == public && v.tls == tls && len(v.endpoints) > 0 {
			return v
		}
	}
	return nil
}

// restricted reports whether only some listeners or clients may reach it.
func (c *Cluster) restricted() bool {
	return len(c.Config.Listeners) > 0 || len(c.Config.AllowFrom) > 0
}

// reachable reports whether a client at addr on a listener may reach it.
func (c *Cluster) reachable(listener string, addr netip.Addr) bool {
	if l := c.Config.Listeners; len(l) > 0 && !slices.Contains(l, listener) {
		return false
	}
	if len(c.Config.AllowFrom) == 0 {
		return true
	}
	addr = addr.Unmap().WithZone("")
	for _, p := range c.Config.AllowFrom {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// addView builds the view of one listener. Members without a port for it are
// left out: they are no candidates there.
func (c *Cluster) addView(l Listener, opts *Options) {
	for i := range c.views {
		if c.views[i].port == l.PublicPort && c.views[i].tls == l.TLS {
			return
		}
	}
	tls := l.TLS
	switch c.Config.MemberScheme {
	case SchemeHTTP:
		tls = false
	case SchemeHTTPS:
		tls = true
	}
	v := View{port: l.PublicPort, tls: l.TLS, policy: c.Config.Balance, health: &c.Config.Health, state: c.State,
		census: &census{}, source: opts.Random, endpoints: make([]*Endpoint, 0, len(c.Upstreams)), slots: make([]slot, 0, len(c.Upstreams))}
	for _, u := range c.Upstreams {
		m := u.Member()
		port := m.mapped(l.PublicPort)
		if port == 0 && tls {
			port = m.HTTPS
		} else if port == 0 {
			port = m.HTTP
		}
		if port != 0 {
			e := u.endpointLocked(port, tls, c.Config.MemberTLS, opts.Transport)
			v.endpoints = append(v.endpoints, e)
			v.slots = append(v.slots, slot{hot: u.hot, mask: maskOf(u.part(c.Config.Key.SubDomain)), endpoint: e})
		}
	}
	v.prepare()
	v.bind(&c.Config.Affinity)
	c.views = append(c.views, v)
}

// prepare makes what the policy needs.
func (v *View) prepare() {
	if len(v.slots) == 0 {
		return
	}
	for i := range v.slots {
		v.loads = append(v.loads, v.slots[i].hot.load)
	}
	v.drawing = newDrawing(v.slots)
	switch {
	case v.policy == RoundRobin:
		v.order = weightedOrder(v.slots)
	case v.policy == Hash && len(v.slots) >= rendezvousMax:
		v.maglev = v.state.maglevLocked(v.slots)
	}
}

// maglevLocked returns the table for these members, the one of before where
// they are the same. The Router's mutex is held.
func (s *ClusterState) maglevLocked(slots []slot) []uint16 {
	sum := uint64(len(slots))
	for i := range slots {
		u := slots[i].endpoint.Upstream
		sum = mix(sum ^ u.hash ^ uint64(u.Weight()))
	}
	if s.maglev == nil || s.maglevOf != sum {
		s.maglev, s.maglevOf = newMaglev(slots), sum
	}
	return s.maglev
}

// checkLocked makes and adapts the checks of the cluster's members. Where they
// are switched off, what checks found is void. The Router's mutex is held.
func (c *Cluster) checkLocked(now int64) []*Check {
	h := &c.Config.Health
	at := make([]*Endpoint, len(c.Upstreams))
	for i := range c.views {
		rest := c.views[i].endpoints // in the order of the upstreams
		for k, u := range c.Upstreams {
			if len(rest) > 0 && rest[0].Upstream == u {
				if at[k] == nil && h.active() {
					at[k] = rest[0]
				}
				rest = rest[1:]
			}
		}
	}
	list := make([]*Check, 0, len(c.Upstreams))
	for k, u := range c.Upstreams {
		if check := u.setCheck(c.Config.Key.SubDomain, at[k], h, now); check != nil {
			list = append(list, check)
		}
	}
	return list
}
