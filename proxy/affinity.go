package proxy

import (
	"bytes"
	"net/netip"

	"jetway/balancer"
	"jetway/balancer/session"
	"jetway/tenant"
)

// affinity is what a request's session comes to; part of the exchange. It is
// looked at once host, tenant and cluster are decided, never before.
type affinity struct {
	on      *balancer.Affinity // nil: this request belongs to nobody
	tenant  int64              // 0: none
	bound   *balancer.Endpoint // where the session is; nil: anywhere
	broken  bool               // the session lost its member
	over    bool               // because the deadline of that draining member passed
	strict  bool               // whoever lost its member is refused
	hidden  bool               // the request has a cookie of Jetway's own, which the member does not see
	found   bool               // the client sent something for it
	issue   bool               // Jetway's own cookie is due
	spread  bool               // hash chooses among the fit
	hash    uint64
	key     session.Key // learned: the session that was found
	hasKey  bool
	tag     [session.TagSize]byte
	private bool   // the answer itself keeps shared caches from storing it
	target  [2]int // what of the request's target is not forwarded
	ending  []byte // name of a cookie that the answer removes
	work    session.Work
	line    []byte // a field of the answer, changed
}

// lookupsMax bounds the session cookies of one request that are looked up.
const lookupsMax = 8

// ownSuffix is the length of what follows the stem in the own cookie's name.
const ownSuffix = 1 + session.TagSize

// findSession looks for the session of a request that is decided.
func (x *exchange) findSession(on *balancer.Affinity, failOver bool) fault {
	a := &x.affinity
	a.bound, a.broken, a.found, a.issue, a.spread, a.hasKey, a.private = nil, false, false, false, false, false, false
	a.target, a.tenant, a.over, a.hidden, a.strict = [2]int{}, 0, false, false, !failOver
	if found := &x.decision.Tenant; found.Outcome == tenant.Known {
		a.tenant = int64(found.ID)
	}
	switch a.on = on; on.Mode {
	case balancer.AffinityCookie:
		if on.Always || x.decision.View.Choice() {
			x.openCookie()
		} else if x.ownCookie(); !a.hidden {
			a.on = nil
		}
	case balancer.AffinityLearn:
		x.findLearned()
	case balancer.AffinityRoute:
		x.findRoute()
	case balancer.AffinitySource:
		a.spread, a.hash = true, session.Spread(x.source())
	}
	switch {
	case a.bound != nil:
		x.outcome.Session = balancer.SessionKept
	case a.broken:
		x.outcome.Session = balancer.SessionBroken
		// Where a draining member's deadline is over, whoever set it wants its
		// sessions to go elsewhere; fail_over is about members that fail.
		if a.strict && !a.over {
			x.logBroken(nil)
			return noMember
		}
	case a.found:
		x.outcome.Session = balancer.SessionVoid
	}
	return noFault
}

// chooseMember returns where the next attempt goes; nil where nobody is left. A
// browser sends many requests at a time: all of a session that lost its member
// go to one and the same other.
func (x *exchange) chooseMember() *balancer.Endpoint {
	a, view, now, tried := &x.affinity, x.decision.View, x.tick.UnixNano(), x.tried[:x.attempts]
	switch {
	case a.on == nil:
	case a.bound != nil && x.attempts == 0:
		view.Sticky(a.bound)
		return a.bound
	case a.spread || a.bound != nil:
		if a.bound != nil && a.on.Mode == balancer.AffinityCookie {
			value, _ := x.ownCookie()
			a.hash = session.Spread(value)
		}
		if e := view.Spread(a.hash, now, tried); e != nil {
			return e
		}
	}
	return view.Pick(now, x.decision.Hash, tried)
}

// openCookie looks for Jetway's own cookie of this cluster and tenant. What is
// forged, stale, doubled or another's is as good as none, and replaced.
func (x *exchange) openCookie() {
	a := &x.affinity
	on, now := a.on, x.now
	a.tag, a.issue = on.Scope.Tag(&a.work, a.tenant), true
	value, count := x.ownCookie()
	if count == 0 {
		return
	}
	a.found = true
	o, ok := on.Scope.Open(&a.work, a.tenant, value)
	age := now.Sub(o.Issued)
	// Refreshed after a quarter of the timeout, it lives for a quarter longer:
	// never shorter than the timeout since the last request.
	if count > 1 || !ok || age > on.Timeout+on.Timeout/4 || age < -clockSkew {
		return
	}
	if a.bound = x.decision.View.Bound(o.Member, now.UnixNano()); a.bound == nil {
		a.broken, a.over = true, x.decision.View.Over(o.Member, now.UnixNano())
		a.spread, a.hash = true, session.Spread(value)
		return
	}
	lives := on.Timeout
	if on.Cookie.MaxAge > 0 {
		lives = min(lives, on.Cookie.MaxAge) // else browsers would drop it before
	}
	a.issue = o.Old || age > lives/4
}

