package proxy

import (
	"strconv"
	"time"

	"jetway/balancer"
)

// clockSkew is how far ahead the clock of a peer that sealed a cookie may be.
const clockSkew = 5 * time.Minute

// settleSession decides, now that a member answers, what becomes of the
// session. true: fields of the answer concern it.
func (x *exchange) settleSession() bool {
	a := &x.affinity
	if a.on == nil || a.on.Mode == balancer.AffinitySource {
		return false
	}
	u := x.endpoint.Upstream
	if a.bound != nil && a.bound.Upstream != u {
		a.broken = true // it failed, and another one was tried
	}
	if a.broken {
		x.outcome.Session = balancer.SessionBroken
		x.logBroken(x.endpoint)
	}
	switch {
	case a.on.Mode == balancer.AffinityCookie:
		a.issue = a.issue || a.broken
		if a.issue && x.outcome.Session == balancer.SessionNone {
			x.outcome.Session = balancer.SessionNew
		}
	case a.broken && a.hasKey:
		x.server.router.Sessions().Learn(a.session(a.key, u.SessionMember()), x.now)
		a.broken = false
	}
	return true
}

// seeAnswerField looks at a field of the answer of a cluster with affinity. It
// returns the field as it goes to the client; nil where it is done with.
func (x *exchange) seeAnswerField(b []byte, fl *field) ([]byte, *field) {
	a := &x.affinity
	own := a.on.Mode == balancer.AffinityCookie
	switch {
	case len(fl.name) == 10 && same(fl.name, "set-cookie"):
		if !own {
			return b, x.seeSetCookie(fl)
		}
		if name, _ := setCookie(fl.value); ownName(name, a.on) {
			return b, nil // ours is the only one of that name
		}
	case !own || !a.issue:
	case len(fl.name) == 13 && same(fl.name, "cache-control"):
		return appendPrivate(b, fl, &a.private), nil
	case forCaches(fl.name):
		return b, nil
	}
	return b, fl
}

// appendOwnCookie adds Jetway's own cookie where it is due, and keeps shared
// caches from giving it to everybody.
func (x *exchange) appendOwnCookie(b []byte) []byte {
	a := &x.affinity
	if a.on.Mode != balancer.AffinityCookie || !a.issue {
		return b
	}
	c := &a.on.Cookie
	b = append(append(b, "Set-Cookie: "...), c.Name...)
	b = append(append(b, '-'), a.tag[:]...)
	b = append(b, '=')
	b = a.on.Scope.AppendSeal(b, &a.work, a.tenant, x.endpoint.Upstream.SessionMember(), x.now)
	b = append(append(b, "; Path="...), c.Path...)
	if c.MaxAge > 0 {
		b = append(b, "; Max-Age="...)
		b = strconv.AppendInt(b, int64(c.MaxAge/time.Second), 10)
	}
	b = append(b, "; HttpOnly"...)
	secure := x.secure()
	if secure || c.SameSite != "None" { // browsers refuse None without Secure
		b = append(append(b, "; SameSite="...), c.SameSite...)
	}
	if secure {
		b = append(b, "; Secure"...)
	}
	b = append(b, "\r\n"...)
	if !a.private {
		b = append(b, "Cache-Control: private\r\n"...)
	}
	return b
}

// secure reports whether the client's side is TLS: here, or by the word of a
// trusted proxy.
func (x *exchange) secure() bool {
	if x.conn.tls {
		return true
	}
	if !x.req.told[0] {
		return false
	}
	proto, _ := x.req.Field("x-forwarded-proto", 0)
	return same(proto, "https")
}
