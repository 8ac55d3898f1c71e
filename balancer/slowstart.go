package balancer

import (
	"math"
	"time"
)

const (
	// shareAll is a member's whole share.
	shareAll = 1 << 10
	// slowFloor is the share that slow start begins with (Envoy's default).
	slowFloor = shareAll / 10
	// warmAfter is how long a cluster must have been at work for a new member
	// to begin slowly: while all are new there is nobody to spare it.
	warmAfter = 5 * time.Second
)

// slowLocked begins slow start. u.mu is held.
func (u *Upstream) slowLocked(now int64, d time.Duration) {
	if d <= 0 {
		return
	}
	u.slowFrom.Store(now)
	u.slowFor.Store(int64(d))
	u.mark(noteSlow, 0)
}

// slowShare is the share of its weight that a member in slow start gets, from
// slowFloor to shareAll. It grows evenly.
func (u *Upstream) slowShare(now int64) uint64 {
	age, d := now-u.slowFrom.Load(), u.slowFor.Load()
	if age >= d {
		u.mark(0, noteSlow)
		return shareAll
	}
	return max(uint64(max(age, 0))*shareAll/uint64(d), slowFloor)
}

const (
	// ghostLife is the time in which what is left of past failures falls to
	// 1/e.
	ghostLife = time.Second
	// ghostsMax bounds them, in loadUnits.
	ghostsMax = 1 << 12 * loadUnit
)

// addGhost makes a failure count as a request in flight for about a second,
// so that a member that fails fast, which has little in flight, does not
// attract all requests. The time in ms stands in the upper half of the word, the
// number in 1/256 in the lower.
func (u *Upstream) addGhost(now int64) {
	for range 4 { // an addition that is lost to others does not matter
		old := u.ghosts.Load()
		left := min(decayed(old, now)+loadUnit, ghostsMax)
		if u.ghosts.CompareAndSwap(old, uint64(uint32(now/1e6))<<32|left) {
			break
		}
	}
	if u.note.Load()&noteGhosts == 0 {
		u.mark(noteGhosts, 0)
	}
}

// ghostLoad is what failures add to the load, in loadUnits.
func (u *Upstream) ghostLoad(now int64) uint64 {
	left := decayed(u.ghosts.Load(), now)
	if left == 0 {
		u.mark(0, noteGhosts)
	}
	return left
}

func decayed(word uint64, now int64) uint64 {
	age := uint32(now/1e6) - uint32(word>>32)
	if age > math.MaxInt32 {
		age = 0 // another reading of the clock was a little ahead
	}
	if age > uint32(10*ghostLife/time.Millisecond) {
		return 0
	}
	return uint64(float64(uint32(word)) * math.Exp(-float64(age)/float64(ghostLife/time.Millisecond)))
}
