package tenant

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// versionEvery is how often a Versioned source is asked for changes.
const versionEvery = time.Second

// Run refreshes what is stale and in use until ctx ends, then lets questions
// under way finish and puts no more of them.
func (c *Cache) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range refreshers {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case name := <-c.refresh:
					c.refreshOne(ctx, name)
				}
			}
		})
	}
	if v, ok := c.source.(Versioned); ok {
		c.follow(ctx, v)
	}
	<-ctx.Done()
	wg.Wait()
	c.end()
	for c.flights.Load() > 0 { // their context has ended
		time.Sleep(time.Millisecond)
	}
	return nil
}

// refreshOne asks again for a name that is known.
func (c *Cache) refreshOne(ctx context.Context, name string) {
	if !c.passable(time.Now().UnixNano()) {
		c.stats.staleKept.Add(1)
		c.postpone(name, time.Now().UnixNano())
		return
	}
	e, err := c.askAgain(ctx, name)
	gone := false
	if errors.Is(err, ErrNotFound) && !errors.Is(err, ErrRemoved) {
		gone = c.othersAreThere(ctx, name)
	}
	if err != nil && !gone {
		c.stats.staleKept.Add(1)
	}
	c.enter(name, e, err, gone)
}

func (c *Cache) askAgain(ctx context.Context, name string) (Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	return c.ask(ctx, name)
}

// othersAreThere looks for other tenants that are known, to tell one that was
// deleted from a source that was emptied or is not the right one. Where more
// of them are missing than there, or nothing can be said, nobody is forgotten.
func (c *Cache) othersAreThere(ctx context.Context, but string) bool {
	now := time.Now().UnixNano()
	if now < c.doubtTill.Load() {
		return false
	}
	found, missing := 0, 0
	for _, name := range c.some(canaries, but) {
		switch _, err := c.askAgain(ctx, name); {
		case err == nil:
			found++
		case errors.Is(err, ErrNotFound):
			missing++
		default:
			return false
		}
	}
	if found > missing {
		return true
	}
	c.doubt()
	return false
}

// some returns up to n names that are known, from different shards.
func (c *Cache) some(n int, but string) []string {
	start, not := rand.IntN(cacheShards), []string{but}
	for range n {
		for i := range c.shards {
			sh := &c.shards[(start+i)%cacheShards]
			sh.mu.Lock()
			name := sh.known.anyBut(not...)
			sh.mu.Unlock()
			if name != "" {
				not = append(not, name)
			}
			if len(not) > n {
				return not[1:]
			}
		}
	}
	return not[1:]
}

// follow makes all answers stale when the source says that it changed.
func (c *Cache) follow(ctx context.Context, v Versioned) {
	tick := time.NewTicker(versionEvery)
	defer tick.Stop()
	last, seen := int64(0), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked, cancel := context.WithTimeout(ctx, refreshTimeout)
		version, err := v.Version(asked)
		cancel()
		if err != nil {
			continue // questions for names tell how it is
		}
		if seen && version != last {
			c.Expire()
		}
		last, seen = version, true
	}
}

// Expire makes all answers stale: those that are in use are asked for again,
// and what was not there may be there now.
func (c *Cache) Expire() {
	c.expired.Store(time.Now().UnixNano())
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.Lock()
		sh.known.expire()
		sh.unknown.expire()
		sh.mu.Unlock()
	}
}

// cacheStats are counters and what happened last.
type cacheStats struct {
	questions, found, notFound, failed, panics       atomic.Uint64
	waitedOut, refusedDown, refusedBusy, refusedRate atomic.Uint64
	refreshesDropped, staleKept, evicted, doubts     atomic.Uint64
	told                                             atomic.Uint64
	garbled                                          atomic.Bool
	lastError                                        atomic.Pointer[Trouble]
}

// Trouble is an error of the source and when.
type Trouble struct {
	Time time.Time
	Text string
}

// CacheStatus is how a Cache and its source are doing.
type CacheStatus struct {
	Up        bool // the newest questions were answered, in words that are understood
	Doubted   bool // tenants were missing in numbers; nobody is forgotten
	Known     int  // tenants remembered
	Unknown   int  // names remembered as not there
	Questions uint64
	Found     uint64
	NotFound  uint64
	Failed    uint64
	// Requests that were answered with Failed without a question of their own,
	// or before its answer came.
	RefusedDown, RefusedBusy, RefusedRate, WaitedOut uint64
	StaleKept                                        uint64 // refreshes that kept the last good answer
	Evicted                                          uint64
	Told                                             uint64   // tenants that peers told of
	LastError                                        *Trouble // nil: none so far
}

// Status returns a snapshot.
func (c *Cache) Status() CacheStatus {
	st := &c.stats
	s := CacheStatus{
		Up:        c.failures.Load() == 0 && !st.garbled.Load(),
		Doubted:   time.Now().UnixNano() < c.doubtTill.Load(),
		Questions: st.questions.Load(), Found: st.found.Load(), NotFound: st.notFound.Load(), Failed: st.failed.Load(),
		RefusedDown: st.refusedDown.Load(), RefusedBusy: st.refusedBusy.Load(), RefusedRate: st.refusedRate.Load(),
		WaitedOut: st.waitedOut.Load(), StaleKept: st.staleKept.Load(), Evicted: st.evicted.Load(), Told: st.told.Load(), LastError: st.lastError.Load(),
	}
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.Lock()
		s.Known += sh.known.len()
		s.Unknown += sh.unknown.len()
		sh.mu.Unlock()
	}
	return s
}
