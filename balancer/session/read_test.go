package session

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestReadersBesideWriters: lookups never find another session's member while
// slots and cells change hands beside them.
func TestReadersBesideWriters(t *testing.T) {
	s := newStore(t, Options{Max: 2000, Replicated: true})
	start := time.Now()
	member := func(n int) uint64 { return uint64(1 + n%97) }
	const keys, rounds = 6000, 30_000
	var writers, readers sync.WaitGroup
	var done atomic.Bool
	var found atomic.Int64
	for w := range 2 {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range rounds {
				n, now := r.IntN(keys), start.Add(time.Duration(i)*time.Millisecond)
				switch r.IntN(8) {
				case 0:
					s.Delete(key(n), now)
				case 1:
					s.Sweep(r.IntN(Shards), 0, now)
				case 2:
					s.Apply([]Record{{Key: key(n), Member: member(n), Tenant: 7, Stamp: uint64(now.UnixMilli()) << 16,
						Origin: 9, Rank: rankSeen, Left: time.Second, Timeout: time.Second}}, now)
				default:
					s.Learn(Session{Key: key(n), Member: member(n), Tenant: uint32(n % 5), Timeout: time.Second}, now)
				}
			}
		})
	}
	for w := range 2 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(w)))
			for !done.Load() {
				n := r.IntN(keys)
				got, ok := s.Get(key(n), start)
				if n%3 == 0 {
					got, ok = s.Use(key(n), start, time.Second)
				}
				if ok && got != member(n) {
					t.Errorf("session %d is at %d, expected %d", n, got, member(n))
					return
				}
				if ok {
					found.Add(1)
				}
			}
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
	if found.Load() == 0 {
		t.Error("no lookup found anything")
	}
	checkCounts(t, s)
}

// TestNeverMissed: a session that is there is found at every moment, and slides,
// while others of its shard come and go and cells are moved beside it.
func TestNeverMissed(t *testing.T) {
	s := newStore(t, Options{Max: 64 * 300, Replicated: true})
	now := time.Now()
	var keys []Key // of one shard, whose index is as full as it gets
	for n := 0; len(keys) < 340; n++ {
		if k := key(n); k[0]%Shards == 0 {
			keys = append(keys, k)
		}
	}
	stay, come := keys[:150], keys[150:]
	for i, k := range stay {
		s.Learn(Session{Key: k, Member: uint64(1 + i%7), Timeout: time.Hour}, now)
	}
	var readers, writers sync.WaitGroup
	var done atomic.Bool
	for w := range 2 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(3, uint64(w)))
			for at := now; !done.Load(); at = at.Add(time.Millisecond) {
				i := r.IntN(len(stay))
				member, ok := s.Use(stay[i], at, time.Hour)
				if r.IntN(2) == 0 {
					member, ok = s.Get(stay[i], at)
				}
				if !ok || member != uint64(1+i%7) {
					t.Errorf("session %d: member %d, %v", i, member, ok)
					return
				}
			}
		})
	}
	for w := range 2 {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(4, uint64(w)))
			for range 100_000 {
				k := come[r.IntN(len(come))]
				if r.IntN(2) == 0 {
					s.Learn(Session{Key: k, Member: 9, Timeout: time.Second}, now)
					continue
				}
				sh := s.shard(&k)
				sh.mu.Lock()
				if c, _ := sh.find(&k); c != nil {
					s.freeLocked(sh, c.slot())
				}
				sh.mu.Unlock()
			}
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
	checkCounts(t, s)
}
