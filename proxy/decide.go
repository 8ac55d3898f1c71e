package proxy

import "jetway/balancer"

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
	}
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
