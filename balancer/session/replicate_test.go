package session

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// pull moves all changes of a shard to another store, by Changes or by Walk
// where those do not reach.
func pull(t *testing.T, from, to *Store, cursors *[Shards]uint64, now time.Time) (walked int) {
	t.Helper()
	buf := make([]Record, 100)
	for i := range Shards {
		for {
			n, upTo, ok := from.Changes(i, cursors[i], now, buf)
			if !ok {
				walked++
				upTo = from.Sequence(i)
				for at, more := uint64(0), true; more; {
					n, at, more = from.Walk(i, at, now, buf)
					to.Apply(buf[:n], now)
				}
				cursors[i] = upTo
				continue
			}
			to.Apply(buf[:n], now)
			cursors[i] = upTo
			if upTo == from.Sequence(i) {
				break
			}
		}
	}
	return walked
}

// TestReplicate: two stores that change at random hold the same once each has
// heard of the other, whatever the order.
func TestReplicate(t *testing.T) {
	a := newStore(t, Options{Node: 1, Replicated: true})
	b := newStore(t, Options{Node: 2, Replicated: true})
	both := []*Store{a, b}
	var ab, ba [Shards]uint64
	now := time.Now()
	r := rand.New(rand.NewPCG(3, 4))
	for range 40 {
		for range 2000 {
			now = now.Add(time.Duration(r.IntN(10)) * time.Millisecond)
			s, k := both[r.IntN(2)], key(r.IntN(3000))
			switch r.IntN(4) {
			case 0:
				s.Delete(k, now)
			case 1:
				s.Use(k, now, time.Hour)
			default:
				s.Learn(Session{Key: k, Member: uint64(1 + r.IntN(5)), Tenant: uint32(r.IntN(5)), Timeout: time.Hour}, now)
			}
		}
		if r.IntN(2) == 0 {
			pull(t, a, b, &ab, now)
		}
		if r.IntN(2) == 0 {
			pull(t, b, a, &ba, now)
		}
	}
	pull(t, a, b, &ab, now)
	pull(t, b, a, &ba, now)
	for i := range Shards {
		if a.Digest(i) != b.Digest(i) {
			t.Fatalf("shard %d: digests differ", i)
		}
	}
	for i := range 3000 {
		m, ok := a.Get(key(i), now)
		n, ok2 := b.Get(key(i), now)
		if m != n || ok != ok2 {
			t.Fatalf("session %d: %d %v here, %d %v there", i, m, ok, n, ok2)
		}
	}
	checkCounts(t, a)
	checkCounts(t, b)
}

// TestDeletedStaysDeleted: a peer that was away brings an old copy back.
func TestDeletedStaysDeleted(t *testing.T) {
	a := newStore(t, Options{Node: 1, Replicated: true})
	b := newStore(t, Options{Node: 2, Replicated: true})
	var ab, ba [Shards]uint64
	now := time.Now()
	a.Learn(Session{Key: key(1), Member: 1, Timeout: time.Minute}, now)
	pull(t, a, b, &ab, now)
	a.Delete(key(1), now.Add(time.Second))
	now = now.Add(50 * time.Second)
	buf := make([]Record, 8)
	shard := int(key0(1) % Shards)
	n, _, _ := b.Walk(shard, 0, now, buf)
	if n != 1 || a.Apply(buf[:n], now) != 0 {
		t.Fatalf("the copy of a deleted session counts: %d records", n)
	}
	if _, ok := a.Get(key(1), now); ok {
		t.Fatal("a deleted session is back")
	}
	pull(t, a, b, &ab, now)
	if _, ok := b.Get(key(1), now); ok {
		t.Fatal("the peer was not told of the end")
	}
	// When nobody can have it any more it is forgotten.
	now = now.Add(time.Minute)
	for i := range Shards {
		a.Sweep(i, 0, now)
	}
	if got := a.Stats().Sessions; got != 0 {
		t.Fatalf("%d entries are left", got)
	}
	pull(t, b, a, &ba, now)
}

func key0(n int) byte { k := key(n); return k[0] }

// TestOrder: rank, then stamp, then origin, in whatever order they come.
func TestOrder(t *testing.T) {
	now := time.Now()
	stamp := uint64(now.UnixMilli()) << 16
	record := func(member uint64, rank uint8, stamp uint64, origin uint32) Record {
		return Record{Key: key(1), Member: member, Rank: rank, Stamp: stamp, Origin: origin, Left: time.Hour, Timeout: time.Hour}
	}
	all := []Record{record(1, 3, stamp, 5), record(2, 3, stamp, 6), record(3, 2, stamp+9, 9), record(4, 3, stamp-1, 9)}
	r := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		s := newStore(t, Options{Node: 1, Replicated: true})
		mixed := slices.Clone(all)
		r.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		for i := range mixed {
			s.Apply(mixed[i:i+1], now)
		}
		if m, _ := s.Get(key(1), now); m != 2 {
			t.Fatalf("member %d won", m)
		}
	}
}

