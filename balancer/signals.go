package balancer

import (
	"slices"
	"sync/atomic"
	"time"
)

// Signals measure what an elastic cluster is asked to do, exactly: every
// request counts from the moment its head was complete to its last byte,
// whether it is being served or held. Safe for concurrent use.
//
// It has cache lines of its own: all requests of the cluster write here.
type Signals struct {
	_       [64]byte
	load    integral // requests in flight, held ones included
	held    integral // of them, those that wait for a member
	_       [48]byte
	Refused atomic.Uint64 // requests that no member was there for: demand all the same
	origin  time.Time     // of the clock of the integrals
}

// integral is how many of something there are, and the sum of their durations,
// in one word, so that readers never see one without the other: the count in
// the low countBits, above it the sum of (end - begin) in microseconds, where
// those that have not ended count with -begin. With n of them at time t the
// area under the curve is then sum + n*t, modulo 2^44, which at a million in
// flight is 17 seconds between two readings and at a thousand five hours.
type integral struct{ word atomic.Uint64 }

const (
	countBits = 20
	areaBits  = 64 - countBits
)

func (g *integral) begin(at int64) { g.word.Add(1 - uint64(at)<<countBits) }
func (g *integral) end(at int64)   { g.word.Add(uint64(at)<<countBits - 1) }

// read returns the count, and the area up to at, which only means something
// compared with another one: see AreaBetween.
func (g *integral) read(at int64) (n int64, area uint64) {
	w := g.word.Load()
	n = int64(w & (1<<countBits - 1))
	return n, (w>>countBits + uint64(n)*uint64(at)) & (1<<areaBits - 1)
}

// Totals are the Signals of a cluster at one moment. All but the first two
// only grow, so that what happened between two readings is their difference.
type Totals struct {
	InFlight int64  // requests, held ones included
	Held     int64  // requests that wait for a member
	Area     uint64 // requests in flight x microseconds, modulo 2^44, see AreaBetween
	Ended    uint64 // requests
	Refused  uint64 // requests, because there was no member for them
}

// AreaBetween returns the requests in flight x time between two readings.
func AreaBetween(before, after uint64) time.Duration {
	d := int64((after-before)<<countBits) >> countBits // signed: clocks of two readers may cross by a little
	return time.Duration(max(d, 0)) * time.Microsecond
}

func (s *Signals) at(t time.Time) int64 { return t.Sub(s.origin).Microseconds() }

// Hold counts a request of the cluster as one that waits for a member; Unhold
// must follow.
func (s *Signals) Hold() { s.held.begin(s.at(time.Now())) }

// Unhold ends what Hold began.
func (s *Signals) Unhold() { s.held.end(s.at(time.Now())) }

// Held returns how many requests wait for a member.
func (s *Signals) Held() int64 { return int64(s.held.word.Load() & (1<<countBits - 1)) }

// Totals returns what was measured up to now. Only of elastic clusters are
// Area and Held kept.
func (s *ClusterState) Totals(now time.Time) Totals {
	var t Totals
	t.InFlight, t.Area = s.Signals.load.read(s.Signals.at(now))
	t.Held = s.Signals.Held()
	t.Refused = s.Signals.Refused.Load()
	for i := range s.Responses {
		t.Ended += s.Responses[i].Load()
	}
	return t
}

// Again finds the cluster of a decision that was made with an older Table, with
// the members that it has now. It changes d only where it ends with OK.
func (t *Table) Again(r *Request, d *Decision) Reason {
	i := slices.IndexFunc(t.clusters, func(c *Cluster) bool { return c.Config.Key == d.Cluster.Config.Key })
	if i < 0 {
		return NoDomain
	}
	c := t.clusters[i]
	v := c.view(r.PublicPort, r.TLS)
	switch {
	case v != nil:
	case len(c.Upstreams) > 0:
		return NoPort
	default:
		return NoMember
	}
	d.Cluster, d.View = c, v
	if c.Config.Balance == Hash {
		d.Hash = c.hashRequest(r, &d.Tenant)
	}
	return OK
}
