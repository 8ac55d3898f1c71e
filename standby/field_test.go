package standby

import (
	"errors"
	"testing"
	"time"

	"jetway/balancer/session"
)

// What went wrong with others in the field, and which test says that it does
// not go wrong here. The first column is where it was seen.
//
//	HAProxy f2d7aa840: one side bounded its turns, the other did     TestTurnsAreBounded, TestReadFrame, session.TestHostileRecords
//	  not: a megabyte of updates in one go
//	HAProxy b3ad7b637, ded2110ec: requests waited for locks of the    TestSlowPeerCostsNothing, TestBadLinks, TestCopy
//	  synchronisation
//	HAProxy #1770: teaching a whole table held the lock that          TestWalkInSlices, tenant.TestAnswersWalk
//	  requests need
//	HAProxy b02b8453d: a wrong clock taught lifetimes of the far      TestWrongClock, TestSimulation (clocks jump), session.TestFarClock
//	  future; NGINX zone_sync: the newest wall clock wins, so NTP
//	HAProxy #3161: the touch of an entry learned from a peer was      TestTouchReachesOthers
//	  not told to others
//	HAProxy #3161: old values of a peer replaced newer local ones     TestOldValueStaysOld, session.TestOrder, TestSimulation
//	HAProxy #1216: ten reloads a second lost the whole table          TestRestartStorm
//	HAProxy 590c5ff2e: a whole copy held up changes and acks          TestChangesPassCopies
//	HAProxy: declares itself up to date though it learned nothing;    TestMesh, test/standby TestPair (warm, --require-warm)
//	  NGINX zone_sync: there is no such state
//	HAProxy: members by number, so configurations must be alike       session.MemberID: hashes of names; test/standby TestFailover
//	NGINX zone_sync: no deletion                                      TestCutAnywhere, session.TestDeletedStaysDeleted, TestSimulation
//	NGINX zone_sync: polls once a second                              TestLag
//	Envoy: clients aim at members by their cookie                     session.TestForged, TestSealVectors
//	Traefik: the cookie had no version                                session.TestSealVectors, TestKeys
//	Seesaw: a bounded queue that overflows must lead to a whole       session.TestCursorFallsOff, TestBadLinks, TestAnswersWalk
//	  copy; a new master must not start blind                         test/standby TestFailoverModes (ejection, drain, weight)
//	MetalLB layer 2: a split view, two owners or none                 test/standby TestFailover (split)
//	MetalLB BGP: flows rehash between load balancers                  test/standby TestPair: every peer serves every session
//	kube-vip: switches forget the address                             "jetway keepalived": garp_master_refresh; TestFailoverModes (keepalived -t)
//	keepalived: an instance that was late resumes                     test/standby TestFailover (stopped)
//	keepalived: an advert waits for the CPU                           "jetway keepalived": vrrp_rt_priority, vrrp_rlimit_rttime
//	Skipper, Alertmanager: gossip for large or shared state           own connections; gossip only finds peers: TestFailoverModes
//	WSO2 ELB: one message per session, the whole map per cycle        TestTurnsAreBounded (512 records a frame), TestLag
//	WSO2 ELB: only the coordinator scales                             TestMesh (who acts), test/autoscale
//	one balancer with a bad uplink ejects everybody for all           balancer.TestOperatorsAndPeers: 10 s; max_ejected counts it
//	the last figure of a dead balancer counts for ever                cli everybodysLoad: Mesh.Live and 10 s; TestFailoverModes
//	a gossip key opens the stream                                     TestRefused, TestReplay, TestCertificates, test/standby TestStranger
//	two versions of a configuration with the same number              TestConfigState, test/standby TestConfigVersions
//	a slow start that begins again, or is forgotten                   cli.TestMemberSync, balancer.TestBirths
//	a directory that is down at the moment of a take-over             test/standby TestTenantsOfPeers

// between joins two tables in virtual time, as peers whose memories they keep.
func between(a, b *session.Store, ma, mb *memory, now time.Time, rate int64) *pipeline {
	ka, kb := Sessions(a), Sessions(b)
	clock, status := NewClock(), func() Status { return Status{} }
	hello := func(node string, generation uint64, k Kind) *hello {
		return &hello{node: node, generation: generation, kinds: []kindShards{{k.ID, uint16(k.Shards())}}}
	}
	return &pipeline{now: now, ends: [2]*link{
		newLink([]Kind{ka}, hello("b", mb.generation, kb), ma.generation, mb, status, clock, rate, now),
		newLink([]Kind{kb}, hello("a", ma.generation, ka), mb.generation, ma, status, clock, rate, now)}}
}

// join is between for two that have never met.
func join(a, b *session.Store, now time.Time, rate int64) *pipeline {
	return between(a, b, newMemory(1), newMemory(2), now, rate)
}

