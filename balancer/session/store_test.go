package session

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// key makes a key whose bytes are spread like those of a hash.
func key(n int) (k Key) {
	x := uint64(n)*0x9e3779b97f4a7c15 + 0x1234567
	for i := range 2 {
		x ^= x >> 30
		x *= 0xbf58476d1ce4e5b9
		x ^= x >> 27
		x *= 0x94d049bb133111eb
		x ^= x >> 31
		binary.LittleEndian.PutUint64(k[8*i:], x)
		x += 0x9e3779b97f4a7c15
	}
	return k
}

func newStore(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAgainstMap does at random what requests do and compares with a map.
func TestAgainstMap(t *testing.T) {
	for _, replicated := range []bool{false, true} {
		s := newStore(t, Options{Max: 100_000, Replicated: replicated})
		now := time.Now()
		type model struct {
			member uint64
			until  time.Time
		}
		known := map[Key]model{}
		r := rand.New(rand.NewPCG(1, 2))
		for range 60_000 {
			now = now.Add(time.Duration(r.IntN(3)) * time.Millisecond)
			k := key(r.IntN(1500))
			timeout := time.Duration(1+r.IntN(30)) * time.Second
			m, alive := known[k]
			alive = alive && now.Before(m.until.Add(-unit))
			dead := !now.Before(m.until.Add(unit))
			switch r.IntN(8) {
			case 0, 1:
				m = model{uint64(1 + r.IntN(9)), now.Add(timeout)}
				if !s.Learn(Session{Key: k, Member: m.member, Tenant: uint32(r.IntN(20)), Timeout: timeout}, now) {
					t.Fatal("not learned")
				}
				known[k] = m
			case 2:
				s.Delete(k, now)
				delete(known, k)
			case 3:
				s.Sweep(r.IntN(Shards), 0, now)
			case 4, 5:
				got, ok := s.Use(k, now, timeout)
				if alive && (!ok || got != m.member) || dead && ok {
					t.Fatalf("Use: %d, %v; the map says %d, alive %v", got, ok, m.member, alive)
				}
				if ok {
					known[k] = model{m.member, now.Add(timeout)}
				} else {
					delete(known, k)
				}
			default:
				got, ok := s.Get(k, now)
				if alive && (!ok || got != m.member) || dead && ok {
					t.Fatalf("Get: %d, %v; the map says %d, alive %v", got, ok, m.member, alive)
				}
			}
		}
		checkCounts(t, s)
	}
}

// checkCounts recounts what the store keeps count of.
func checkCounts(t *testing.T, s *Store) {
	t.Helper()
	total, members, tenants := 0, map[uint64]int{}, map[uint32]int{}
	for i := range s.shards {
		sh, digest := &s.shards[i], uint64(0)
		for slot := range sh.top {
			e := sh.at(slot)
			if e.facts&used == 0 {
				continue
			}
			total++
			digest ^= e.sum()
			var k Key
			e.appendKey(&k)
			c, found := sh.find(&k)
			seen, _, sure := sh.glance(&k)
			if found != e || c.slot() != slot || seen == nil || !sure {
				t.Fatalf("shard %d: the entry at slot %d is not found", i, slot)
			}
			if alike := seen.name.Load()&^slotMask == c.name.Load()&^slotMask; seen != c && !alike {
				t.Fatalf("shard %d: a lookup of slot %d finds another session", i, slot)
			}
			if st := c.load(); e.expiry > st.expiry() || e.member != st.row() || e.deleted() != st.deleted() {
				t.Fatalf("shard %d: slot %d: cell and entry differ: %x, %+v", i, slot, st, *e)
			}
			if !e.deleted() {
				members[s.members.id(e.member)]++
				tenants[s.tenants.id(e.tenant)]++
			}
		}
		if digest != sh.digest {
			t.Fatalf("shard %d: digest is %x, expected %x", i, sh.digest, digest)
		}
	}
	if got := s.Stats(); got.Sessions != total || got.Tenants != len(tenants) {
		t.Fatalf("%d sessions of %d tenants, expected %d of %d", got.Sessions, got.Tenants, total, len(tenants))
	}
	for id, n := range members {
		if s.OfMember(id) != n {
			t.Fatalf("member %d has %d sessions, expected %d", id, s.OfMember(id), n)
		}
	}
	for id, n := range tenants {
		if s.OfTenant(id) != n {
			t.Fatalf("tenant %d has %d sessions, expected %d", id, s.OfTenant(id), n)
		}
	}
}

// TestFlood: one tenant floods a full store, and the sessions of the others,
// who are within their share, all stay. 10,000,000 with JETWAY_LONG.
func TestFlood(t *testing.T) {
	const max, others, each = 64_000, 50, 400
	s := newStore(t, Options{Max: max})
	now := time.Now()
	n := 0
	for tenant := range uint32(others) {
		for range each {
			s.Learn(Session{Key: key(n), Member: 1, Tenant: 1 + tenant, Timeout: time.Hour}, now)
			n++
		}
	}
	flood := 200_000
	if os.Getenv("JETWAY_LONG") != "" {
		flood = 10_000_000
	}
	for i := range flood {
		s.Learn(Session{Key: key(n + i), Member: 2, Tenant: 999, Timeout: time.Hour}, now)
	}
	for i := range others * each {
		if _, ok := s.Get(key(i), now); !ok {
			t.Fatalf("session %d of %d of the others is gone", i, others*each)
		}
	}
	if st := s.Stats(); st.Sessions > max {
		t.Fatalf("%d sessions, the cap is %d", st.Sessions, max)
	}
	if got := s.OfTenant(999); got != max-others*each {
		t.Fatalf("the flood has %d sessions, expected what the others left: %d", got, max-others*each)
	}
	checkCounts(t, s)
	// A newcomer gets its share from the flood.
	for i := range 1000 {
		if !s.Learn(Session{Key: key(n + flood + i), Member: 3, Tenant: 500, Timeout: time.Hour}, now) {
			t.Fatal("a tenant within its share was refused")
		}
	}
	if got := s.OfTenant(500); got != 1000 {
		t.Fatalf("the newcomer has %d sessions, expected 1000", got)
	}
}

// TestEvictExpiredFirst: nobody alive is displaced while there is something dead.
func TestEvictExpiredFirst(t *testing.T) {
	s := newStore(t, Options{Max: 64_000})
	now := time.Now()
	for i := range 64_000 {
		timeout := time.Hour
		if i%2 == 0 {
			timeout = time.Second
		}
		s.Learn(Session{Key: key(i), Member: 1, Tenant: uint32(i % 2), Timeout: timeout}, now)
	}
	now = now.Add(time.Minute)
	for i := range 10_000 {
		s.Learn(Session{Key: key(100_000 + i), Member: 1, Tenant: 7, Timeout: time.Hour}, now)
	}
	if got := s.OfTenant(1); got != 32_000 {
		t.Fatalf("%d of 32000 sessions that are alive are left", got)
	}
}

func TestSmallerCap(t *testing.T) {
	s := newStore(t, Options{Max: 10_000})
	now := time.Now()
	for i := range 10_000 {
		s.Learn(Session{Key: key(i), Member: 1, Timeout: time.Hour}, now)
	}
	s.SetMax(5000)
	for i := range 6000 {
		s.Learn(Session{Key: key(20_000 + i), Member: 1, Timeout: time.Hour}, now)
	}
	if st := s.Stats(); st.Sessions != 5000 {
		t.Fatalf("%d sessions, the cap is now 5000", st.Sessions)
	}
	checkCounts(t, s)
}

// TestRunSweeps: what expired is freed within the time that a sweep may take.
func TestRunSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, Options{})
		now := time.Now()
		for i := range 50_000 {
			s.Learn(Session{Key: key(i), Member: 1, Tenant: uint32(i % 100), Timeout: time.Duration(1+i%2*3600) * time.Second}, now)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(sweepWithin + 2*time.Second)
		if st := s.Stats(); st.Sessions != 25_000 || st.Expired != 25_000 {
			t.Errorf("%d sessions, %d expired; expected 25000 of each", st.Sessions, st.Expired)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		checkCounts(t, s)
	})
}

