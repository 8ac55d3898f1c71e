package balancer

import (
	"math/bits"
	"strconv"
	"time"
)

const (
	// ejectStep is how long the first ejection by evidence lasts; the n-th of
	// a member lasts n times as long, up to ejectMax (as Envoy's outlier
	// detection does by default).
	ejectStep = 30 * time.Second
	ejectMax  = 300 * time.Second
	// forgiveAfter is the time in service that makes up for one ejection.
	forgiveAfter = 30 * time.Second
	// adviceMax bounds what a peer's word is worth.
	adviceMax = 10 * time.Second
	// setAsideMax bounds what an operator may ask for by mistake.
	setAsideMax = 24 * time.Hour
	// waitMost is how long a member that somebody vouches for waits for its
	// first check.
	waitMost = time.Second
)

// verdict is what evidence has led to; guarded by Upstream.mu.
type verdict struct {
	reason string
	since  int64 // when the state last changed, unix nanoseconds
	times  int   // ejections by evidence that are not forgiven yet
	ended  int64 // when the last one ended
	cold   bool  // it came to a cluster that was at work: it begins with slow start
	slow   time.Duration
}

// Transition is a change of what is thought of a member.
type Transition struct {
	Member Member
	Before string // states as in Status
	State  string
	Reason string        // why, in words for operators
	For    time.Duration // of an ejection
	At     int64         // unix nanoseconds
}

// change applies do under the lock and tells what became of the state. do
// returns false where nothing is to be said.
func (u *Upstream) change(now int64, reason string, d time.Duration, do func() bool) bool {
	u.mu.Lock()
	before := u.stateLocked()
	if !do() {
		u.mu.Unlock()
		return false
	}
	after := u.stateLocked()
	u.changed.Store(now)
	u.verdict.reason = reason
	if before != after {
		u.verdict.since = now
	}
	u.mu.Unlock()
	if u.tell != nil && before != after {
		u.tell(Transition{Member: *u.Member(), Before: before, State: after, Reason: reason, For: d, At: now})
	}
	return true
}

// eject takes the member out by one of the notes in noteEjected. A stronger
// reason replaces a weaker one, no other. It reports whether it did.
func (u *Upstream) eject(now int64, note uint64, d time.Duration, reason string) bool {
	own := note&(noteUnreachable|noteFailing) != 0
	if own {
		d = u.sentence(now)
	}
	return u.change(now, reason, d, func() bool {
		if have := u.note.Load() & noteEjected; have != 0 && u.outUntil.Load() > now && have >= note && note != noteSetAside {
			return false
		} else if own && have&(noteUnreachable|noteFailing) != 0 && u.outUntil.Load() > now {
			u.mark(note, noteEjected) // the same trouble, known better
			return false
		}
		if own {
			u.verdict.times = u.forgivenLocked(now) + 1
			if note == noteUnreachable {
				u.unreachable.Add(1)
			} else {
				u.failing.Add(1)
			}
		}
		u.outUntil.Store(now + int64(d))
		u.mark(note, noteEjected|noteSlow)
		u.record.And(asleep)
		for _, c := range u.checks {
			if c != nil {
				c.good = 0
			}
		}
		return true
	})
}

// sentence is how long the next ejection by evidence lasts.
func (u *Upstream) sentence(now int64) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return min(time.Duration(u.forgivenLocked(now)+1)*ejectStep, ejectMax)
}

// forgivenLocked is the number of ejections that still count.
func (u *Upstream) forgivenLocked(now int64) int {
	if u.verdict.times == 0 {
		return 0
	}
	return max(0, u.verdict.times-int((now-u.verdict.ended)/int64(forgiveAfter)))
}

// lapse ends an ejection whose time is over.
func (u *Upstream) lapse(now int64, slow time.Duration) {
	u.change(now, "its ejection is over", 0, func() bool {
		if u.note.Load()&noteEjected == 0 || u.outUntil.Load() > now {
			return false
		}
		u.returnLocked(now, slow)
		return true
	})
}

// pardon ends an ejection by evidence or advice before its time.
func (u *Upstream) pardon(now int64, slow time.Duration, reason string) {
	u.change(now, reason, 0, func() bool {
		if n := u.note.Load() & noteEjected; n == 0 || n == noteSetAside {
			return false
		}
		u.returnLocked(now, slow)
		return true
	})
}

// returnLocked puts an ejected member back, through slow start.
func (u *Upstream) returnLocked(now int64, slow time.Duration) {
	u.verdict.ended = now
	u.record.And(asleep)
	u.outUntil.Store(0)
	u.mark(0, noteEjected)
	u.slowLocked(now, slow)
}

// endWait uses a member whose first check takes too long.
func (u *Upstream) endWait(now int64) {
	u.change(now, "its first check takes long", 0, func() bool {
		if u.note.Load()&notesChecking == 0 || u.waitUntil.Load() > now {
			return false
		}
		u.mark(0, notesChecking)
		u.beginLocked(now)
		return true
	})
}

// beginLocked starts the service of a new member.
func (u *Upstream) beginLocked(now int64) {
	if u.verdict.cold {
		u.slowLocked(now, u.verdict.slow)
	}
	u.verdict.cold = false
}

// stateLocked names the state as in Status. A member is down where all of its
// parts are.
func (u *Upstream) stateLocked() string {
	n := u.note.Load()
	down := (n&notesDead)/noteDead | (n&notesSick)/noteSick
	switch {
	case n&(noteDrained|noteDraining) != 0:
		return StateDraining
	case n&noteSetAside != 0:
		return StateEjected
	case down != 0 && bits.OnesCount64(down) >= u.checkedLocked():
		return StateDown
	case n&noteEjected != 0:
		return StateEjected
	case n&notesChecking != 0:
		return StateChecking
	case n&noteSuspect != 0:
		return StateSuspect
	}
	return StateUp
}

// checkedLocked counts the parts that are checked.
func (u *Upstream) checkedLocked() int {
	n := 0
	for _, c := range u.checks {
		if c != nil {
			n++
		}
	}
	return n
}

func failuresInARow(n int, last string) string {
	return strconv.Itoa(n) + " failures in a row, the last: " + last
}