// TestTurnsAreBounded: no frame holds more than its share, a peer that does not
// acknowledge gets no more than some of them, and more than that from a peer is
// refused.
func TestTurnsAreBounded(t *testing.T) {
	now := time.Now()
	a, b := tableOf(t, "a", 100_000), tableOf(t, "b", 100_000)
	for n := range 60_000 {
		learn(a, n, now)
	}
	p := join(a, b, now, 1<<30)
	p.exchange(t, 2) // both have said how far they are
	frames, bytes := 0, 0
	for range 10_000 { // nothing comes back
		p.now = p.now.Add(5 * time.Millisecond)
		f := p.ends[0].next(p.now)
		if f == nil {
			continue
		}
		if len(f) > frameHead+frameMax {
			t.Fatalf("a frame of %d bytes", len(f))
		}
		if ft := frameType(f[4]); ft == frameChunk || ft == frameDelta {
			frames++
			bytes += len(f)
		}
	}
	if frames > framesMax || bytes > framesMax*(batchBytes+1024) {
		t.Errorf("%d frames with %d bytes went to a peer that takes none", frames, bytes)
	}
	var w writer
	at := w.begin(frameChunk)
	w.u8(uint8(KindSessions))
	w.u16(0)
	w.u8(0)
	w.u16(batchRecords + 1)
	w.end(at)
	if err := p.ends[1].receive(p.now, frameChunk, w.b[frameHead:]); !errors.Is(err, errFrame) {
		t.Errorf("a frame of %d records: %v", batchRecords+1, err)
	}
}

// TestSlowPeerCostsNothing: what a peer does not take is kept nowhere, and once
// it takes again it has everything.
func TestSlowPeerCostsNothing(t *testing.T) {
	now := time.Now()
	a, b := tableOf(t, "a", 100_000), tableOf(t, "b", 100_000)
	p := join(a, b, now, 1<<30)
	p.exchange(t, 20)
	held := 0
	for n := range 50_000 { // far more than changes are remembered
		learn(a, n, now)
		if n%100 == 0 {
			p.now = p.now.Add(5 * time.Millisecond)
			if f := p.ends[0].next(p.now); f != nil {
				held += len(f) // lost on the way: the connection is dead, and nobody has noticed
			}
		}
	}
	if cap(p.ends[0].out) > 2*(frameMax+frameHead) {
		t.Errorf("the link holds %d bytes", cap(p.ends[0].out))
	}
	if held > framesMax*(batchBytes+1024) {
		t.Errorf("%d bytes went to a peer that does not answer", held)
	}
	p = between(a, b, newMemory(1), newMemory(2), p.now, 1<<30)
	p.exchange(t, 400)
	if !equal(a, b) {
		t.Error("after the next connection the tables differ")
	}
}

// TestWalkInSlices: a call looks at a bounded part of a table however empty
// that is, because requests may want its lock.
func TestWalkInSlices(t *testing.T) {
	now := time.Now()
	a := tableOf(t, "a", 1_000_000)
	for n := range 400_000 {
		learn(a, n, now)
	}
	calls, seen := 0, 0
	var list [8]session.Record
	for at, more := uint64(0), true; more; calls++ {
		var n int
		// So late that nothing is left: only the looking costs.
		n, at, more = a.Walk(0, at, now.Add(24*time.Hour), list[:])
		seen += n
	}
	if seen > 0 || calls < 3 {
		t.Errorf("a shard of some 6,000 slots took %d calls, which found %d", calls, seen)
	}
}

// TestWrongClock: lifetimes travel as time remaining and are clamped, so that a
// teacher whose clock is a year ahead neither prolongs nor ends anything.
func TestWrongClock(t *testing.T) {
	now := time.Now()
	a, b := tableOf(t, "a", 1000), tableOf(t, "b", 1000)
	ahead := now.Add(365 * 24 * time.Hour)
	for n := range 20 {
		learn(a, n, ahead) // its time, and its stamps
	}
	records := make([]session.Record, 100)
	for shard := range session.Shards {
		n, _, _ := a.Walk(shard, 0, ahead, records)
		b.Apply(records[:n], now)
	}
	for n := range 20 {
		if _, ok := b.Get(sessionKey(n), now.Add(9*time.Minute)); !ok {
			t.Fatalf("session %d is gone before its time", n)
		}
		if _, ok := b.Get(sessionKey(n), now.Add(13*time.Minute)); ok { // 10 min, and a quarter until a refresh is told
			t.Fatalf("session %d outlives its time", n)
		}
	}
	b.Delete(sessionKey(1), now) // a change made here after it was seen is newer, whatever the clocks say
	for shard := range session.Shards {
		n, _, _ := a.Walk(shard, 0, ahead, records)
		b.Apply(records[:n], now)
	}
	if _, ok := b.Get(sessionKey(1), now); ok {
		t.Error("a deletion lost against an older record of a clock that is ahead")
	}
}