// TestNoAllocations: looking up and sliding cost the collector nothing.
func TestNoAllocations(t *testing.T) {
	s := newStore(t, Options{Replicated: true})
	now := time.Now()
	s.Learn(Session{Key: key(1), Member: 1, Timeout: time.Hour}, now)
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Minute)
		s.Get(key(1), now)
		s.Use(key(1), now, time.Hour)
		s.Get(key(2), now)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestMaxRefused(t *testing.T) {
	if _, err := New(Options{Max: -1}); err == nil {
		t.Fatal("a negative cap was taken")
	}
	if _, err := New(Options{Max: maxEntries + 1}); err == nil {
		t.Fatal("a cap beyond the slot numbers was taken")
	}
}

// TestAlike: keys that a cell cannot tell apart are two sessions all the same
// where more than a lookup is at stake.
func TestAlike(t *testing.T) {
	s := newStore(t, Options{})
	now := time.Now()
	a := key(1)
	b := a
	b[1] ^= 0xff // neither of the shard's bits nor of the tag's
	s.Learn(Session{Key: a, Member: 1, Timeout: time.Hour}, now)
	s.Learn(Session{Key: b, Member: 2, Timeout: time.Hour}, now)
	for k, member := range map[Key]uint64{a: 1, b: 2} {
		if v, ok := s.Look(k, now); !ok || v.Member != member {
			t.Errorf("session of member %d: %+v, %v", member, v, ok)
		}
	}
	s.Delete(a, now)
	if _, ok := s.Look(a, now); ok {
		t.Error("a deleted session is found")
	}
	if v, ok := s.Look(b, now); !ok || v.Member != 2 {
		t.Errorf("the other session: %+v, %v", v, ok)
	}
	s.Delete(b, now)
	if got := s.Stats().Sessions; got != 0 {
		t.Errorf("%d sessions are left", got)
	}
}

