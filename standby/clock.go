package standby

import (
	"sync/atomic"
	"time"
)

// Stamp orders changes made anywhere: milliseconds since 1970 in the upper 48
// bits, a counter in the lower 16 (a hybrid logical clock: Kulkarni et al.,
// "Logical Physical Clocks", 2014). Zero is before everything.
type Stamp uint64

// stampBits is the width of the counter.
const stampBits = 16

// StampOf returns the first stamp of a moment.
func StampOf(t time.Time) Stamp { return Stamp(t.UnixMilli()) << stampBits }

// Time returns when the stamp was made, by the clock of whoever made it.
func (s Stamp) Time() time.Time { return time.UnixMilli(int64(s >> stampBits)) }

// aheadMax is how far the stamps of others may pull our own clock forward.
const aheadMax = 500 * time.Millisecond

// Clock makes stamps. Each is greater than all before. A peer whose clock is
// far ahead cannot drag ours along: its stamps are kept as they are in the
// records that carry them, but move our clock by at most aheadMax. Safe for
// concurrent use.
type Clock struct {
	now    func() time.Time // the time of day, which may jump
	steady func() time.Time // for lifetimes: it never does
	last   atomic.Uint64
	ahead  atomic.Uint64 // stamps seen that were too far ahead
}

// NewClock returns a clock over the system's time.
func NewClock() *Clock { return &Clock{now: time.Now, steady: time.Now} }

// Now returns a new stamp.
func (c *Clock) Now() Stamp { return c.After(0) }

// After returns a new stamp that is greater than s, too: what was seen before
// a change is older than the change, whatever clock it came from.
func (c *Clock) After(s Stamp) Stamp {
	wall := uint64(StampOf(c.now()))
	for {
		last := c.last.Load()
		next := max(last+1, wall)
		if c.last.CompareAndSwap(last, next) {
			return max(Stamp(next), s+1)
		}
	}
}

// Observe takes note of a stamp made elsewhere.
func (c *Clock) Observe(s Stamp) {
	if uint64(s) <= c.last.Load() {
		return
	}
	if s > StampOf(c.now().Add(aheadMax)) {
		c.ahead.Add(1)
		return
	}
	for {
		last := c.last.Load()
		if uint64(s) <= last || c.last.CompareAndSwap(last, uint64(s)) {
			return
		}
	}
}

// Ahead returns how many stamps were further ahead of our time than peers with
// sane clocks make them.
func (c *Clock) Ahead() uint64 { return c.ahead.Load() }
