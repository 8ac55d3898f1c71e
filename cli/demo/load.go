package demo

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	loadConns = 8
	loadMin   = 2000
	loadWait  = 15 * time.Second
)

// load is a number of clients that ask for the same thing again and again.
type load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	done   atomic.Int64 // requests finished

	mu     sync.Mutex // guards what follows
	failed int
	first  string         // what the first failure was
	byName map[string]int // answers by member
}

// startLoad begins to ask q on so many connections.
func startLoad(c *client, q question, conns int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, byName: make(map[string]int)}
	for range conns {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				r, err := c.ask(q)
				l.count(r, err)
			}
		})
	}
	return l
}

func (l *load) count(r reply, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.failLocked(err.Error())
	case r.status != 200:
		l.failLocked(fmt.Sprintf("status %d %s", r.status, r.reason))
	default:
		l.byName[r.Name]++
	}
	l.done.Add(1)
}

// failLocked counts a failure.
func (l *load) failLocked(what string) {
	l.failed++
	if l.first == "" {
		l.first = what
	}
}

// reach waits until n requests are done.
func (l *load) reach(ctx context.Context, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, loadWait)
	defer cancel()
	return until(ctx, func() error {
		if done := l.done.Load(); done < n {
			return fmt.Errorf("only %d of %d requests were done in %v", done, n, loadWait)
		}
		return nil
	})
}

// more waits until another n requests are done.
func (l *load) more(ctx context.Context, n int64) error { return l.reach(ctx, l.done.Load()+n) }

// from returns how many requests a member has answered.
func (l *load) from(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byName[name]
}

// answered waits until a member has answered n more requests.
func (l *load) answered(ctx context.Context, name string, n int) error {
	ctx, cancel := context.WithTimeout(ctx, loadWait)
	defer cancel()
	before := l.from(name)
	return until(ctx, func() error {
		if got := l.from(name) - before; got < n {
			return fmt.Errorf("%s answered only %d of %d requests in %v", name, got, n, loadWait)
		}
		return nil
	})
}

// stop ends the load and says what came of it.
func (l *load) stop() string {
	l.cancel()
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := fmt.Sprintf("%d failed", l.failed)
	if l.failed > 0 {
		s += " (" + l.first + ")"
	}
	return s
}
