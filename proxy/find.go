package proxy

import (
	"time"

	"jetway/balancer"
)

// FoundSession is what the session of a request comes to. Nothing in it is what
// the client has to know to be in that session.
type FoundSession struct {
	// Of a request that no domain would get: what its client gets. Status is 0
	// where one was found.
	Status int
	Reason string
	Text   string

	Decision *balancer.Decision // how far routing came
	Cookies  []string           // names of cookies that are looked at
	Verdict  balancer.SessionVerdict
	// Upstream is whom the session is bound to; nil: nobody, or somebody who is
	// gone.
	Upstream *balancer.Upstream
	Serves   bool          // it takes the session's requests
	Timeout  time.Duration // after the last request; 0: it has none
	Left     time.Duration // until it ends if nobody asks for it
	Issued   time.Time     // of a cookie; zero: not known
	Learned  bool          // it stands in the table of learned sessions
	Own      bool          // where Learned: its last change was seen here and not told by a peer
}

// FindSession looks for the session of a request as serving it would, and
// changes nothing. It may ask the tenant directory.
func (s *Server) FindSession(q Question) (*FoundSession, error) {
	x, table, f, err := s.rehearse(q)
	if err != nil {
		return nil, err
	}
	v := &FoundSession{Decision: &x.decision}
	cluster := x.decision.Cluster
	if cluster == nil {
		v.Status, v.Reason, v.Text = f.status(), f.code(), f.text()
		return v, nil
	}
	on := &cluster.Config.Affinity
	if !on.On() {
		return v, nil
	}
	if x.decision.View == nil {
		x.decision.View = new(balancer.View) // nobody there can serve it
	}
	x.findSession(on, true)
	if a := &x.affinity; a.on == nil || on.Mode == balancer.AffinityCookie && !a.issue && a.bound == nil {
		return v, nil // there is no choice of members, so no cookie is due or counts
	}
	v.Verdict, v.Cookies = x.outcome.Session, on.Cookies
	switch on.Mode {
	case balancer.AffinityCookie:
		v.Cookies = []string{on.Cookie.Name + "-" + string(x.affinity.tag[:])}
		v.ofCookie(x, table)
	case balancer.AffinityLearn:
		v.ofTable(x, table)
	case balancer.AffinityRoute:
		v.ofRoute(x, table)
	case balancer.AffinitySource:
		v.Cookies = nil
		if e := x.decision.View.Spread(x.affinity.hash, x.now.UnixNano(), nil); e != nil {
			v.Upstream, v.Serves = e.Upstream, true
		}
	}
	return v, nil
}

// ofCookie tells what Jetway's own cookie says.
func (v *FoundSession) ofCookie(x *exchange, table *balancer.Table) {
	a := &x.affinity
	if v.Verdict != balancer.SessionKept && v.Verdict != balancer.SessionBroken {
		return
	}
	value, _ := x.ownCookie()
	o, ok := a.on.Scope.Open(&a.work, a.tenant, value)
	if !ok {
		return
	}
	v.bind(x, table, o.Member)
	v.Timeout, v.Issued = a.on.Timeout, o.Issued
	v.Left = max(a.on.Timeout+a.on.Timeout/4-x.now.Sub(o.Issued), 0)
}

// ofTable tells what is known of a learned session.
func (v *FoundSession) ofTable(x *exchange, table *balancer.Table) {
	if !x.affinity.hasKey {
		return
	}
	if s, ok := x.server.router.Sessions().Look(x.affinity.key, x.now); ok {
		v.bind(x, table, s.Member)
		v.Learned, v.Own, v.Timeout, v.Left = true, s.Own, s.Timeout, s.Left
	}
}

// ofRoute tells whom the application's cookie names.
func (v *FoundSession) ofRoute(x *exchange, table *balancer.Table) {
	if b := x.affinity.bound; b != nil {
		v.Upstream, v.Serves = b.Upstream, true
		return
	}
	x.eachSession(func(x *exchange, _ *field, _, value []byte) bool {
		_, route := cutRoute(value)
		for _, u := range table.Upstreams() {
			if u.Member().Domain == x.decision.Cluster.Config.Key.Domain && len(route) > 0 &&
				(u.Route() == string(route) || u.Member().ID == string(route)) {
				v.Upstream = u
			}
		}
		return v.Upstream == nil
	})
}

// bind finds the member by what sessions call it.
func (v *FoundSession) bind(x *exchange, table *balancer.Table, member uint64) {
	if b := x.affinity.bound; b != nil {
		v.Upstream, v.Serves = b.Upstream, true
		return
	}
	for _, u := range table.Upstreams() {
		if u.SessionMember() == member {
			v.Upstream = u
			return
		}
	}
}
