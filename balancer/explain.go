package balancer

import (
	"math"
	"slices"
	"sync/atomic"

	"jetway/tenant"
)

// This file shows what routing and picking would do, by calling them. Nothing
// is counted, and no turn is taken from a request.

// Candidate is a member of a cluster as a pick at one moment sees it.
type Candidate struct {
	Upstream *Upstream
	Endpoint *Endpoint // nil: it has no port for requests from that listener
	Grade    string    // fit, suspect, checking, failing, unreachable or out
	// Score is what the policy compares; NaN where it compares nothing, or the
	// member is out. LowerWins tells which way.
	Score float64
}

// String returns the grade in one lower-case word.
func (g grade) String() string {
	words := [...]string{"fit", "suspect", "checking", "failing", "unreachable", "out"}
	if int(g) < len(words) {
		return words[g]
	}
	return "invalid"
}

// Survey lists every member of the cluster that was decided on, at now (unix
// nanoseconds), as Pick judges them.
func (d *Decision) Survey(now int64) []Candidate {
	list := make([]Candidate, 0, len(d.Cluster.Upstreams))
	for _, u := range d.Cluster.Upstreams {
		c := Candidate{Upstream: u, Grade: gradeExcluded.String(), Score: math.NaN()}
		if d.View != nil {
			if i := slices.IndexFunc(d.View.slots, func(s slot) bool { return s.endpoint.Upstream == u }); i >= 0 {
				c.Endpoint = d.View.slots[i].endpoint
				g := d.View.gradeOf(&d.View.slots[i], now)
				c.Grade, c.Score = g.String(), d.View.score(i, now, d.Hash, g)
			}
		}
		list = append(list, c)
	}
	return list
}

// score is what the policy compares of the member with index i: requests by
// weight, these times the response time in milliseconds, or its place for the
// hash.
func (v *View) score(i int, now int64, hash uint64, g grade) float64 {
	if g == gradeExcluded {
		return math.NaN()
	}
	s := &v.slots[i]
	const one = float64(loadUnit) * priceOne
	cost := float64((s.hot.inFlight()+1)*loadUnit*s.hot.price.Load()) / one
	if n := s.hot.note.Load() & s.mask; n != 0 {
		_, c := v.assess(s, n, now, 0)
		cost = float64(c&^uint64(reluctant)) / one
	}
	switch {
	case v.policy == Hash && hash != 0 && v.maglev == nil:
		return weighed(mix(hash^s.endpoint.Upstream.hash), s.endpoint.Upstream.Weight())
	case v.policy == Hash && hash != 0, v.policy == RoundRobin, v.policy == Random:
		return math.NaN()
	case v.policy == PeakEWMA:
		if c, ok := v.fitCost(i, now, 0, nil); ok {
			return float64(v.ewmaCost(i, now, c)) / one / 1e6
		}
		return math.NaN()
	}
	return cost
}

// LowerWins reports whether the lower of two scores is chosen.
func (v *View) LowerWins() bool { return v.policy != Hash }

// Foresight is what Pick would answer now.
type Foresight struct {
	Choice *Endpoint
	// Certain is false where chance decides: then Choice is what came out this
	// time, and Among are all that may.
	Certain bool
	Among   []*Endpoint
}

// Foresee tells what choose will choose for a request that was decided, if no
// other comes before it. choose is called with a copy of the view in d, so that
// it takes no turns and counts nothing.
func (d *Decision) Foresee(now int64, choose func() *Endpoint) Foresight {
	real := d.View
	d.View = real.shadow()
	f := Foresight{Choice: choose()}
	d.View = real
	if f.Choice == nil {
		return f
	}
	f.Among = real.equals(now, d.Hash)
	if f.Certain = len(f.Among) == 1; f.Certain {
		f.Among[0] = f.Choice
	}
	return f
}

// shadow is a copy of the view of which a pick takes turns and counts without
// any effect.
func (v *View) shadow() *View {
	s := *v
	s.state = &ClusterState{}
	s.state.turn.Store(v.state.turn.Load())
	s.state.InFlight.Store(v.state.InFlight.Load() + 1) // the request itself, as Begin counts it
	s.slots, s.loads = slices.Clone(v.slots), slices.Clone(v.loads)
	for i := range s.slots {
		from, to := s.slots[i].hot, newHot((&lone{}).words())
		s.loads[i] = to.load
		to.load.Store(from.load.Load())
		for _, w := range [...][2]*atomic.Uint64{{to.note, from.note}, {&to.price, &from.price},
			{&to.ghosts, &from.ghosts}, {&to.latency, &from.latency}} {
			w[0].Store(w[1].Load())
		}
		to.prepaid.Store(from.prepaid.Load())
		s.slots[i].hot = to
	}
	return &s
}

// equals are the members among which a pick leaves the choice to chance: one
// where it is certain.
func (v *View) equals(now int64, hash uint64) []*Endpoint {
	var best []*Endpoint
	bestGrade, least, chance := gradeExcluded, uint64(math.MaxUint64), false
	for i := range v.slots {
		s := &v.slots[i]
		g, cost := gradeFit, (s.hot.inFlight()+1)*loadUnit*s.hot.price.Load()
		if n := s.hot.note.Load() & s.mask; n != 0 {
			g, cost = v.assess(s, n, now, 0)
			chance = chance || n&noteSlow != 0
		}
		if g == gradeExcluded || g > bestGrade {
			continue
		}
		byCost := v.policy == LeastRequests && len(v.slots) <= scanMax && !chance || g != gradeFit
		switch {
		case g < bestGrade, byCost && cost < least:
			best, bestGrade, least = append(best[:0], s.endpoint), g, cost
		case !byCost || cost == least:
			best = append(best, s.endpoint)
		}
	}
	if bestGrade == gradeFit && v.policy == LeastRequests && len(v.slots) <= scanMax && v.drawing != nil {
		for i := range v.slots {
			e := v.slots[i].endpoint
			if cost, ok := v.fitCost(i, now, 0, nil); ok && v.idle(i, cost) && !slices.Contains(best, e) {
				best = append(best, e) // see pickIdle
			}
		}
	}
	if bestGrade == gradeFit && (v.policy == RoundRobin || v.policy == Hash && hash != 0) && !chance && len(best) > 0 {
		return best[:1]
	}
	return best
}

// OutOfReach returns the pattern that matches the host of a request for which
// Route said NoHost although there is one: its listener or client is not among
// those that may reach it. nil: no pattern matches.
func (t *Table) OutOfReach(r *Request) *Host { return t.host(r.Host) }

// How returns the rule that found the tenant's name, "" where none did.
func (d *Decision) How() string {
	if d.Host == nil {
		return ""
	}
	return d.Host.identify.How(&d.Tenant)
}

// Peek tells what Admit would say to a routed request, and by which limits,
// without counting it.
func (t *Table) Peek(d *Decision, now int64) (tenant.Limits, tenant.Verdict, tenant.Allowance) {
	if d.Cluster == nil || d.Tenant.Outcome != tenant.Known {
		return tenant.Limits{}, tenant.Admitted, tenant.Allowance{}
	}
	limits := t.limits(d)
	v, a := t.admission.Peek(d.Cluster.Config.Service, d.Tenant.ID, &limits, now)
	return limits, v, a
}
