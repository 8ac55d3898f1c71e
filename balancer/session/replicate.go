package session

import "time"

// Record is a session as peers tell each other.
type Record struct {
	Key     Key
	Member  uint64
	Tenant  uint32        // 0 where it is deleted
	Stamp   uint64        // hybrid logical clock: 48 bits of unix milliseconds, 16 of counter
	Origin  uint32        // NodeID of who changed it last
	Rank    uint8         // a higher one wins, then the newer stamp, then the higher origin
	Deleted bool          // its application ended it
	Left    time.Duration // to live
	Timeout time.Duration // what a request renews it to, in whole seconds
}

const (
	// clockAheadMax is how far a peer's clock may run ahead without notice.
	clockAheadMax = 500 * time.Millisecond
)

// Sequence returns the number of the newest change made here in a shard. It
// only grows.
func (s *Store) Sequence(shard int) uint64 {
	sh := &s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.sequence
}

// Changes fills dst with sessions as they are now that were changed here after
// a sequence number, and returns up to which one it came. One that changed
// twice may come twice. ok is false where after lies further back than is kept
// track of: Walk tells it all.
func (s *Store) Changes(shard int, after uint64, now time.Time, dst []Record) (n int, upTo uint64, ok bool) {
	sh := &s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if after > sh.sequence || sh.sequence-after > ringSize || sh.ring == nil && after != sh.sequence {
		return 0, after, false
	}
	dst = dst[:min(len(dst), sweepStep)]
	for upTo = after; upTo < sh.sequence && n < len(dst); {
		upTo++
		if s.recordLocked(sh, sh.ring[upTo%ringSize], now, &dst[n]) {
			n++
		}
	}
	return n, upTo, true
}

// Walk fills dst with the sessions of a shard, whoever learned them, from a
// position on, 0 at first. It returns where to go on; more is false at the
// end. What changes meanwhile is among the Changes since before the first call.
func (s *Store) Walk(shard int, from uint64, now time.Time, dst []Record) (n int, next uint64, more bool) {
	sh := &s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	slot := uint32(min(from, slotsMax))
	end := min(slot+sweepStep, sh.top)
	for ; slot < end && n < len(dst); slot++ {
		if s.recordLocked(sh, slot, now, &dst[n]) {
			n++
		}
	}
	return n, uint64(slot), slot < sh.top
}

// recordLocked fills r; false where the slot is not in use or has expired.
func (s *Store) recordLocked(sh *shard, slot uint32, now time.Time, r *Record) bool {
	e := sh.at(slot)
	if e.facts&used == 0 {
		return false
	}
	left := s.start.Add(time.Duration(sh.cells[sh.of(slot, e)].load().expiry()) * unit).Sub(now)
	if left <= 0 {
		return false
	}
	*r = Record{Member: s.members.id(e.member), Stamp: e.stamp, Origin: s.origins.id(e.origin()),
		Rank: e.rank(), Deleted: e.deleted(), Left: left, Timeout: e.timeout()}
	if !r.Deleted {
		r.Tenant = s.tenants.id(e.tenant)
		r.Left += r.Timeout / 4 // until a refresh is told
	}
	e.appendKey(&r.Key)
	return true
}

func (e *entry) appendKey(k *Key) {
	for i := range 8 {
		k[i], k[8+i] = byte(e.lo>>(8*i)), byte(e.hi>>(8*i))
	}
}

// Apply takes over what a peer tells, as far as it is not known better here,
// and returns how many did change something.
func (s *Store) Apply(records []Record, now time.Time) (changed int) {
	for i := range records {
		if s.apply(&records[i], now) {
			changed++
		}
	}
	s.stats.applied.Add(uint64(changed))
	s.stats.stale.Add(uint64(len(records) - changed))
	return changed
}

func (s *Store) apply(r *Record, now time.Time) bool {
	s.observe(r.Stamp, now)
	most := r.Timeout + r.Timeout/4 + time.Second
	left := min(r.Left, most)
	row, ok := s.members.index(r.Member)
	origin, known := s.origins.index(r.Origin)
	if left <= 0 || r.Rank > rankMask || r.Stamp == 0 || !ok || !known {
		return false
	}
	sh := s.shard(&r.Key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c, e := sh.find(&r.Key)
	if c == nil {
		if c, e = s.insertLocked(sh, &r.Key, r.Tenant, row, now); c == nil {
			s.stats.refused.Add(1)
			return false
		}
	} else {
		if int64(c.load().expiry()) > s.tick(now) && !newer(r, e, s.origins.id(e.origin())) {
			return false
		}
		sh.unhash(e)
		s.moveLocked(e, r.Tenant, row)
	}
	e.stamp = r.Stamp
	e.facts = used | uint32(r.Rank)<<rankShift | origin<<originShift
	e.setTimeout(r.Timeout)
	if r.Deleted {
		s.uncount(e)
		e.facts |= deletedBit
	}
	sh.bind(c, e, s.until(now, left))
	sh.hash(e)
	return true
}

// newer reports whether a record wins over an entry.
func newer(r *Record, e *entry, origin uint32) bool {
	switch {
	case r.Rank != e.rank():
		return r.Rank > e.rank()
	case r.Stamp != e.stamp:
		return r.Stamp > e.stamp
	}
	return r.Origin > origin
}

// observe moves the clock to what a peer has seen. One that runs far ahead is
// followed only so far: its stamps stand as they are, and a change made here
// gets a later one all the same.
func (s *Store) observe(stamp uint64, now time.Time) {
	most := uint64(now.Add(clockAheadMax).UnixMilli()) << 16
	if stamp > most {
		s.stats.clockAhead.Add(1)
		stamp = most
	}
	for {
		last := s.clock.Load()
		if last >= stamp || s.clock.CompareAndSwap(last, stamp) {
			return
		}
	}
}

// Digest returns the exclusive or over what a shard holds: two peers with the
// same sessions have the same, but for those that one has not heard of yet or
// has let expire.
func (s *Store) Digest(shard int) uint64 {
	sh := &s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.digest
}
