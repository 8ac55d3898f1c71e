package balancer

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
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
	// Limited counts requests of tenants over a limit, by Limited* (bodies are
	// no part of it), and WouldLimit those that were served because it is a
	// dry run.
	Limited, WouldLimit [LimitedBody + 1]atomic.Uint64
	turn                atomic.Uint64 // round robin
	tokens              atomic.Int64  // retry budget in thousandths of a request
	Signals             Signals       // of an elastic cluster
}

func newState() *ClusterState {
	s := &ClusterState{}
	s.tokens.Store(budgetFloor)
	s.Signals.origin = time.Now()
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
	balance   Policy
	state     *ClusterState
	endpoints []*Endpoint
	order     []int32 // round robin: indexes of endpoints by weight
}

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
func (c *Cluster) addView(l Listener, open openFunc) {
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
	v := View{port: l.PublicPort, tls: l.TLS, balance: c.Config.Balance, state: c.State,
		endpoints: make([]*Endpoint, 0, len(c.Upstreams))}
	for _, u := range c.Upstreams {
		m := u.Member()
		port := m.mapped(l.PublicPort)
		if port == 0 && tls {
			port = m.HTTPS
		} else if port == 0 {
			port = m.HTTP
		}
		if port != 0 {
			v.endpoints = append(v.endpoints, u.endpointLocked(port, tls, c.Config.MemberTLS, open))
		}
	}
	if v.balance == RoundRobin {
		v.order = weightedOrder(v.endpoints)
	}
	c.views = append(c.views, v)
}