// TestFarClock: a peer whose clock is an hour ahead neither drags ours along
// nor keeps us from changing what it told.
func TestFarClock(t *testing.T) {
	s := newStore(t, Options{Node: 1, Replicated: true})
	now := time.Now()
	far := uint64(now.Add(time.Hour).UnixMilli()) << 16
	s.Apply([]Record{{Key: key(1), Member: 7, Rank: 3, Stamp: far, Origin: 2, Left: time.Hour, Timeout: time.Hour}}, now)
	if s.Stats().ClockAhead != 1 {
		t.Fatal("a far clock went unnoticed")
	}
	s.Learn(Session{Key: key(2), Member: 1, Timeout: time.Hour}, now)
	buf := make([]Record, 8)
	if _, _, ok := s.Changes(int(key0(2)%Shards), 0, now, buf); !ok || buf[0].Stamp > far-uint64(30*time.Minute.Milliseconds())<<16 {
		t.Fatal("the clock was dragged along")
	}
	s.Learn(Session{Key: key(1), Member: 8, Timeout: time.Hour}, now)
	if n, _, _ := s.Changes(int(key0(1)%Shards), 0, now, buf); n == 0 || buf[n-1].Stamp <= far {
		t.Fatal("a change made here is older than what it replaces")
	}
}

// TestCursorFallsOff: a peer that was away for longer than the ring reaches.
func TestCursorFallsOff(t *testing.T) {
	a := newStore(t, Options{Node: 1, Replicated: true})
	b := newStore(t, Options{Node: 2, Replicated: true})
	now := time.Now()
	for i := range Shards * ringSize * 2 {
		a.Learn(Session{Key: key(i % 10_000), Member: uint64(1 + i%7), Timeout: time.Hour}, now)
	}
	var ab [Shards]uint64
	if walked := pull(t, a, b, &ab, now); walked != Shards {
		t.Fatalf("%d shards were walked, expected %d", walked, Shards)
	}
	for i := range Shards {
		if a.Digest(i) != b.Digest(i) {
			t.Fatalf("shard %d: digests differ", i)
		}
	}
}

// TestHostileRecords: whatever a peer tells is bounded.
func TestHostileRecords(t *testing.T) {
	s := newStore(t, Options{Node: 1, Replicated: true, Max: 100})
	now := time.Now()
	f := func(r Record, want int) {
		t.Helper()
		r.Key = key(rand.Int())
		if got := s.Apply([]Record{r}, now); got != want {
			t.Fatalf("%+v: %d applied, expected %d", r, got, want)
		}
	}
	good := Record{Member: 1, Rank: 3, Stamp: 1 << 40, Origin: 2, Left: time.Hour, Timeout: time.Hour}
	f(good, 1)
	bad := good
	bad.Rank = 4
	f(bad, 0)
	bad = good
	bad.Left = -time.Hour
	f(bad, 0)
	bad = good
	bad.Stamp = 0
	f(bad, 0)
	bad = good
	bad.Left, bad.Timeout = 1<<62, time.Minute
	f(bad, 1)
	for i := range Shards {
		s.Sweep(i, 0, now.Add(2*time.Minute))
	}
	if got := s.Stats().Sessions; got != 1 {
		t.Fatalf("%d sessions are left, expected the one of an hour", got)
	}
}

// TestToldInTime: a peer that heard of every change has each session that is
// alive, however often and rarely it is asked for, and hears of it seldom.
func TestToldInTime(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 10 * time.Second, 30 * time.Minute, 40 * time.Hour} {
		a := newStore(t, Options{Node: 1, Replicated: true})
		b := newStore(t, Options{Node: 2, Replicated: true})
		var ab [Shards]uint64
		r := rand.New(rand.NewPCG(7, 8))
		now := time.Now()
		a.Learn(Session{Key: key(1), Member: 1, Timeout: timeout}, now)
		pull(t, a, b, &ab, now)
		began, uses := now, 0
		for ; uses < 3000; uses++ {
			now = now.Add(time.Duration(r.Float64() * r.Float64() * float64(timeout-2*unit)))
			if _, ok := b.Get(key(1), now); !ok {
				t.Fatalf("timeout %s, use %d: the peer has let it expire", timeout, uses)
			}
			if _, ok := a.Use(key(1), now, timeout); !ok {
				t.Fatalf("timeout %s, use %d: expired", timeout, uses)
			}
			pull(t, a, b, &ab, now)
		}
		told := a.Sequence(int(key0(1) % Shards))
		if most := uint64(now.Sub(began)/(timeout/8)) + 2; timeout > 10*time.Second && told > min(most, uint64(uses)*9/10) {
			t.Errorf("timeout %s: told %d times, expected at most %d", timeout, told, most)
		}
		checkCounts(t, a)
	}
}
