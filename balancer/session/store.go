// Package session knows which member a client's session belongs to: the table
// of learned sessions, and the seal of cookies that carry it themselves.
//
// Store is the table: sharded, keyed by a keyed hash, without pointers, so that
// ten million sessions cost the garbage collector nothing. It has a hard cap;
// what is over its share of it is displaced first, so that one tenant cannot
// push the others out. Entries carry what replication needs: a hybrid logical
// clock, their origin and how much they are worth. Ring holds the keys of a
// cookie's seal and of the hash. The package knows no HTTP, no routes and no
// peers; only Run starts anything, and it ends with its context.
package session

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Shards is into how many independent parts a Store is cut; all peers agree.
const Shards = 64

// Key is a session's name: a keyed hash of whose session it is and what the
// application calls it. Its bytes are as good as random.
type Key [16]byte

func (k *Key) lo() uint64 { return binary.LittleEndian.Uint64(k[:8]) }
func (k *Key) hi() uint64 { return binary.LittleEndian.Uint64(k[8:]) }

// MemberID is what sessions call a member: equal wherever it is computed, and
// the same again when a member comes back with its identity.
func MemberID(domain, id string) uint64 {
	sum := sha256.Sum256([]byte("member\x00" + domain + "\x00" + id))
	return binary.LittleEndian.Uint64(sum[:])
}

// TenantOf is the Session.Tenant of a tenant's id; 0 is nobody's.
func TenantOf(id int64) uint32 { return uint32(id) ^ uint32(id>>32) }

// NodeID is what sessions call the load balancer that learned them.
func NodeID(node string) uint32 {
	sum := sha256.Sum256([]byte("node\x00" + node))
	return binary.LittleEndian.Uint32(sum[:])
}

// Options are what a Store is made with.
type Options struct {
	// Max is the hard cap in sessions, deleted ones that are remembered
	// included. Default 1,000,000.
	Max int
	// Node is the origin of what is learned here; see NodeID.
	Node uint32
	// Replicated keeps track of changes and remembers deleted sessions for as
	// long as they could come back from a peer.
	Replicated bool
}

// Session is what is learned of one.
type Session struct {
	Key     Key
	Member  uint64 // see MemberID
	Tenant  uint32 // whose share it counts against
	Timeout time.Duration
}

// Store is the table of learned sessions. All methods are safe for concurrent
// use. Times are read from the caller, so that a request reads the clock once.
type Store struct {
	options Options
	start   time.Time // expiry counts from here, by the monotonic clock
	clock   atomic.Uint64
	count   atomic.Int64 // entries in use
	cap     atomic.Int64
	members rows[uint64]
	origins rows[uint32]
	tenants tenantRows
	stats   counters
	shards  [Shards]shard

	mu     sync.Mutex // guards region and cells; taken inside of a shard's
	region []entry    // not given to a shard yet
	cells  []cell     // likewise
}

type counters struct {
	learned, expired, evicted, refused, deleted, applied, stale atomic.Uint64
	clockAhead                                                  atomic.Uint64
}

const (
	defaultMax = 1_000_000
	// maxEntries is what slot numbers of 24 bits in 64 shards allow, with room
	// for an uneven spread.
	maxEntries = 512 << 20
	// unit is the grain of expiry; 32 bits of it are 13 years.
	unit = 100 * time.Millisecond
)

// New returns an empty Store and starts nothing. Memory is taken as sessions
// come.
func New(o Options) (*Store, error) {
	if o.Max == 0 {
		o.Max = defaultMax
	}
	if o.Max < 0 || o.Max > maxEntries {
		return nil, fmt.Errorf("cannot keep %d sessions: expected 1 to %d", o.Max, maxEntries)
	}
	s := &Store{options: o, start: time.Now()}
	s.cap.Store(int64(o.Max))
	s.members.max, s.origins.max = memberRowsMax, originRowsMax
	s.origins.add(o.Node) // row 0: what is learned here
	if o.Replicated {
		for i := range s.shards {
			s.shards[i].ring = make([]uint32, ringSize)
		}
	}
	return s, nil
}

// SetMax changes the cap, up to the one that the Store was made with. A smaller
// one is reached as new sessions displace old ones.
func (s *Store) SetMax(n int) { s.cap.Store(int64(min(max(n, 1), s.options.Max))) }

// tick converts a time into units since the start, rounded down.
func (s *Store) tick(now time.Time) int64 { return int64(now.Sub(s.start) / unit) }

