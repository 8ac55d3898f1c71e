package tenant

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeSource is a Source that can be made to misbehave.
type fakeSource struct {
	mu      sync.Mutex // guards all below
	tenants map[string]Entry
	err     error
	delay   time.Duration
	version int64

	asked, running, most atomic.Int64
}

func newFakeSource(n int) *fakeSource {
	s := &fakeSource{tenants: map[string]Entry{}}
	for i := 1; i <= n; i++ {
		s.tenants[fmt.Sprintf("t%d", i)] = Entry{ID: ID(i)}
	}
	return s
}

func (s *fakeSource) set(change func(*fakeSource)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *fakeSource) Lookup(ctx context.Context, name string) (Entry, error) {
	s.asked.Add(1)
	n := s.running.Add(1)
	defer s.running.Add(-1)
	for m := s.most.Load(); n > m && !s.most.CompareAndSwap(m, n); m = s.most.Load() {
	}
	s.mu.Lock()
	e, ok := s.tenants[name]
	err, delay := s.err, s.delay
	s.mu.Unlock()
	if delay > 0 {
		select {
		case <-ctx.Done():
			return Entry{}, ctx.Err()
		case <-time.After(delay):
		}
	}
	if err == nil && !ok {
		err = ErrNotFound
	}
	return e, err
}

func (s *fakeSource) Version(context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version, nil
}

func testCacheConfig() CacheConfig {
	return CacheConfig{TTL: time.Minute, NegativeTTL: 10 * time.Second, Timeout: 250 * time.Millisecond,
		Entries: 10_000, Concurrency: 8, Rate: 1_000_000}
}

// inCache runs f with a cache over s in a bubble of its own time.
func inCache(t *testing.T, cfg CacheConfig, s Source, f func(c *Cache)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := NewCache(cfg, s, &Plans{})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { c.Run(ctx); close(ended) }()
		defer func() {
			cancel()
			<-ended // whoever is left after this fails the test
		}()
		f(c)
	})
}

func lookup(c *Cache, name string) (ID, Outcome) {
	f, o := c.Lookup([]byte(name), time.Now().UnixNano())
	return f.ID, o
}

func ask(c *Cache, name string) (ID, Outcome) {
	f, o := c.Ask([]byte(name))
	return f.ID, o
}

func want(t *testing.T, id ID, o Outcome, wantID ID, wantOutcome Outcome) {
	t.Helper()
	if id != wantID || o != wantOutcome {
		t.Fatalf("%d %v, want %d %v", id, o, wantID, wantOutcome)
	}
}

func TestCacheRemembers(t *testing.T) {
	s := newFakeSource(3)
	s.tenants["off"] = Entry{ID: 9, Inactive: true}
	inCache(t, testCacheConfig(), s, func(c *Cache) {
		f := func(got ID, o Outcome, wantID ID, wantO Outcome) { t.Helper(); want(t, got, o, wantID, wantO) }
		id, o := lookup(c, "t1")
		f(id, o, 0, Asking)
		id, o = ask(c, "t1")
		f(id, o, 1, Known)
		id, o = lookup(c, "t1")
		f(id, o, 1, Known)
		id, o = ask(c, "off")
		f(id, o, 9, Inactive)
		id, o = ask(c, "nobody")
		f(id, o, 0, Unknown)
		id, o = lookup(c, "nobody")
		f(id, o, 0, Unknown)
		if n := s.asked.Load(); n > 4 { // one of them to see whether the source is whole
			t.Fatalf("%d questions, want 3", n)
		}
		time.Sleep(11 * time.Second) // the negative answer is old now
		id, o = lookup(c, "nobody")
		f(id, o, 0, Asking)

		s.set(func(s *fakeSource) { s.tenants["t1"] = Entry{ID: 77} })
		time.Sleep(time.Minute)
		id, o = lookup(c, "t1") // stale: served, and refreshed behind it
		f(id, o, 1, Known)
		synctest.Wait()
		id, o = lookup(c, "t1")
		f(id, o, 77, Known)
	})
}

