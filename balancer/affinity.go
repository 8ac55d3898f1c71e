package balancer

import (
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"jetway/balancer/session"
)

// Affinity says how the clients of a cluster stay with their member.
type Affinity struct {
	Mode AffinityMode
	// Timeout is how long a session lasts without a request.
	Timeout time.Duration
	// Drain is how long a draining member keeps its sessions; 0: until they end
	// or it leaves.
	Drain time.Duration
	// Cookies are the names of the application's session cookies, for
	// AffinityLearn and AffinityRoute.
	Cookies []string
	// StripUnknown keeps session cookies that nothing is known of from members.
	StripUnknown bool
	// Header is what AffinitySource goes by; empty: the client's address.
	Header string
	Cookie StickyCookie
	// Always sets a cookie where there is one member only, because others may
	// come by themselves.
	Always  bool
	KeyFile string
	// Scope seals cookies and names sessions; nil where the mode needs none.
	Scope *session.Scope
}

// StickyCookie is how AffinityCookie's own cookie looks.
type StickyCookie struct {
	Name     string // stem of the name: a hyphen and four characters follow
	Path     string
	SameSite string        // Lax, Strict or None
	MaxAge   time.Duration // 0: it goes with the browser
}

// AffinityMode names a way to keep a client with its member.
type AffinityMode string

const (
	AffinityNone   AffinityMode = "none"
	AffinityCookie AffinityMode = "cookie" // Jetway's own cookie, stateless
	AffinityRoute  AffinityMode = "route"  // a suffix in the application's cookie, stateless
	AffinityLearn  AffinityMode = "learn"  // the application's cookie, remembered
	AffinitySource AffinityMode = "source" // by where the client comes from
)

// On reports whether clients stay with a member at all.
func (a *Affinity) On() bool { return a.Mode != AffinityNone && a.Mode != "" }

// keeps reports whether the member with index i serves the sessions it has:
// one that drains does, until they end or it does, or Affinity.Drain has passed,
// and one that is not checked yet, because a restart must not move anybody.
func (v *View) keeps(i int, now int64) bool {
	s := &v.slots[i]
	if s.hot.note.Load()&s.mask == 0 {
		return true
	}
	if v.over(i, now) {
		return false
	}
	v.gradeOf(s, now) // what is over by now ends
	n := s.hot.note.Load() & s.mask &^ (noteDrained | noteDraining | notesChecking)
	g, _ := v.assess(s, n, now, 0)
	return g <= gradeSuspect
}

// over reports whether the deadline for the sessions of a draining member has
// passed.
func (v *View) over(i int, now int64) bool {
	from := v.slots[i].endpoint.Upstream.drainFrom.Load()
	return from != 0 && v.bound.drain > 0 && now-from >= int64(v.bound.drain)
}

// Over reports whether a member is there and drains, and the deadline for its
// sessions (Affinity.Drain) has passed.
func (v *View) Over(member uint64, now int64) bool {
	i, ok := v.bound.members[member]
	return ok && v.over(int(i), now)
}

// OverRoute is Over by a route.
func (v *View) OverRoute(route []byte, now int64) bool {
	i, ok := v.bound.routes[string(route)]
	return ok && v.over(int(i), now)
}

// bindings find the member that a session names, by its index in the view.
type bindings struct {
	members map[uint64]int32 // by session.MemberID
	routes  map[string]int32 // by member id and short id
	drain   time.Duration    // see Affinity
}

// bind makes the bindings of a finished view.
func (v *View) bind(a *Affinity) {
	if !a.On() || a.Mode == AffinitySource {
		return
	}
	v.bound.members = make(map[uint64]int32, len(v.slots))
	v.bound.drain = a.Drain
	if a.Mode == AffinityRoute {
		v.bound.routes = make(map[string]int32, 2*len(v.slots))
	}
	for i := range v.slots {
		u := v.slots[i].endpoint.Upstream
		if old, twice := v.bound.members[u.session]; twice && !v.slots[old].endpoint.Upstream.Member().Suspect {
			continue // the same identity twice: it moved, and gossip has not lost the old address yet
		}
		v.bound.members[u.session] = int32(i)
		if a.Mode == AffinityRoute {
			v.bound.routes[u.route] = int32(i)
			v.bound.routes[u.key.id] = int32(i)
		}
	}
}

