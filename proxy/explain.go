package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"jetway/balancer"
	"jetway/tenant"
)

// Question is a request that is to be explained instead of served.
type Question struct {
	Method   string
	Target   string      // as in the first line: path and query
	Fields   [][2]string // names and values, Host among them
	Listener string      // where it comes in; empty: the one for Port and TLS, else the first for TLS
	Port     uint16      // public one
	TLS      bool
	Client   netip.Addr // whom it comes from, as the connection says
}

// Explanation is what would become of a request, decided by the code that
// serves requests. Nothing of it was sent or counted.
type Explanation struct {
	Listener   string
	PublicPort uint16
	TLS        bool
	Client     netip.Addr // as trusted proxies say, else as the connection does
	Trusted    bool       // the connection comes from a trusted proxy
	Host       string     // as it is routed by
	Now        time.Time

	// Of a request that is not forwarded: what its client gets. Status is 0 of
	// one that is.
	Status int
	Reason string
	Text   string

	// Held is how long it would wait for a member of an elastic cluster that has
	// none to give it to, behind Before others; 0: it would not wait.
	Held   time.Duration
	Before int

	// OutOfReach is the host pattern that matches, of a request that is answered
	// as if there were none: it came in where, or from whom, its sub-domain may
	// not be reached. nil of all others.
	OutOfReach *balancer.Host

	Decision  *balancer.Decision // how far routing came
	Knowledge tenant.Knowledge   // of the directory, about its tenant
	Limits    tenant.Limits      // of its tenant there
	Limited   tenant.Verdict     // would be, if it came now
	Allowance tenant.Allowance

	Affinity balancer.AffinityMode // empty: the request belongs to no session
	Session  balancer.SessionVerdict
	Bound    *balancer.Endpoint // that the session is bound to; nil: none, or a member that is gone
	Spread   bool               // what names the session decides, by its hash

	Candidates []balancer.Candidate // all members of the cluster; nil: no cluster was found
	Foresight  balancer.Foresight
	Head       []byte // that the member would get
}

// Explain answers a Question. It may ask the tenant directory, as the request
// would.
func (s *Server) Explain(q Question) (*Explanation, error) {
	x, table, f, err := s.rehearse(q)
	if err != nil {
		return nil, err
	}
	st := x.conn.listener.state.Load()
	e := &Explanation{Listener: st.Name, PublicPort: st.PublicPort, TLS: x.conn.tls, Client: q.Client, Trusted: x.conn.rules(x.set).trusted,
		Host: string(x.req.host), Now: x.now, Decision: &x.decision}
	if f == noHost {
		e.Client, e.OutOfReach = x.route.Client, table.OutOfReach(&x.route)
	}
	if table == nil || x.decision.Host == nil {
		e.refused(f)
		return e, nil
	}
	e.Client = x.route.Client
	e.Knowledge = table.Tenants().Know(&x.decision.Tenant, time.Now().UnixNano())
	if x.decision.Cluster != nil {
		e.Candidates = x.decision.Survey(x.now.UnixNano())
		e.Limits, e.Limited, e.Allowance = table.Peek(&x.decision, x.now.UnixNano())
	}
	nobody := x.mayWait(f)
	switch {
	case f != noFault && !nobody:
	case e.Limited != tenant.Admitted && !x.decision.Cluster.Config.DryRun:
		f = limited
	case nobody || x.queues():
		f = x.foreseeWait(e)
	default:
		f = x.foresee(e, table)
	}
	e.refused(f)
	return e, nil
}

// rehearse decides about a request without serving it, as far as resolve does.
func (s *Server) rehearse(q Question) (x *exchange, table *balancer.Table, f fault, err error) {
	l, err := s.listenerFor(q)
	if err != nil {
		return nil, nil, noFault, err
	}
	head, err := q.head()
	if err != nil {
		return nil, nil, noFault, err
	}
	x = s.detached(l, q)
	_, _, f = scanHead(head, 0)
	if f == noFault && len(head) > x.set.Limits.HeaderBytes {
		f = headTooLarge
	}
	table, f = x.resolve(head, f)
	return x, table, f, nil
}

// foreseeWait goes on where serve would have the request wait.
func (x *exchange) foreseeWait(e *Explanation) (f fault) {
	if e.Before, f = x.server.room.foresee(x); f == noFault {
		e.Held = x.decision.Cluster.Config.Wait.Time
	}
	return f
}

// foresee goes on where serve would look for the session and choose a member.
func (x *exchange) foresee(e *Explanation, table *balancer.Table) fault {
	f := x.prepare(table)
	a := &x.affinity
	if a.on != nil {
		e.Affinity, e.Session, e.Bound = a.on.Mode, x.outcome.Session, a.bound
	}
	if f != noFault {
		return f
	}
	e.Head = x.up
	now := x.now.UnixNano()
	e.Foresight = x.decision.Foresee(now, x.chooseMember)
	spread := a.on != nil && a.bound == nil && a.spread && x.decision.View.Spread(a.hash, now, nil) != nil
	switch choice := e.Foresight.Choice; {
	case choice == nil && x.mayWait(noMember):
		return x.foreseeWait(e)
	case choice == nil:
		return noMember
	case a.bound == choice, spread:
		e.Foresight.Certain, e.Foresight.Among, e.Spread = true, []*balancer.Endpoint{choice}, spread
	}
	return noFault
}

func (e *Explanation) refused(f fault) {
	if f != noFault {
		e.Status, e.Reason, e.Text = f.status(), f.code(), f.text()
	}
}

// detached is an exchange of a connection that is none.
func (s *Server) detached(l *listener, q Question) *exchange {
	set := s.settings.Load()
	c := &clientConn{server: s, listener: l, tls: l.state.Load().tls != nil, addr: q.Client.Unmap(), ip: q.Client.Unmap().String()}
	for _, fl := range q.Fields {
		if strings.EqualFold(fl[0], "host") {
			host, _, _ := strings.Cut(fl[1], ":")
			c.sni = strings.ToLower(host) // what clients do
		}
	}
	x := &exchange{explained: true}
	x.begin(c, set)
	return x
}

// head is the request as a client would send it.
func (q *Question) head() ([]byte, error) {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\n", q.Method, q.Target)
	for _, f := range q.Fields {
		b = fmt.Appendf(b, "%s: %s\r\n", f[0], f[1])
	}
	if strings.Count(string(b), "\n") != len(q.Fields)+1 {
		return nil, errors.New("cannot explain a request with line breaks in it")
	}
	return append(b, "\r\n"...), nil
}

// listenerFor returns where the request comes in.
func (s *Server) listenerFor(q Question) (*listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	var found *listener
	for _, l := range s.listeners {
		st := l.state.Load()
		names = append(names, st.Name)
		switch fits := q.Listener == "" && (st.tls != nil) == q.TLS; {
		case q.Listener != "" && q.Listener == st.Name, fits && st.PublicPort == q.Port:
			return l, nil
		case fits && found == nil:
			found = l
		}
	}
	if found != nil {
		return found, nil
	}
	if q.Listener != "" {
		return nil, fmt.Errorf("cannot find listener %q; there are %s", q.Listener, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("cannot find a listener with TLS %v; say which one is meant: %s", q.TLS, strings.Join(names, ", "))
}
