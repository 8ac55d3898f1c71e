package session

import "sync"

// entry is one session: 40 bytes without pointers.
type entry struct {
	lo, hi uint64 // the key
	stamp  uint64 // hybrid logical clock of its last change
	member uint32 // row in Store.members; the next free slot where it is not in use
	tenant uint32 // row in Store.tenants, unless it is deleted
	expiry uint32 // in units since Store.start
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
// slot number stays good, and a hash index of slot numbers beside them. A cell
// of the index is 0 or a slot plus 1 with eight bits of the key above, so that
// nearly every entry looked at is the right one. The index is open-addressed
// and as large as the cap will ever need: growing it would keep requests
// waiting.
type shard struct {
	mu       sync.Mutex // guards all below
	cells    []uint32   // made with the first entry
	chunks   [][]entry
	top      uint32 // slots below were in use at least once
	free     uint32 // first of the freed ones, plus 1; 0: none
	hand     uint32 // where eviction looks next
	live     int
	digest   uint64
	sequence uint64
	ring     []uint32 // slots by sequence; nil: changes are not kept track of
	_        [40]byte // keeps two shards' locks off one cache line
}

func (s *Store) shard(k *Key) *shard { return &s.shards[k[0]%Shards] }

// at returns the entry at a slot.
func (sh *shard) at(slot uint32) *entry {
	return &sh.chunks[slot/chunkSlots][slot%chunkSlots]
}

// place and tag use different bits of the key; those of the shard are the
// lowest six of lo.
func place(hi uint64, cells int) int { return int(hi >> 32 * uint64(cells) >> 32) }
func tag(lo uint64) uint32           { return uint32(lo>>12) << 24 }

// lookup returns the slot of a key, or none.
func (sh *shard) lookup(k *Key) uint32 {
	cells := sh.cells
	if len(cells) == 0 {
		return none
	}
	lo, hi := k.lo(), k.hi()
	want := tag(lo)
	for i := place(hi, len(cells)); ; {
		c := cells[i]
		if c == 0 {
			return none
		}
		if c&0xff000000 == want {
			slot := c&0xffffff - 1
			if e := sh.at(slot); e.lo == lo && e.hi == hi {
				return slot
			}
		}
		if i++; i == len(cells) {
			i = 0
		}
	}
}

// find returns the entry of a key, or nil.
func (sh *shard) find(k *Key) *entry {
	if slot := sh.lookup(k); slot != none {
		return sh.at(slot)
	}
	return nil
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
func (s *Store) newCells() []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := cellsFor(s.options.Max)
	if s.cells == nil {
		s.cells = reserve[uint32](s, Shards*n)
	}
	own := s.cells[:n:n]
	s.cells = s.cells[n:]
	return own
}

// cellsFor returns the cells of a shard's index for a cap: a third stay empty
// at the cap, and some more where it is so small that shards differ much.
func cellsFor(cap int) int { return cap/Shards*3/2 + 64 }

// full reports whether the index takes no more, which happens to a shard whose
// share of the keys is far above the others'.
func (sh *shard) full() bool { return len(sh.cells) > 0 && sh.live >= len(sh.cells)*7/8 }

// index enters an entry that is not there yet.
func (sh *shard) index(slot uint32, e *entry) {
	i := place(e.hi, len(sh.cells))
	for sh.cells[i] != 0 {
		if i++; i == len(sh.cells) {
			i = 0
		}
	}
	sh.cells[i] = tag(e.lo) | (slot + 1)
	sh.live++
}

// release ends the use of a slot.
func (sh *shard) release(slot uint32) {
	e := sh.at(slot)
	n := len(sh.cells)
	i := place(e.hi, n)
	for sh.cells[i] != tag(e.lo)|(slot+1) {
		i = (i + 1) % n
	}
	// Close the gap, so that no search ends early (Knuth, The Art of Computer
	// Programming 6.4, algorithm R).
	for j := (i + 1) % n; sh.cells[j] != 0; j = (j + 1) % n {
		home := place(sh.at(sh.cells[j]&0xffffff-1).hi, n)
		if (j-home+n)%n >= (j-i+n)%n {
			sh.cells[i] = sh.cells[j]
			i = j
		}
	}
	sh.cells[i] = 0
	sh.live--
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
