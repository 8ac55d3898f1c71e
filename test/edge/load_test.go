package edge

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jetway/test/harness"
)

// load asks again and again on a few connections, as a well-behaved client
// does: it repeats nothing and dials again only where it was told to.
type load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	done   atomic.Int64
	failed atomic.Int64
	first  atomic.Value // string, what failed first

	mu   sync.Mutex // guards took
	took []time.Duration
}

// startLoad sends the request to addr on n connections, each at most every
// pace; it ends with the test.
func startLoad(t testing.TB, addr, request string, n int, pace time.Duration) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	for range n {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				if err := l.connection(ctx, addr, request, pace); err != nil {
					l.failed.Add(1)
					l.first.CompareAndSwap(nil, err.Error())
				}
			}
		})
	}
	t.Cleanup(func() { l.cancel(); l.wg.Wait() })
	return l
}

func (l *load) connection(ctx context.Context, addr, request string, pace time.Duration) error {
	conn, err := net.DialTimeout("tcp", addr, 30*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := harness.NewClient(conn)
	tick := time.NewTicker(max(pace, time.Microsecond))
	defer tick.Stop()
	for ctx.Err() == nil {
		start := time.Now()
		if err := c.Send(request); err != nil {
			return err
		}
		a, err := c.Await("GET", 10*time.Second)
		if err != nil {
			return err
		}
		if a.Status != 200 {
			return fmt.Errorf("status %d: %s", a.Status, a.Body)
		}
		l.note(time.Since(start))
		if v := harness.Values(a.Fields, "Connection"); len(v) > 0 && v[0] == "close" {
			return nil
		}
		if pace > 0 {
			<-tick.C
		}
	}
	return nil
}

func (l *load) note(took time.Duration) {
	l.done.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = append(l.took, took)
}

// p99 returns the 99th percentile of what was measured since the last call.
func (l *load) p99() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.took
	l.took = nil
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[len(list)*99/100]
}

// reach waits for so many answers in all.
func (l *load) reach(t testing.TB, n int64) {
	t.Helper()
	eventually(t, 20*time.Second, "the load goes on", func() bool { return l.done.Load() >= n })
}

// stopClean ends the load; not one request may have failed.
func (l *load) stopClean(t testing.TB) {
	t.Helper()
	l.cancel()
	l.wg.Wait()
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed, first: %v", n, l.done.Load(), l.first.Load())
	}
}