func TestCacheAsksOncePerName(t *testing.T) {
	s := newFakeSource(1)
	s.delay = 100 * time.Millisecond
	inCache(t, testCacheConfig(), s, func(c *Cache) {
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				if id, o := ask(c, "t1"); id != 1 || o != Known {
					t.Errorf("%d %v", id, o)
				}
			})
		}
		wg.Wait()
		if n := s.asked.Load(); n != 1 {
			t.Fatalf("%d questions, want 1", n)
		}
	})
}

// TestCacheSlowSource: nobody waits for more than the deadline, a source that
// is down is left alone, and what is known goes on.
func TestCacheSlowSource(t *testing.T) {
	s := newFakeSource(3)
	inCache(t, testCacheConfig(), s, func(c *Cache) {
		ask(c, "t1")
		s.set(func(s *fakeSource) { s.delay = 10 * time.Second })
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				start := time.Now()
				if _, o := ask(c, fmt.Sprintf("x%d", i)); o != Failed {
					t.Errorf("outcome %v, want failed", o)
				}
				if d := time.Since(start); d > 300*time.Millisecond {
					t.Errorf("waited %v", d)
				}
			})
		}
		wg.Wait()
		if m := s.most.Load(); m > 8+refreshers {
			t.Fatalf("%d questions at a time", m)
		}
		asked, start := s.asked.Load(), time.Now()
		for range 100 {
			if _, o := ask(c, "t2"); o != Failed {
				t.Fatalf("outcome %v", o)
			}
		}
		if d := time.Since(start); d > 10*time.Millisecond || s.asked.Load() > asked+1 {
			t.Fatalf("a source that is down: %v and %d questions for 100 requests", d, s.asked.Load()-asked)
		}
		for range 60 {
			time.Sleep(time.Second)
			if id, o := lookup(c, "t1"); id != 1 || o != Known {
				t.Fatalf("what is known became %d %v", id, o)
			}
			ask(c, "t2")
		}
		if st := c.Status(); st.Up || st.LastError == nil {
			t.Fatalf("%+v", st)
		}
		s.set(func(s *fakeSource) { s.delay = 0 })
		time.Sleep(5 * time.Second)
		id, o := ask(c, "t2")
		want(t, id, o, 2, Known)
		if !c.Status().Up {
			t.Fatal("not up again")
		}
	})
}

func TestCacheGarbage(t *testing.T) {
	s := newFakeSource(2)
	inCache(t, testCacheConfig(), s, func(c *Cache) {
		ask(c, "t1")
		s.set(func(s *fakeSource) { s.tenants["t1"], s.tenants["t2"] = Entry{ID: -1}, Entry{} })
		for range 30 {
			time.Sleep(5 * time.Second)
			if id, o := lookup(c, "t1"); id != 1 || o != Known {
				t.Fatalf("%d %v", id, o)
			}
			if _, o := ask(c, "t2"); o != Failed {
				t.Fatalf("garbage is %v", o)
			}
		}
	})
}

// TestCacheForgets: a tenant that is gone is forgotten, but not because the
// source was emptied.
func TestCacheForgets(t *testing.T) {
	s := newFakeSource(100)
	all := s.tenants
	inCache(t, testCacheConfig(), s, func(c *Cache) {
		use := func() (known int) {
			for i := 1; i <= 100; i++ {
				if _, o := lookup(c, fmt.Sprintf("t%d", i)); o == Known {
					known++
				}
			}
			return known
		}
		for i := 1; i <= 100; i++ {
			ask(c, fmt.Sprintf("t%d", i))
		}
		s.set(func(s *fakeSource) { s.tenants = map[string]Entry{} })
		for range 300 {
			time.Sleep(time.Second)
			if n := use(); n != 100 {
				t.Fatalf("an emptied source left %d of 100", n)
			}
			if _, o := ask(c, "t101"); o != Failed { // may be anybody
				t.Fatalf("an emptied source made %v of a name", o)
			}
		}
		if st := c.Status(); !st.Doubted {
			t.Fatalf("not visible: %+v", st)
		}
		s.set(func(s *fakeSource) { s.tenants = all; delete(all, "t7") })
		for range 120 {
			time.Sleep(time.Second)
			use()
		}
		id, o := ask(c, "t7")
		want(t, id, o, 0, Unknown)
		if n := use(); n != 99 {
			t.Fatalf("%d known, want 99", n)
		}
	})
}