// TestTouchReachesOthers: the refresh of a session that was learned from a peer
// is told to every other one.
func TestTouchReachesOthers(t *testing.T) {
	now := time.Now()
	a, b, c := tableOf(t, "a", 1000), tableOf(t, "b", 1000), tableOf(t, "c", 1000)
	learn(a, 1, now)
	ab, bc, ac := join(a, b, now, 1<<30), join(b, c, now, 1<<30), join(a, c, now, 1<<30)
	all := func(steps int) {
		for range steps {
			ab.exchange(t, 1)
			bc.exchange(t, 1)
			ac.exchange(t, 1)
		}
	}
	all(20)
	later := now.Add(8 * time.Minute)
	for _, s := range []*session.Store{a, b, c} {
		if _, ok := s.Get(sessionKey(1), later); !ok {
			t.Fatal("it was not learned everywhere")
		}
	}
	if _, ok := b.Use(sessionKey(1), later, 10*time.Minute); !ok {
		t.Fatal("b does not have it")
	}
	all(20)
	for name, s := range map[string]*session.Store{"a": a, "c": c} {
		// The store's own clock is not moved: what it was told of is fresh until
		// ten minutes from now, and a quarter.
		if s.Digest(0) != b.Digest(0) || !equal(s, b) {
			t.Errorf("%s has not heard of the touch", name)
		}
	}
}

// TestOldValueStaysOld: what a peer remembers of before does not replace what
// was changed here since.
func TestOldValueStaysOld(t *testing.T) {
	now := time.Now()
	a, b := tableOf(t, "a", 1000), tableOf(t, "b", 1000)
	move := func(s *session.Store, member string, at time.Time) {
		s.Learn(session.Session{Key: sessionKey(1), Member: session.MemberID("as.domain", member), Timeout: 10 * time.Minute}, at)
	}
	move(a, "w1", now)
	p := join(a, b, now, 1<<30)
	p.exchange(t, 20)
	move(b, "w2", now.Add(time.Second)) // while a is away
	a = tableOf(t, "a", 1000)           // and comes back with what it had
	move(a, "w1", now)
	p = between(a, b, newMemory(3), newMemory(2), p.now, 1<<30)
	p.exchange(t, 20)
	for name, s := range map[string]*session.Store{"a": a, "b": b} {
		if m, ok := s.Get(sessionKey(1), now); !ok || m != session.MemberID("as.domain", "w2") {
			t.Errorf("%s went back to the old member", name)
		}
	}
}

// TestRestartStorm: a peer that restarts again and again while it is being
// taught takes nothing from the other, and has everything in the end.
func TestRestartStorm(t *testing.T) {
	now := time.Now()
	a := tableOf(t, "a", 20_000)
	for n := range 5000 {
		learn(a, n, now)
	}
	ma := newMemory(1)
	var b *session.Store
	for restart := range 20 {
		b = tableOf(t, "b", 20_000)
		mb := newMemory(uint64(100 + restart))
		p := between(a, b, ma, mb, now, 64<<10)
		steps := 10 + restart // a tenth of a second
		if restart == 19 {
			steps = 3000
		}
		p.exchange(t, steps)
		now = p.now
	}
	for n := range 5000 {
		_, here := a.Get(sessionKey(n), now)
		_, there := b.Get(sessionKey(n), now)
		if !here || !there {
			t.Fatalf("session %d: %v at the teacher, %v at the last one", n, here, there)
		}
	}
}

// TestChangesPassCopies: a change does not wait behind a whole copy, however
// long that takes.
func TestChangesPassCopies(t *testing.T) {
	now := time.Now()
	a, b := tableOf(t, "a", 200_000), tableOf(t, "b", 200_000)
	for n := range 100_000 {
		learn(a, n, now)
	}
	p := join(a, b, now, 1<<20) // a copy of some seconds
	p.exchange(t, 100)
	worst := 0
	for n := range 50 {
		learn(a, 1_000_000+n, now)
		steps := 0
		for ; steps < 400; steps++ {
			p.exchange(t, 1)
			if _, ok := b.Get(sessionKey(1_000_000+n), now); ok {
				break
			}
		}
		worst = max(worst, steps+1)
	}
	if p.ends[1].learnedAll() {
		t.Fatal("the copy was over before anything was measured")
	}
	if took := time.Duration(worst) * 5 * time.Millisecond; took > 100*time.Millisecond {
		t.Errorf("a change took %v beside a copy", took)
	}
}
