package blackbox

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jetway/test/harness"
)

const loadConns = 4

// load asks for the same thing again and again on loadConns connections. It
// repeats nothing and keeps its connections for as long as it may.
type load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	done   atomic.Int64
	dials  atomic.Int64
	failed atomic.Int64
	first  atomic.Value // string, what failed first
}

// startLoad asks for "/" of host at a port of loopback.
func startLoad(port int, host string) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	request := "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	for range loadConns {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				if err := l.connection(ctx, port, request); err != nil {
					l.failed.Add(1)
					l.first.CompareAndSwap(nil, err.Error())
				}
			}
		})
	}
	return l
}

// connection asks on one connection until it breaks or ctx ends. A load
// balancer that wants to close one must say so in an answer.
func (l *load) connection(ctx context.Context, port int, request string) error {
	l.dials.Add(1)
	conn, err := net.DialTimeout("tcp", harness.Loopback(port), 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := harness.NewClient(conn)
	for ctx.Err() == nil {
		if err := c.Send(request); err != nil {
			return err
		}
		a, err := c.Await("GET", 10*time.Second)
		if err != nil {
			return err
		}
		if a.Status != 200 {
			return fmt.Errorf("status %d:\n%s%s", a.Status, a.Head, a.Body)
		}
		l.done.Add(1)
		if v := harness.Values(a.Fields, "Connection"); len(v) > 0 && v[0] == "close" {
			return nil
		}
	}
	return nil
}

func (l *load) reach(t testing.TB, n int64) {
	t.Helper()
	eventually(t, 20*time.Second, "the load goes on", func() bool { return l.done.Load() >= n })
}

func (l *load) more(t testing.TB, n int64) {
	t.Helper()
	l.reach(t, l.done.Load()+n)
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
