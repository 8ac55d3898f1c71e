package balancer

import "time"

// Health says what is evidence against the members of a cluster and what
// follows from it. The zero value checks nothing and ejects on failed connects
// alone.
type Health struct {
	Type         CheckType
	Path         string        // of http: with query
	Host         string        // of http: its Host field; empty: the member's address
	Status       []StatusRange // of http: what is good; empty: 200-399
	Body         string        // of http: text that the first 64 KiB of a good answer hold; empty: anything
	Interval     time.Duration // between checks of one member, give or take a tenth
	Timeout      time.Duration // of one check
	Fall         int           // bad checks in a row that take a member out
	Rise         int           // good checks in a row that bring it back
	Failures     int           // failed requests in a row that eject a member; 0: none do
	ServerErrors bool          // answers of 500, 502, 503 and 504 are failures
	MaxEjected   float64       // share of the members that may be out for what they answer, 0..1
	SlowStart    time.Duration // over which a new or returned member's share grows; 0: at once
}

// CheckType names what an active check does.
type CheckType string

const (
	CheckNone CheckType = "none"
	CheckTCP  CheckType = "tcp"  // connects; see Check.Ask for when it also asks
	CheckTLS  CheckType = "tls"  // completes a TLS handshake, certificate verified as member_tls says
	CheckHTTP CheckType = "http" // GET
)

// StatusRange is a range of HTTP status codes, both ends included.
type StatusRange struct{ Lo, Hi int }

// active reports whether members are checked.
func (h *Health) active() bool { return h.Type != "" && h.Type != CheckNone }

// limit is how many of n members may be out for what they answer; one always
// may where any may.
func (h *Health) limit(n int) int {
	if h.MaxEjected <= 0 {
		return 0
	}
	return max(1, int(h.MaxEjected*float64(n)))
}

// Fitness is whether a member may serve, as those ask who look for one
// certain member.
type Fitness uint8

const (
	Fit      Fitness = iota // gossip may have lost it, and slow start is no obstacle
	Draining                // no new sessions; those it has go on
	Out                     // ejected, down by its checks, or not checked yet
)

// grade orders members by how willingly they are picked.
type grade uint8

const (
	gradeFit         grade = iota
	gradeSuspect           // gossip lost it
	gradeChecking          // nothing is known of it yet
	gradeFailing           // it answers, but badly
	gradeUnreachable       // it does not answer
	gradeExcluded          // never: draining, set aside by an operator, or tried already
)

// assess grades a member that has notes n (those of this view's part alone).
// A member in slow start takes part in a share of the picks, which r decides,
// and what it has in flight weighs as much heavier: by the first it gets its
// share of little traffic, by the second of much. cost is that of one more
// request.
func (v *View) assess(s *slot, n uint64, now int64, r uint64) (g grade, cost uint64) {
	u := s.endpoint.Upstream
	if n&noteEjected != 0 && u.outUntil.Load() <= now {
		u.lapse(now, v.health.SlowStart)
		n = s.hot.note.Load() & s.mask
	}
	if n&notesChecking != 0 && u.waitUntil.Load() <= now {
		u.endWait(now)
		n = s.hot.note.Load() & s.mask
	}
	switch {
	case n&(noteDrained|noteDraining|noteSetAside) != 0:
		return gradeExcluded, 0
	case n&(noteUnreachable|notesDead) != 0:
		g = gradeUnreachable
	case n&(noteFailing|noteAdvised|notesSick) != 0 && !v.census.spreads(v, now):
		g = gradeFailing
	case n&notesChecking != 0:
		g = gradeChecking
	case n&noteSuspect != 0:
		g = gradeSuspect
	}
	load := s.hot.inFlight() * loadUnit
	if n&noteGhosts != 0 {
		load += u.ghostLoad(now)
	}
	if n&noteSlow != 0 {
		share := u.slowShare(now)
		load = load * shareAll / share
		if r%shareAll >= share {
			cost = reluctant
		}
	}
	return g, cost | (load+loadUnit)*s.hot.price.Load()
}

// gradeOf is assess where no cost is asked for.
func (v *View) gradeOf(s *slot, now int64) grade {
	n := s.hot.note.Load() & s.mask
	if n == 0 {
		return gradeFit
	}
	g, _ := v.assess(s, n, now, 0)
	return g
}

// Fitness tells whether the member at e may serve now (unix nanoseconds). e is
// one of the view's endpoints.
func (v *View) Fitness(e *Endpoint, now int64) Fitness {
	for i := range v.slots {
		if v.slots[i].endpoint == e {
			return v.fitnessAt(i, now)
		}
	}
	return Out
}

// fitnessAt is Fitness of the endpoint with index i.
func (v *View) fitnessAt(i int, now int64) Fitness {
	s := &v.slots[i]
	n := s.hot.note.Load() & s.mask
	if n == 0 {
		return Fit
	}
	if drains := n & (noteDrained | noteDraining); drains != 0 {
		// Whether it may go on is what it would be without.
		if g, _ := v.assess(s, n&^drains, now, 0); g <= gradeSuspect {
			return Draining
		}
		return Out
	}
	if g, _ := v.assess(s, n, now, 0); g <= gradeSuspect {
		return Fit
	}
	return Out
}
