package proxy

import (
	"jetway/balancer"
	"jetway/balancer/session"
)

// This file is about sessions that go by the application's own cookie: learned
// ones, and those with a route in them.

// eachSession calls see with the value of every session cookie of the request,
// those in path parameters too, until it returns false.
func (x *exchange) eachSession(see func(x *exchange, fl *field, name, value []byte) bool) {
	on, seen := x.affinity.on, 0
	for i := range x.req.fields {
		fl := &x.req.fields[i]
		if len(fl.name) != 6 || fl.drop || !same(fl.name, "cookie") {
			continue
		}
		for rest := fl.value; len(rest) > 0; {
			var name, value []byte
			name, value, _, rest = nextCookie(rest)
			value = unquoted(value)
			if len(value) == 0 || !on.HasCookie(name) || x.oversized(value) {
				continue
			}
			if seen++; seen > lookupsMax || !see(x, fl, name, value) {
				return
			}
		}
	}
	for name, value, next := nextParameter(x.req.path, 0); next >= 0; name, value, next = nextParameter(x.req.path, next) {
		if len(value) == 0 || !on.HasParameter(name) || x.oversized(value) {
			continue
		}
		if seen++; seen > lookupsMax || !see(x, nil, name, value) {
			return
		}
	}
}

// oversized reports whether a session cookie is too long to be one that is
// looked up. It is as good as an unknown one. Routes are not looked up.
func (x *exchange) oversized(value []byte) bool {
	if len(value) <= session.CookieMax || x.affinity.on.Mode != balancer.AffinityLearn {
		return false
	}
	if a := &x.affinity; !a.found {
		a.found, a.hash = true, session.Spread(value)
	}
	return true
}

// findLearned looks the request's session cookies up; the first one that is
// known and whose member serves counts, else the first one that is known.
func (x *exchange) findLearned() {
	a := &x.affinity
	x.eachSession((*exchange).useLearned)
	a.spread = a.broken
	if !a.hasKey && a.found {
		a.spread = true // so that all load balancers and all its requests agree
		if a.on.StripUnknown {
			a.spread = false
			x.markCookies()
		}
	}
}

func (x *exchange) useLearned(fl *field, _, value []byte) bool {
	a := &x.affinity
	store := x.server.router.Sessions()
	key := a.on.Scope.Key(&a.work, a.tenant, value)
	member, ok := uint64(0), false
	if x.explained || a.strict { // who is refused does not keep the session alive by asking
		member, ok = store.Get(key, x.now)
	} else {
		member, ok = store.Use(key, x.now, a.on.Timeout)
	}
	if !ok {
		if old, rotated := a.on.Scope.OldKey(&a.work, a.tenant, value); rotated {
			switch member, ok = store.Get(old, x.now); {
			case ok && x.explained:
				key = old // where it is
			case ok:
				store.Learn(a.session(key, member), x.now)
				store.Delete(old, x.now)
			}
		}
	}
	if !a.found {
		a.found, a.hash = true, session.Spread(value)
	}
	if !ok {
		return true
	}
	bound := x.decision.View.Bound(member, x.now.UnixNano())
	if bound == nil && a.hasKey {
		return true
	}
	// A browser may have one of an older session, by another path, as well.
	a.key, a.hasKey, a.bound, a.broken = key, true, bound, bound == nil
	switch {
	case bound == nil:
		a.over = x.decision.View.Over(member, x.now.UnixNano())
	case a.strict && !x.explained:
		store.Use(key, x.now, a.on.Timeout)
	}
	return bound == nil
}

func (a *affinity) session(key session.Key, member uint64) session.Session {
	return session.Session{Key: key, Member: member, Tenant: session.TenantOf(a.tenant), Timeout: a.on.Timeout}
}

// markCookies has the session cookies of the request removed on the way.
func (x *exchange) markCookies() {
	for i := range x.req.fields {
		if fl := &x.req.fields[i]; len(fl.name) == 6 && !fl.drop && same(fl.name, "cookie") {
			fl.edit = true
		}
	}
}

// findRoute looks for a member's id behind the last dot of a session cookie.
func (x *exchange) findRoute() {
	a := &x.affinity
	x.eachSession((*exchange).useRoute)
	if a.bound == nil && a.found {
		a.spread = true // a session whose member is gone stays in one place all the same
	}
}

func (x *exchange) useRoute(fl *field, name, value []byte) bool {
	a := &x.affinity
	id, route := cutRoute(value)
	ours := balancer.IsRoute(route)
	if ours && fl != nil {
		fl.edit = true
	} else if ours && a.target[1] == 0 {
		end := cap(x.req.target) - cap(value) + len(value) // value points into target
		a.target = [2]int{end - 1 - len(route), end}
	}
	if !a.found {
		a.found, a.hash = true, session.Spread(id)
	}
	if a.bound != nil || len(route) == 0 {
		return true
	}
	e, known := x.decision.View.Route(route, x.now.UnixNano())
	switch {
	case e != nil:
		a.bound, a.broken = e, false
	case known || ours:
		a.broken, a.over = true, x.decision.View.OverRoute(route, x.now.UnixNano())
	}
	return true
}

// seeSetCookie looks at a Set-Cookie field of the answer in learn and route
// mode. It returns the field as it goes to the client.
func (x *exchange) seeSetCookie(fl *field) *field {
	a := &x.affinity
	name, value := setCookie(fl.value)
	if !a.on.HasCookie(name) {
		return fl
	}
	gone := removes(fl.value, x.now)
	value = unquoted(value)
	switch {
	case a.on.Mode == balancer.AffinityLearn && gone:
		a.ending = name
		x.eachSession((*exchange).forget)
	case gone:
	case a.on.Mode == balancer.AffinityRoute:
		return x.addRoute(fl, value)
	case len(value) <= session.CookieMax:
		x.learn(value)
	}
	return fl
}

// forget ends the learned sessions of the request whose cookie is removed.
func (x *exchange) forget(_ *field, name, value []byte) bool {
	a := &x.affinity
	if sameFold(name, a.ending) {
		key := a.on.Scope.Key(&a.work, a.tenant, value)
		x.server.router.Sessions().Delete(key, x.now)
		a.hasKey = a.hasKey && key != a.key
	}
	return true
}

// learn binds the session that an answer names to the member that it is from.
func (x *exchange) learn(value []byte) {
	a := &x.affinity
	key := a.on.Scope.Key(&a.work, a.tenant, value)
	if a.hasKey && key == a.key && !a.broken {
		return // some applications send it with every answer
	}
	x.server.router.Sessions().Learn(a.session(key, x.endpoint.Upstream.SessionMember()), x.now)
	if x.outcome.Session == balancer.SessionNone {
		x.outcome.Session = balancer.SessionNew
	}
}

// addRoute returns a Set-Cookie field with the member's short id in the value,
// unless the member has put its id there itself (jvmRoute).
func (x *exchange) addRoute(fl *field, value []byte) *field {
	a, u := &x.affinity, x.endpoint.Upstream
	if x.outcome.Session == balancer.SessionNone {
		x.outcome.Session = balancer.SessionNew
	}
	if _, route := cutRoute(value); string(route) == u.Member().ID {
		return fl
	}
	end := cap(fl.line) - cap(value) + len(value) // value points into line
	b := append(a.line[:0], fl.line[:end]...)
	b = append(append(b, '.'), u.Route()...)
	b = append(b, fl.line[end:]...)
	a.line = b
	changed := *fl
	changed.line, changed.value = b, b[len(fl.name)+1:len(b)-2]
	return &changed
}
