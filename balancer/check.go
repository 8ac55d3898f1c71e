package balancer

import (
	"math/rand/v2"
	"time"
)

// Check is the active check of one member in one cluster: what a prober must
// know, and where it tells its results. It stays the same over rebuilds of the
// Table, so its address may be used as a key. Safe for concurrent use.
type Check struct {
	upstream *Upstream
	part     int
	sub      string

	// Guarded by upstream.mu.
	target CheckTarget
	good   int // in a row
	bad    int // in a row
	status CheckStatus
}

// CheckTarget is what is checked.
type CheckTarget struct {
	Member   *Member
	Endpoint *Endpoint // whose address, TLS and MemberTLS count
	Health   Health
}

// CheckStatus is what operators see of a check.
type CheckStatus struct {
	SubDomain string
	Type      CheckType
	OK        bool
	Result    string    // of the newest check, in words; empty: none was made yet
	Since     time.Time // since when it is OK, or not
	At        time.Time // of the newest check
	Took      time.Duration
	Checks    uint64 // made so far
	Bad       uint64 // of these
}

// CheckResult is how one check ended. The zero value is a good one.
type CheckResult struct {
	Err     error         // nil: the member is well
	Refused bool          // it was refused: as good as a request that was
	Silent  bool          // no connection, or no answer at all
	Asked   bool          // an answer was wanted and came, or did not; not only a connection
	Took    time.Duration // until the result
	Result  string        // in words, where Err has none
}

// setCheck makes or adapts the check of one part, or ends it where at is nil.
// A new one finds the part in the state "checking".
func (u *Upstream) setCheck(sub string, at *Endpoint, h *Health, now int64) *Check {
	part := u.part(sub)
	u.mu.Lock()
	c := u.checks[part]
	u.verdict.slow = h.SlowStart
	u.mu.Unlock()
	bitsOf := uint64(noteDead|noteSick|noteChecking) << part
	if at == nil {
		u.change(now, "it is not checked", 0, func() bool {
			u.checks[part] = nil
			had := u.note.Load()&bitsOf != 0
			u.mark(0, bitsOf)
			return had
		})
		u.mu.Lock()
		u.beginLocked(now)
		u.mu.Unlock()
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if c == nil {
		c = &Check{upstream: u, part: part, sub: sub}
		c.status = CheckStatus{SubDomain: sub, Type: h.Type}
		u.checks[part] = c
		if u.Requests() == 0 { // one that serves already is not taken out for a new check
			u.mark(noteChecking<<part, 0)
		}
	}
	c.target = CheckTarget{Member: u.Member(), Endpoint: at, Health: *h}
	c.status.Type = h.Type
	return c
}

// Target returns what is to be checked now.
func (c *Check) Target() CheckTarget {
	c.upstream.mu.Lock()
	defer c.upstream.mu.Unlock()
	return c.target
}

// Made reports whether there is a result.
func (c *Check) Made() bool {
	c.upstream.mu.Lock()
	defer c.upstream.mu.Unlock()
	return c.status.Checks > 0
}

// Doze begins to watch whether the member answers requests; Ask and Awake tell.
func (c *Check) Doze() { c.upstream.record.Or(asleep) }

// Awake reports whether the member has answered a request since Doze and
// nothing speaks against it: then a check of type tcp would find out nothing.
func (c *Check) Awake() bool {
	u := c.upstream
	return u.record.Load() == 0 && u.note.Load()&(noteEjected|notesChecking|notesDead|notesSick) == 0
}

// Ask reports whether a check of type tcp should also want an answer, whatever
// it says: the system accepts connections for a process that stands still, so
// a connection proves little where requests wait and none was answered since
// Doze, or where something speaks against the member already.
func (c *Check) Ask() bool {
	u := c.upstream
	n := u.note.Load()
	return n&(noteEjected|(noteDead|noteSick)<<c.part) != 0 || u.inFlight() > 0 && u.record.Load()&asleep != 0
}

// Report notes a result at now (unix nanoseconds) and returns after how long
// to check again: sooner while a change is under way, and never at the same
// time as all others.
func (c *Check) Report(now int64, r CheckResult) time.Duration {
	u := c.upstream
	u.mu.Lock()
	h := c.target.Health
	c.noteLocked(now, &r)
	good, bad := c.good, c.bad
	u.mu.Unlock()
	if r.Err == nil {
		c.passed(now, &h, good, &r)
	} else {
		c.fell(now, &h, bad, &r)
	}
	wait := h.Interval
	if c.deciding(&h, good, bad) {
		wait = min(max(wait/5, 50*time.Millisecond), time.Second, wait)
	}
	return wait - wait/10 + time.Duration(rand.Int64N(int64(wait/5)+1))
}

// noteLocked keeps what operators see.
func (c *Check) noteLocked(now int64, r *CheckResult) {
	s := &c.status
	ok := r.Err == nil
	if ok != s.OK || s.At.IsZero() {
		s.OK, s.Since = ok, time.Unix(0, now)
	}
	s.At, s.Took, s.Result = time.Unix(0, now), r.Took, r.Result
	s.Checks++
	if ok {
		c.good, c.bad = min(c.good+1, 1<<20), 0
		return
	}
	c.good, c.bad = 0, min(c.bad+1, 1<<20)
	s.Bad++
	s.Result = r.Err.Error()
}

// passed draws the conclusions from a good check.
func (c *Check) passed(now int64, h *Health, good int, r *CheckResult) {
	u := c.upstream
	n := u.note.Load()
	if checking := uint64(noteChecking) << c.part; n&checking != 0 {
		u.change(now, "its first check is good", 0, func() bool {
			u.mark(0, checking)
			u.beginLocked(now)
			return true
		})
	}
	down := uint64(noteDead|noteSick) << c.part
	if n&down != 0 && good >= h.Rise {
		u.change(now, "its checks are good again", 0, func() bool {
			u.mark(0, down)
			u.slowLocked(now, h.SlowStart)
			return true
		})
	}
	switch ejected := n & noteEjected; {
	case ejected == 0, ejected == noteSetAside, !r.Asked: // a connection says nothing about answers
	case good >= h.Rise, ejected == noteAdvised:
		u.pardon(now, h.SlowStart, "its checks are good")
	}
}

// fell draws the conclusions from a bad check.
func (c *Check) fell(now int64, h *Health, bad int, r *CheckResult) {
	u := c.upstream
	n := u.note.Load()
	checking, down := uint64(noteChecking)<<c.part, uint64(noteDead|noteSick)<<c.part
	if r.Refused && n&(noteEjected|checking|down) == 0 {
		u.eject(now, noteUnreachable, 0, "check: "+r.Err.Error())
	}
	if bad < h.Fall && n&checking == 0 {
		return
	}
	set := uint64(noteSick) << c.part
	if r.Silent || r.Refused {
		set = noteDead << c.part
	}
	if n&set != 0 {
		return
	}
	u.change(now, "check: "+r.Err.Error(), 0, func() bool {
		u.mark(set, down|checking)
		return true
	})
}

// deciding reports whether more checks soon would change a verdict.
func (c *Check) deciding(h *Health, good, bad int) bool {
	n := c.upstream.note.Load()
	down := uint64(noteDead|noteSick) << c.part
	switch {
	case n&down != 0, n&(noteEjected&^noteSetAside) != 0:
		return good > 0 && good < h.Rise
	case n&(noteChecking<<c.part) != 0:
		return true
	}
	return bad > 0 && bad < h.Fall
}