// ownCookie returns the value of Jetway's own cookie of this cluster and tenant,
// and how many there are. All of them stay behind on the way to the member.
func (x *exchange) ownCookie() (value []byte, count int) {
	a := &x.affinity
	for i := range x.req.fields {
		fl := &x.req.fields[i]
		if len(fl.name) != 6 || fl.drop || !same(fl.name, "cookie") {
			continue
		}
		for rest := fl.value; len(rest) > 0; {
			var name, v []byte
			name, v, _, rest = nextCookie(rest)
			if !ownName(name, a.on) {
				continue
			}
			fl.edit, a.hidden = true, true
			if string(name[len(name)-session.TagSize:]) == string(a.tag[:]) {
				value = v
				count++
			}
		}
	}
	return value, count
}

// ownName reports whether a cookie's name is one of Jetway's own, of whichever
// cluster and tenant.
func ownName(name []byte, on *balancer.Affinity) bool {
	stem := on.Cookie.Name
	return len(name) == len(stem)+ownSuffix && name[len(stem)] == '-' && string(name[:len(stem)]) == stem
}

// appendEdited appends a Cookie line without what is Jetway's own; nothing
// where nothing is left.
func (x *exchange) appendEdited(b []byte, fl *field) []byte {
	a := &x.affinity
	begun := false
	for rest := fl.value; len(rest) > 0; {
		var name, value, whole []byte
		name, value, whole, rest = nextCookie(rest)
		whole = trim(bytes.TrimSuffix(whole, []byte(";")))
		if len(whole) == 0 {
			continue
		}
		cut := 0
		switch a.on.Mode {
		case balancer.AffinityCookie:
			if ownName(name, a.on) {
				continue
			}
		case balancer.AffinityLearn:
			if a.on.HasCookie(name) {
				continue
			}
		case balancer.AffinityRoute:
			if _, route := cutRoute(unquoted(value)); a.on.HasCookie(name) && balancer.IsRoute(route) {
				cut = 1 + balancer.RouteSize
			}
		}
		if begun {
			b = append(b, "; "...)
		} else {
			b = append(append(b, fl.name...), ": "...)
			begun = true
		}
		if cut == 0 {
			b = append(b, whole...)
			continue
		}
		quote := len(value) - len(unquoted(value))
		b = append(append(b, name...), '=')
		b = append(b, value[:len(value)-cut-quote/2]...)
		b = append(b, value[len(value)-quote/2:]...)
	}
	if begun {
		b = append(b, "\r\n"...)
	}
	return b
}

// appendTarget appends the request's target without a route in its path
// parameters.
func (x *exchange) appendTarget(b []byte) []byte {
	cut := x.affinity.target
	if x.affinity.on == nil || cut[1] == 0 {
		return append(b, x.req.target...)
	}
	return append(append(b, x.req.target[:cut[0]]...), x.req.target[cut[1]:]...)
}

// source returns what AffinitySource goes by: a header's value or the client's
// address, for IPv6 the network that one customer has.
func (x *exchange) source() []byte {
	if name := x.affinity.on.Header; name != "" {
		if v, _ := x.req.Field(name, 0); len(v) > 0 {
			return v
		}
	}
	addr := x.route.Client.Unmap()
	if addr.Is6() {
		p, _ := addr.WithZone("").Prefix(64)
		addr = p.Addr()
	}
	return x.affinity.appendAddr(addr)
}

func (a *affinity) appendAddr(addr netip.Addr) []byte {
	b := addr.As16()
	a.line = append(a.line[:0], b[:]...)
	return a.line
}

// logBroken logs that sessions had to move, at most once a second per cluster.
func (x *exchange) logBroken(to *balancer.Endpoint) {
	if x.explained {
		return
	}
	cluster := x.decision.Cluster
	n := cluster.SessionBroken(x.now.UnixNano())
	if n == 0 {
		return
	}
	e := x.server.log.Info().Str("domain", cluster.Config.Key.Domain).Str("sub_domain", cluster.Config.Key.SubDomain).Uint64("sessions", n)
	if lost := x.affinity.bound; lost != nil {
		e = e.Str("member", lost.Upstream.Member().ID)
	}
	if to != nil {
		e = e.Str("to", to.Upstream.Member().ID)
	}
	e.Msg("sessions lost their member")
}
