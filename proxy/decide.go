package proxy

import (
	"strconv"
	"time"

	"jetway/balancer"
)

// decide asks the routing table, and the directory where only that can tell
// whose request it is.
func (x *exchange) decide(table *balancer.Table) fault {
	st := x.conn.listener.state.Load()
	x.route = balancer.Request{Host: x.req.host, Path: x.req.path, Query: x.req.query,
		Listener: st.Name, PublicPort: st.PublicPort, TLS: x.conn.tls, Client: x.client(),
		Fields: &x.req, Trusted: x.conn.fieldRules.trusted, Now: x.now.UnixNano()}
	if x.conn.misdirected(st, x.req.host) {
		return misdirected
	}
	reason := table.Route(&x.route, &x.decision)
	if reason == balancer.AskDirectory {
		reason = table.Ask(&x.route, &x.decision)
		x.waited()
	}
	return faultOf(reason)
}

// faultOf names what a reason means to the client.
func faultOf(reason balancer.Reason) fault {
	switch reason {
	case balancer.OK:
		return noFault
	case balancer.NoHost:
		return noHost
	case balancer.BadPath:
		return badPath
	case balancer.UnknownTenant:
		return unknownTenant
	case balancer.Inactive:
		return inactiveTenant
	case balancer.Directory:
		return directoryDown
	case balancer.NoDomain:
		return noDomain
	case balancer.NoPort:
		return noPort
	}
	return noMember
}

// Field implements tenant.Fields. Fields that are not forwarded are not there
// for tenants either.
func (h *requestHead) Field(name string, from int) (value []byte, next int) {
	for i := from; i < len(h.fields); i++ {
		if fl := &h.fields[i]; !fl.drop && len(fl.name) == len(name) && same(fl.name, name) {
			return fl.value, i + 1
		}
	}
	return nil, -1
}

// appendAllowance tells a client whose tenant took too much when to come back
// (RFC 9110, 10.2.3), which limit it is and what is left of it, in the fields of
// draft-ietf-httpapi-ratelimit-headers-10: q requests in w seconds, or q at a
// time; r are left, and more in t seconds.
func (x *exchange) appendAllowance(b []byte) []byte {
	a := &x.decision.Allowance
	wait := max(int64((a.Wait+time.Second-1)/time.Second), 1)
	b = strconv.AppendInt(append(b, "Retry-After: "...), wait, 10)
	if a.Window == 0 {
		b = strconv.AppendInt(append(b, "\r\nRateLimit-Policy: \"in_flight\";q="...), int64(a.Limit), 10)
		return append(b, ";qu=\"concurrent-requests\"\r\nRateLimit: \"in_flight\";r=0\r\n"...)
	}
	b = strconv.AppendInt(append(b, "\r\nRateLimit-Policy: \"rate\";q="...), int64(a.Limit), 10)
	b = strconv.AppendInt(append(b, ";w="...), max(int64((a.Window+time.Second/2)/time.Second), 1), 10)
	b = strconv.AppendInt(append(b, "\r\nRateLimit: \"rate\";r=0;t="...), wait, 10)
	return append(b, "\r\n"...)
}