// Choice reports whether there is more than one member to choose from.
func (v *View) Choice() bool { return len(v.slots) > 1 }

// Bound returns where the sessions of a member go at now (unix nanoseconds);
// nil where it is gone or failing.
func (v *View) Bound(member uint64, now int64) *Endpoint {
	if i, ok := v.bound.members[member]; ok && v.keeps(int(i), now) {
		return v.slots[i].endpoint
	}
	return nil
}

// Route is Bound by a route; known tells whether a member of the cluster has it.
func (v *View) Route(route []byte, now int64) (e *Endpoint, known bool) {
	i, known := v.bound.routes[string(route)]
	if !known || !v.keeps(int(i), now) {
		return nil, known
	}
	return v.slots[i].endpoint, true
}

// Spread chooses a member that serves at now and was not tried by a hash, so that
// the same hash finds the same one everywhere, and a member that comes or goes
// moves only its own (rendezvous hashing: Thaler and Ravishankar 1998; weights
// as in Schindelhauer and Schomaker 2005). Unlike the policy hash it looks at
// nobody's load, and takes members that are not checked yet for fit: after a
// start of Jetway they would get their clients back only one by one. nil where
// nobody serves.
func (v *View) Spread(hash uint64, now int64, tried []*Upstream) *Endpoint {
	var best *Endpoint
	highest := math.Inf(-1)
	for i := range v.slots {
		s := &v.slots[i]
		u := s.endpoint.Upstream
		if v.gradeOf(s, now) > gradeChecking || len(tried) > 0 && slices.Contains(tried, u) {
			continue
		}
		// Uniform in (0, 1): neither end has a logarithm to compare.
		uniform := (float64(mix(hash^u.session)>>11) + 0.5) / (1 << 53)
		if score := math.Log(uniform) / float64(u.Weight()); score > highest {
			best, highest = s.endpoint, score
		}
	}
	return best
}

// SessionMember is what sessions call the member: see session.MemberID.
func (u *Upstream) SessionMember() uint64 { return u.session }

// Route is the member's short id in the application's cookie: "r" and seven
// letters or digits of a hash of its domain and id.
func (u *Upstream) Route() string { return u.route }

// RouteSize is the length of a short id.
const RouteSize = 8

func routeOf(member uint64) string {
	const digits = "0123456789abcdefghijklmnopqrstuv"
	b := []byte{'r', 0, 0, 0, 0, 0, 0, 0}
	for i := range b[1:] {
		b[1+i] = digits[member>>(5*i)&31]
	}
	return string(b)
}

// IsRoute reports whether a suffix has the form of a short id.
func IsRoute(b []byte) bool {
	if len(b) != RouteSize || b[0] != 'r' {
		return false
	}
	for _, c := range b[1:] {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'v') {
			return false
		}
	}
	return true
}

// HasCookie reports whether the application's session cookie may have the name.
func (a *Affinity) HasCookie(name []byte) bool {
	for _, c := range a.Cookies {
		if string(name) == c {
			return true
		}
	}
	return false
}

// HasParameter is HasCookie for a path parameter, whose case does not matter.
func (a *Affinity) HasParameter(name []byte) bool {
	return slices.ContainsFunc(a.Cookies, func(c string) bool { return len(c) == len(name) && strings.EqualFold(c, string(name)) })
}

// brokenSessions says when to log that sessions of a cluster had to move: a
// member that goes may leave a hundred thousand behind.
type brokenSessions struct {
	all    atomic.Uint64
	since  atomic.Uint64 // not logged yet
	logged atomic.Int64  // unix nanoseconds
}

// SessionBroken counts a session that lost its member. It returns how many are
// to be logged now: 0, or all since a second ago or longer.
func (c *Cluster) SessionBroken(now int64) uint64 {
	b := &c.State.broken
	b.all.Add(1)
	b.since.Add(1)
	last := b.logged.Load()
	if now-last < int64(time.Second) || !b.logged.CompareAndSwap(last, now) {
		return 0
	}
	return b.since.Swap(0)
}

// SessionsBroken returns how often a session had lost its member.
func (s *ClusterState) SessionsBroken() uint64 { return s.broken.all.Load() }