func TestCacheFollowsVersion(t *testing.T) {
	s := newFakeSource(2)
	inCache(t, testCacheConfig(), s, func(c *Cache) {
		ask(c, "t1")
		ask(c, "new")
		time.Sleep(2 * time.Second)
		s.set(func(s *fakeSource) { s.tenants["t1"], s.tenants["new"], s.version = Entry{ID: 5}, Entry{ID: 6}, 2 })
		time.Sleep(2 * time.Second)
		lookup(c, "t1")
		synctest.Wait()
		id, o := lookup(c, "t1")
		want(t, id, o, 5, Known)
		id, o = ask(c, "new")
		want(t, id, o, 6, Known)
	})
}

// TestCacheFlood: unknown names cost constant memory and a bounded number of
// questions, and take nothing from those that are known.
func TestCacheFlood(t *testing.T) {
	cfg := testCacheConfig()
	cfg.Rate, cfg.Entries = 1000, 64*20
	s := newFakeSource(100)
	inCache(t, cfg, s, func(c *Cache) {
		for i := 1; i <= 100; i++ {
			ask(c, fmt.Sprintf("t%d", i))
		}
		const names, seconds = 100_000, 50
		asked := s.asked.Load()
		for i := range names {
			if i%(names/seconds) == 0 {
				time.Sleep(time.Second)
			}
			ask(c, fmt.Sprintf("nobody-%d", i))
		}
		if n := s.asked.Load() - asked; n > 2*(seconds+1)*1000+200 {
			t.Fatalf("%d questions in %d s", n, seconds)
		}
		st := c.Status()
		if st.Unknown > negatives(cfg) || st.Known != 100 || st.RefusedRate == 0 {
			t.Fatalf("%+v", st)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	cfg := testCacheConfig()
	cfg.Entries = cacheShards * 4
	s := newFakeSource(5000)
	inCache(t, cfg, s, func(c *Cache) {
		for i := 1; i <= 5000; i++ {
			if id, o := ask(c, fmt.Sprintf("t%d", i)); int(id) != i || o != Known {
				t.Fatalf("t%d: %d %v", i, id, o)
			}
			if _, o := lookup(c, "t1"); o == Asking { // used all the time
				t.Fatalf("t1 was evicted after %d others", i)
			}
		}
		if n := c.Len(); n > cfg.Entries {
			t.Fatalf("%d entries, the cap is %d", n, cfg.Entries)
		}
	})
}

// TestCacheConcurrently is for the race detector.
func TestCacheConcurrently(t *testing.T) {
	cfg := testCacheConfig()
	cfg.TTL, cfg.Entries = time.Millisecond, 256
	s := newFakeSource(1000)
	c := NewCache(cfg, s, &Plans{})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { c.Run(ctx); close(ended) }()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				n := (i*7+g)%1000 + 1
				if f, o := c.Ask(fmt.Appendf(nil, "t%d", n)); o == Known && int(f.ID) != n {
					t.Errorf("t%d is %d", n, f.ID)
				}
				if i%500 == 0 {
					s.set(func(s *fakeSource) {
						if s.err = nil; i%1000 == 0 {
							s.err = errors.New("down")
						}
					})
				}
			}
		})
	}
	wg.Wait()
	cancel()
	<-ended
}
