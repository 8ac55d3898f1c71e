package tenant

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// Ask implements Directory.
func (c *Cache) Ask(name []byte) (Facts, Outcome) {
	now := time.Now().UnixNano()
	if f, o := c.Lookup(name, now); o != Asking {
		return f, o
	}
	var k key
	sh := c.shard(&k, name)
	sh.mu.Lock()
	fl := sh.flights[string(name)]
	if fl == nil {
		if why := c.mayAsk(now); why != nil {
			sh.mu.Unlock()
			why.Add(1)
			return Facts{}, Failed
		}
		key := string(name)
		fl = &flight{done: make(chan struct{}), outcome: Failed}
		sh.flights[key] = fl
		go c.fly(sh, key, fl)
	}
	sh.mu.Unlock()
	t := time.NewTimer(c.cfg.Timeout)
	defer t.Stop()
	select {
	case <-fl.done:
		return fl.facts, fl.outcome
	case <-t.C:
		c.stats.waitedOut.Add(1)
		return Facts{}, Failed
	}
}

// mayAsk reports whether one more question is allowed, or counts why not. It
// counts the flight in.
func (c *Cache) mayAsk(now int64) (refused *atomic.Uint64) {
	if c.ends.Err() != nil || !c.passable(now) {
		return &c.stats.refusedDown
	}
	if c.flights.Add(1) > flightsMax {
		c.flights.Add(-1)
		return &c.stats.refusedBusy
	}
	if !c.withinRate(now) {
		c.flights.Add(-1)
		return &c.stats.refusedRate
	}
	return nil
}

// passable reports whether the source is up, or down and due for a try, which
// is given out once.
func (c *Cache) passable(now int64) bool {
	till := c.downUntil.Load()
	return till == 0 || now >= till && c.downUntil.CompareAndSwap(till, now+int64(downFor))
}

// withinRate takes one question out of the allowance of a second.
func (c *Cache) withinRate(now int64) bool {
	if c.cfg.Rate <= 0 {
		return true
	}
	step := int64(time.Second) / int64(c.cfg.Rate)
	for {
		due := c.rate.Load()
		next := max(due, now) + step
		if next-now > int64(time.Second) {
			return false
		}
		if c.rate.CompareAndSwap(due, next) {
			return true
		}
	}
}

// fly asks for one name on behalf of the requests that wait for it.
func (c *Cache) fly(sh *cacheShard, name string, fl *flight) {
	ctx, cancel := context.WithTimeout(c.ends, c.cfg.Timeout)
	defer func() {
		cancel()
		sh.mu.Lock()
		delete(sh.flights, name)
		sh.mu.Unlock()
		close(fl.done)
		c.flights.Add(-1)
	}()
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		c.stats.refusedBusy.Add(1)
		return // says nothing about the source
	}
	if ctx.Err() != nil {
		<-c.slots
		c.stats.refusedBusy.Add(1)
		return
	}
	started := time.Now().UnixNano()
	e, err := c.ask(ctx, name)
	if errors.Is(err, ErrNotFound) && !errors.Is(err, ErrRemoved) && !c.trusted(ctx, started) {
		err = errDoubted
	}
	<-c.slots
	fl.facts, fl.outcome = c.enter(name, e, err, false)
}

// trusted reports whether a source that did not have a tenant, asked at
// started, is the right one and whole: it has to have some tenant that is
// known. Without that, somebody with a domain of his own could end in the
// shared one because a table was emptied.
func (c *Cache) trusted(ctx context.Context, started int64) bool {
	if started <= c.foundAt.Load() {
		return true
	}
	if time.Now().UnixNano() < c.doubtTill.Load() {
		return false
	}
	known := c.some(canariesNow, "")
	for _, name := range known {
		switch _, err := c.ask(ctx, name); {
		case err == nil:
			return true
		case !errors.Is(err, ErrNotFound):
			return false
		}
	}
	if len(known) > 0 {
		c.doubt()
	}
	return len(known) == 0
}

// doubt stops believing what the source does not have, for a while.
func (c *Cache) doubt() {
	c.doubtTill.Store(time.Now().UnixNano() + int64(doubtFor))
	c.stats.doubts.Add(1)
}

// ask puts one question to the source and judges its health by the answer.
func (c *Cache) ask(ctx context.Context, name string) (e Entry, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			c.stats.panics.Add(1)
		}
		c.judge(err)
	}()
	c.stats.questions.Add(1)
	started := time.Now().UnixNano()
	defer func() {
		if err == nil && started > c.foundAt.Load() {
			c.foundAt.Store(started)
		}
	}()
	if e, err = c.source.Lookup(ctx, name); err == nil {
		err = e.check()
	}
	return e, err
}

// judge notes what an answer says about the source.
func (c *Cache) judge(err error) {
	switch {
	case err == nil:
		c.stats.found.Add(1)
	case errors.Is(err, ErrNotFound):
		c.stats.notFound.Add(1)
	case c.ends.Err() != nil:
		return // we ended it
	default:
		c.stats.failed.Add(1)
		text := strings.ToValidUTF8(err.Error(), "?")
		c.stats.lastError.Store(&Trouble{time.Now(), text[:min(len(text), 300)]})
		if errors.Is(err, ErrGarbage) {
			c.stats.garbled.Store(true)
			return // it is there: leaving it alone would not help
		}
		if c.failures.Add(1) >= downAfter {
			c.downUntil.Store(time.Now().Add(downFor).UnixNano())
		}
		return
	}
	c.failures.Store(0)
	c.stats.garbled.Store(false)
	if c.downUntil.Load() != 0 {
		c.downUntil.Store(0)
	}
}
