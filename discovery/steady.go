package discovery

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

const (
	stallTick  = 250 * time.Millisecond
	stallAfter = 2 * time.Second  // a tick that late: this process stood still
	doubtFor   = 30 * time.Second // after a stall, what gossip says of others is not held against them
)

// steadiness watches whether this process runs at all: stopped, starved or
// paused, it takes the silence that it slept through for the death of others.
type steadiness struct {
	stalls atomic.Uint64
	until  atomic.Int64 // unix nanoseconds; doubt ends then
}

// watch ticks until ctx ends.
func (s *steadiness) watch(ctx context.Context, log zerolog.Logger, trouble func(string)) {
	tick := time.NewTicker(stallTick)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		if gap := now.Sub(last); gap >= stallAfter {
			s.stalls.Add(1)
			s.until.Store(now.Add(doubtFor).UnixNano())
			trouble(fmt.Sprintf("this process stood still for %s", gap.Round(100*time.Millisecond)))
			log.Warn().Dur("gap", gap).Msg("this process stood still; for a while gossip is not believed that others failed")
		}
		last = now
	}
}

// doubtful reports whether a stall was not long ago.
func (s *steadiness) doubtful(now time.Time) bool { return now.UnixNano() < s.until.Load() }
