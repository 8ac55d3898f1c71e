package balancer

import "time"

// The states of a member, the strongest first.
const (
	StateDraining = "draining" // gets nothing new: by its own word or an operator's
	StateEjected  = "ejected"  // out for a time, by evidence, a peer's word or an operator's
	StateDown     = "down"     // out until its checks are good
	StateChecking = "checking" // new, its first check is under way
	StateSuspect  = "suspect"  // gossip lost it; used where nobody better is left
	StateUp       = "up"
)

// Status is what operators see of a member.
type Status struct {
	Member       Member
	State        string    // State*
	Reason       string    // of the newest verdict, in words; empty: there was none
	Since        time.Time // of the state
	InFlight     int64
	Requests     uint64
	Failures     uint64    // attempts that failed
	Ejections    Ejections // by own evidence
	EjectedUntil time.Time // zero: not ejected
	Advised      bool      // ejected on a peer's word
	Drained      bool      // by an operator
	Weight       int       // in force
	Share        float64   // of its weight; below 1 in slow start
	Latency      time.Duration
	Checks       []CheckStatus
}

// Ejections counts a member's ejections by what they were for.
type Ejections struct {
	Unreachable uint64 // no connection could be made
	Failing     uint64 // requests failed
}

// Status returns the member as it is at now (unix nanoseconds).
func (u *Upstream) Status(now int64) Status {
	u.settle(now)
	n := u.note.Load()
	s := Status{Member: *u.Member(), InFlight: u.InFlight(), Requests: u.Requests(), Failures: u.failed.Load(),
		Ejections: Ejections{u.unreachable.Load(), u.failing.Load()}, Drained: n&noteDrained != 0, Advised: n&noteAdvised != 0,
		Weight: u.Weight(), Share: 1, Latency: time.Duration(u.latencyAt(now))}
	if n&noteSlow != 0 {
		s.Share = float64(u.slowShare(now)) / shareAll
	}
	if n&noteEjected != 0 {
		s.EjectedUntil = time.Unix(0, u.outUntil.Load())
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	s.State, s.Reason = u.stateLocked(), u.verdict.reason
	if u.verdict.since != 0 {
		s.Since = time.Unix(0, u.verdict.since)
	}
	for _, c := range u.checks {
		if c != nil {
			s.Checks = append(s.Checks, c.status)
		}
	}
	return s
}

// settle draws the conclusions of time: picks do so only where they meet the
// member.
func (u *Upstream) settle(now int64) {
	n := u.note.Load()
	if n&noteEjected != 0 && u.outUntil.Load() <= now {
		u.mu.Lock()
		slow := u.verdict.slow
		u.mu.Unlock()
		u.lapse(now, slow)
	}
	if n&notesChecking != 0 && u.waitUntil.Load() <= now {
		u.endWait(now)
	}
}

// Up counts the members that nothing speaks against at now (unix nanoseconds).
func (c *Cluster) Up(now int64) int {
	n := 0
	for _, u := range c.Upstreams {
		u.settle(now)
		if u.note.Load()&u.maskFor(c.Config.Key.SubDomain)&^(noteSlow|noteGhosts) == 0 {
			n++
		}
	}
	return n
}

// maskFor returns the notes that concern one sub-domain.
func (u *Upstream) maskFor(sub string) uint64 { return maskOf(u.part(sub)) }
