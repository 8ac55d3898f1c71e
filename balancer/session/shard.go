package session

import "sync"

// entry is what else is known of a session: 40 bytes without pointers.
type entry struct {
	lo, hi uint64 // the key
	stamp  uint64 // hybrid logical clock of its last change
	member uint32 // as in the cell; the next free slot where it is not in use
	tenant uint32 // row in Store.tenants, unless it is deleted
	expiry uint32 // at the least: the cell's is the same or later, by less than a grain
	facts  uint32 // used, deleted, rank, origin, timeout
}

// The bits of entry.facts: 17 of timeout in seconds, 11 of origin, 2 of rank,
// and two flags.
const (
	timeoutMask = 1<<17 - 1
	originShift = 17
	originMask  = 1<<11 - 1
	rankShift   = 28
	rankMask    = 3
	deletedBit  = 1 << 30
	used        = 1 << 31
)

// How much an entry is worth: a higher rank wins whatever the clocks say.
const (
	rankSeen = 3 // in an answer of the member
)

func (e *entry) deleted() bool  { return e.facts&deletedBit != 0 }
func (e *entry) rank() uint8    { return uint8(e.facts >> rankShift & rankMask) }
func (e *entry) origin() uint32 { return e.facts >> originShift & originMask }
func (e *entry) setOrigin(row uint32) {
	e.facts = e.facts&^(originMask<<originShift) | row<<originShift
}

const (
	none       = 1<<32 - 1
	chunkSlots = 1 << 10 // entries that a shard takes at a time
	ringSize   = 4 << 10 // changes that a peer may lag behind in a shard
	slotsMax   = 1<<24 - 2
	// regionEntries are taken from the system at a time; touched as they are used.
	regionEntries = 1 << 20
)

// shard is one part of a Store: entries in chunks that never move, so that a
// slot number stays good, and an index of cells beside them, which requests
// read without the lock.
type shard struct {
	index
	mu       sync.Mutex // guards all below, and changes of the index
	chunks   [][]entry
	top      uint32 // slots below were in use at least once
	free     uint32 // first of the freed ones, plus 1; 0: none
	hand     uint32 // where eviction looks next
	digest   uint64
	sequence uint64
	ring     []uint32 // slots by sequence; nil: changes are not kept track of
	_        [32]byte // keeps two shards off one cache line, see TestLines
}

func (s *Store) shard(k *Key) *shard { return &s.shards[k[0]%Shards] }

// at returns the entry at a slot.
func (sh *shard) at(slot uint32) *entry {
	return &sh.chunks[slot/chunkSlots][slot%chunkSlots]
}

// find returns the cell and the entry of a key, or nil; both are good until the
// next one is released.
func (sh *shard) find(k *Key) (*cell, *entry) {
	if len(sh.cells) == 0 {
		return nil, nil
	}
	lo, hi := k.lo(), k.hi()
	for i := place(hi, len(sh.cells)); ; i = sh.next(i) {
		c := &sh.cells[i]
		name := c.name.Load()
		if name == 0 {
			return nil, nil
		}
		if name&^slotMask == tag(lo) {
			if e := sh.at(c.slot()); e.lo == lo && e.hi == hi {
				return c, e
			}
		}
	}
}

// expired reports whether an entry in use is no more at a tick, and then ends
// it for requests, too. What the entry says is put right by the cell where it
// matters, so that few cells are read.
func (sh *shard) expired(slot uint32, e *entry, tick int64) bool {
	if int64(e.expiry) > tick {
		return false
	}
	for c := &sh.cells[sh.of(slot, e)]; ; {
		st := c.load()
		e.expiry = st.expiry()
		if int64(e.expiry) > tick {
			return false
		}
		if c.change(st, st|goneBit) {
			return true
		}
	}
}

// bind writes to both what a change of an entry in use comes to.
func (sh *shard) bind(c *cell, e *entry, expiry uint32) {
	e.expiry = expiry
	c.store(stateOf(expiry, e.member, e.deleted()))
}

// takeLocked returns a slot that is not in use.
func (s *Store) takeLocked(sh *shard) uint32 {
	if sh.free != 0 {
		slot := sh.free - 1
		sh.free = sh.at(slot).member
		return slot
	}
	if sh.top >= slotsMax {
		return none
	}
	if int(sh.top) == len(sh.chunks)*chunkSlots {
		sh.chunks = append(sh.chunks, s.newChunk())
	}
	slot := sh.top
	sh.top++
	return slot
}

// newChunk cuts a chunk off a region that all shards share, so that a few
// sessions do not touch much memory.
func (s *Store) newChunk() []entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.region) < chunkSlots {
		s.region = reserve[entry](s, regionEntries)
	}
	chunk := s.region[:chunkSlots:chunkSlots]
	s.region = s.region[chunkSlots:]
	return chunk
}

// newCells gives a shard its index.
func (s *Store) newCells() []cell {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := cellsFor(s.options.Max)
	if s.cells == nil {
		s.cells = reserve[cell](s, Shards*n)
	}
	own := s.cells[:n:n]
	s.cells = s.cells[n:]
	return own
}

// release ends the use of a slot.
func (sh *shard) release(slot uint32) {
	e := sh.at(slot)
	sh.remove(sh.of(slot, e), func(other uint32) int { return place(sh.at(other).hi, len(sh.cells)) })
	*e = entry{member: sh.free}
	sh.free = slot + 1
}

// changed notes a change made here, for peers to fetch.
func (sh *shard) changed(slot uint32) {
	sh.sequence++
	if sh.ring != nil {
		sh.ring[sh.sequence%ringSize] = slot
	}
}

// hash and unhash keep the digest: the exclusive or over all entries, which no
// order can change.
func (sh *shard) hash(e *entry)   { sh.digest ^= e.sum() }
func (sh *shard) unhash(e *entry) { sh.digest ^= e.sum() }

// sum mixes what two peers must agree on: the stamp stands for the rest.
func (e *entry) sum() uint64 {
	if e.stamp == 0 {
		return 0
	}
	h := e.lo ^ e.stamp*0x9e3779b97f4a7c15
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	h ^= h >> 32
	return h + e.hi
}