// until converts a time to live at now into an expiry, rounded up.
func (s *Store) until(now time.Time, left time.Duration) uint32 {
	return uint32(min(max(int64((now.Sub(s.start)+left+unit-1)/unit), 0), math.MaxUint32))
}

// Get returns the member of a session that is alive at now. It takes no lock
// but where the session's cell is being changed.
func (s *Store) Get(k Key, now time.Time) (member uint64, ok bool) {
	sh := s.shard(&k)
	_, st, sure := sh.glance(&k)
	if !sure {
		sh.mu.Lock()
		_, st, _ = sh.glance(&k)
		sh.mu.Unlock()
	}
	if !st.alive(s.tick(now)) {
		return 0, false
	}
	return s.members.id(st.row()), true
}

// Sighting is what is known of one session.
type Sighting struct {
	Member  uint64
	Left    time.Duration // that it lives if nobody asks for it
	Timeout time.Duration
	Own     bool // its last change was made here, not learned from a peer
}

// Look is Get with all that is known; nothing is refreshed by it.
func (s *Store) Look(k Key, now time.Time) (v Sighting, ok bool) {
	sh := s.shard(&k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c, e := sh.find(&k)
	if e == nil || !c.load().alive(s.tick(now)) {
		return v, false
	}
	return Sighting{Member: s.members.id(e.member), Timeout: e.timeout(), Own: e.origin() == 0,
		Left: s.start.Add(time.Duration(c.load().expiry()) * unit).Sub(now)}, true
}

// grain is how far the expiry of an entry lags behind its cell's at the most: a
// session that is asked for again and again has its entry touched once in so
// many units.
func grain(timeout time.Duration) uint32 { return uint32(max(timeout/(16*unit), 1)) }

// Use is Get for a request of the session: it lives for timeout from now on.
func (s *Store) Use(k Key, now time.Time, timeout time.Duration) (member uint64, ok bool) {
	sh := s.shard(&k)
	c, st, sure := sh.glance(&k)
	expiry, grain := s.until(now, timeout), grain(timeout)
	for sure {
		if !st.alive(s.tick(now)) {
			return 0, false
		}
		if expiry < st.expiry() || expiry/grain != st.expiry()/grain {
			break
		}
		if expiry == st.expiry() || c.change(st, stateOf(expiry, st.row(), false)) {
			return s.members.id(st.row()), true
		}
		c, st, sure = sh.glance(&k)
	}
	return s.touch(sh, &k, expiry, now, timeout)
}

// touch is Use with the entry. Peers are told before a quarter of the timeout
// went by since they were last; what they are told lives a quarter longer.
func (s *Store) touch(sh *shard, k *Key, expiry uint32, now time.Time, timeout time.Duration) (member uint64, ok bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c, e := sh.find(k)
	if c == nil || !c.load().alive(s.tick(now)) {
		return 0, false
	}
	sh.bind(c, e, expiry)
	due := timeout/4 - time.Duration(grain(timeout))*unit
	if s.options.Replicated && now.UnixMilli()-int64(e.stamp>>16) >= max(int64(due/time.Millisecond), 1) {
		sh.unhash(e)
		e.stamp = s.nextStamp(now, e.stamp)
		e.setTimeout(timeout)
		e.setOrigin(0)
		sh.hash(e)
		sh.changed(c.slot())
	}
	return s.members.id(e.member), true
}

// Learn binds a session to a member, anew or again. false: there was no room
// that its tenant may have.
func (s *Store) Learn(l Session, now time.Time) bool {
	row, ok := s.members.index(l.Member)
	if !ok {
		s.stats.refused.Add(1)
		return false
	}
	sh := s.shard(&l.Key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c, e := sh.find(&l.Key)
	if c == nil {
		if c, e = s.insertLocked(sh, &l.Key, l.Tenant, row, now); c == nil {
			s.stats.refused.Add(1)
			return false
		}
	} else {
		sh.unhash(e)
		s.moveLocked(e, l.Tenant, row)
	}
	e.stamp = s.nextStamp(now, e.stamp)
	e.facts = used | rankSeen<<rankShift
	e.setTimeout(l.Timeout)
	sh.bind(c, e, s.until(now, l.Timeout))
	sh.hash(e)
	sh.changed(c.slot())
	s.stats.learned.Add(1)
	return true
}

// Delete forgets a session that its application ended.
func (s *Store) Delete(k Key, now time.Time) {
	sh := s.shard(&k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c, e := sh.find(&k)
	if e == nil || e.deleted() {
		return
	}
	s.stats.deleted.Add(1)
	if !s.options.Replicated {
		s.freeLocked(sh, c.slot())
		return
	}
	// Remembered until no peer can have it any more.
	sh.unhash(e)
	s.uncount(e)
	e.stamp = s.nextStamp(now, e.stamp)
	e.facts |= deletedBit
	e.setOrigin(0)
	sh.bind(c, e, s.until(now, e.timeout()+e.timeout()/4))
	sh.hash(e)
	sh.changed(c.slot())
}

// nextStamp returns a hybrid logical clock reading (Kulkarni et al. 2014,
// "Logical Physical Clocks"): 48 bits of milliseconds, 16 bits of counter. It
// is above every one given before and above, that of the entry's last change.
func (s *Store) nextStamp(now time.Time, above uint64) uint64 {
	wall := uint64(now.UnixMilli()) << 16
	for {
		last := s.clock.Load()
		next := max(wall, last+1)
		if s.clock.CompareAndSwap(last, next) {
			return max(next, above+1)
		}
	}
}

// moveLocked changes tenant and member of an entry in use.
func (s *Store) moveLocked(e *entry, tenant, row uint32) {
	if !e.deleted() {
		s.uncount(e)
	}
	e.facts &^= deletedBit
	s.tally(e, tenant, row)
}

// tally gives an entry to a tenant and a member and counts it there; uncount
// takes it away.
func (s *Store) tally(e *entry, tenant, row uint32) {
	e.tenant, e.member = s.tenants.enter(tenant), row
	s.members.row(row).count.Add(1)
}

func (s *Store) uncount(e *entry) {
	s.tenants.leave(e.tenant)
	s.members.row(e.member).count.Add(-1)
}

// insertLocked takes a slot and a cell for a new session, displacing another
// one where the store is full; nil where nobody may be displaced for it.
func (s *Store) insertLocked(sh *shard, k *Key, tenant, row uint32, now time.Time) (*cell, *entry) {
	// Two for one where the cap was made smaller, until it is kept.
	for range 2 {
		if (s.count.Load() >= s.cap.Load() || sh.full()) && !s.evictLocked(sh, tenant, now) {
			return nil, nil
		}
	}
	if sh.cells == nil {
		sh.open(s.newCells())
	}
	slot := s.takeLocked(sh)
	if slot == none {
		return nil, nil
	}
	s.count.Add(1)
	e := sh.at(slot)
	*e = entry{lo: k.lo(), hi: k.hi(), facts: used}
	s.tally(e, tenant, row)
	return sh.add(slot, e), e
}

// freeLocked ends an entry.
func (s *Store) freeLocked(sh *shard, slot uint32) {
	e := sh.at(slot)
	sh.unhash(e)
	if !e.deleted() {
		s.uncount(e)
	}
	sh.release(slot)
	s.count.Add(-1)
}

// Stats are the numbers of a Store.
type Stats struct {
	Sessions   int    // alive, deleted ones that are remembered included
	Max        int    // hard cap
	Learned    uint64 // bound or bound again
	Expired    uint64 // ended by their timeout
	Evicted    uint64 // displaced at the cap
	Refused    uint64 // not learned: the tenant has its share, or there are too many members
	Deleted    uint64 // ended by their application
	Applied    uint64 // taken over from peers
	Stale      uint64 // told by peers, but known better here
	ClockAhead uint64 // told by peers with a clock too far ahead
	Tenants    int    // that have sessions
}

// Stats returns the numbers as they are.
func (s *Store) Stats() Stats {
	c := &s.stats
	return Stats{Sessions: int(s.count.Load()), Max: int(s.cap.Load()), Learned: c.learned.Load(), Expired: c.expired.Load(),
		Evicted: c.evicted.Load(), Refused: c.refused.Load(), Deleted: c.deleted.Load(), Applied: c.applied.Load(),
		Stale: c.stale.Load(), ClockAhead: c.clockAhead.Load(), Tenants: s.tenants.len()}
}

// OfMember returns how many sessions a member has.
func (s *Store) OfMember(id uint64) int {
	if row, ok := s.members.known(id); ok {
		return int(s.members.row(row).count.Load())
	}
	return 0
}

// OfTenant returns how many sessions a tenant has.
func (s *Store) OfTenant(tenant uint32) int {
	_, n := s.tenants.find(tenant)
	return n
}