// TestSlides: what is asked for in time lives on, whatever its entry says, and
// what is not is freed by the sweep.
func TestSlides(t *testing.T) {
	s := newStore(t, Options{})
	now := time.Now()
	const timeout = time.Minute
	s.Learn(Session{Key: key(1), Member: 1, Timeout: timeout}, now)
	sweep := func() {
		for i := range Shards {
			s.Sweep(i, 0, now)
		}
	}
	for range 100 {
		now = now.Add(timeout - time.Second)
		sweep()
		if _, ok := s.Use(key(1), now, timeout); !ok {
			t.Fatal("it expired")
		}
		now = now.Add(time.Second / 2) // within the grain: only the cell hears of it
		s.Use(key(1), now, timeout)
		now = now.Add(time.Second / 2)
	}
	s.Use(key(1), now, time.Second) // a shorter timeout counts at once
	now = now.Add(2 * time.Second)
	if _, ok := s.Get(key(1), now); ok {
		t.Error("it outlived a timeout that was made shorter")
	}
	sweep()
	if got := s.Stats(); got.Sessions != 0 || got.Expired != 1 {
		t.Errorf("%d sessions, %d expired; expected 0 and 1", got.Sessions, got.Expired)
	}
}

// TestLines: what the requests of one shard read is on no cache line that others
// write, or changes of the shard but for moving cells.
func TestLines(t *testing.T) {
	var sh shard
	if size := unsafe.Sizeof(sh); size%64 != 0 {
		t.Errorf("a shard has %d bytes, expected whole cache lines", size)
	}
	if at := unsafe.Offsetof(sh.live); at != 64 {
		t.Errorf("what changes write begins at %d, expected 64", at)
	}
}
