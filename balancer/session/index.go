package session

import "sync/atomic"

// cell is what requests read of a session, 16 bytes of the hash index, so that
// a lookup reads one place of memory and waits for nobody.
type cell struct {
	name  atomic.Uint64 // 40 bits of the key, 24 of the slot's number plus 1; 0: empty
	state atomic.Uint64 // a state; 0: being written
}

// state is the expiry of a session in units since Store.start, and the row of
// its member; goneBit where it is deleted. boundBit sets it apart from none.
type state uint64

const (
	slotMask = 1<<24 - 1
	goneBit  = 1 << 31
	boundBit = 1 << 30
)

func stateOf(expiry, row uint32, deleted bool) state {
	st := state(expiry)<<32 | state(row) | boundBit
	if deleted {
		st |= goneBit
	}
	return st
}

func (st state) expiry() uint32        { return uint32(st >> 32) }
func (st state) row() uint32           { return uint32(st) &^ (goneBit | boundBit) }
func (st state) deleted() bool         { return st&goneBit != 0 }
func (st state) alive(tick int64) bool { return !st.deleted() && int64(st.expiry()) > tick }

func (c *cell) load() state                { return state(c.state.Load()) }
func (c *cell) store(st state)             { c.state.Store(uint64(st)) }
func (c *cell) change(from, to state) bool { return c.state.CompareAndSwap(uint64(from), uint64(to)) }
func (c *cell) slot() uint32               { return uint32(c.name.Load()&slotMask) - 1 }

// index finds the cells of a shard's sessions: open-addressed, and as large as
// the cap will ever need, because growing it would keep requests waiting. It is
// changed under the shard's lock and read by requests without. A cell that
// changes hands has no state meanwhile, and moves is odd while cells are moved:
// who meets either, or finds nothing while moves has changed, asks again under
// the lock.
type index struct {
	ready atomic.Bool // cells are there
	moves atomic.Uint32
	cells []cell   // written once, before ready
	_     [32]byte // keeps what requests read off the cache line that each change writes
	live  int      // guarded by the shard's lock
}

// place and tag use different bits of the key; those of the shard are the
// lowest six of lo.
func place(hi uint64, cells int) int { return int(hi >> 32 * uint64(cells) >> 32) }
func tag(lo uint64) uint64           { return lo &^ slotMask }

// cellsFor returns the cells of a shard's index for a cap: a sixth stay empty
// at the cap, and some more where it is so small that shards differ much.
func cellsFor(cap int) int { return cap/Shards*6/5 + 64 }

// open gives the index its cells.
func (x *index) open(cells []cell) {
	x.cells = cells
	x.ready.Store(true)
}

// full reports whether the index takes no more, which happens to a shard whose
// share of the keys is far above the others'.
func (x *index) full() bool { return len(x.cells) > 0 && x.live >= len(x.cells)*7/8 }

// glance returns the cell of a key and its state, without a lock and without a
// look at the entry; nil without one. Among the few cells of one place and
// shard, 40 bits of a keyed hash leave another session one chance in 10^11 to
// be taken for it. sure is false where the cells were being changed.
func (x *index) glance(k *Key) (c *cell, st state, sure bool) {
	if !x.ready.Load() {
		return nil, 0, true
	}
	before := x.moves.Load()
	cells, want := x.cells, tag(k.lo())
	for i := place(k.hi(), len(cells)); ; {
		c := &cells[i]
		name := c.name.Load()
		if name == 0 {
			return nil, 0, before&1 == 0 && x.moves.Load() == before
		}
		if name&^slotMask == want {
			st := c.load()
			return c, st, st != 0 && c.name.Load() == name
		}
		if i++; i == len(cells) {
			i = 0
		}
	}
}

// next is the place after i.
func (x *index) next(i int) int {
	if i++; i < len(x.cells) {
		return i
	}
	return 0
}

// of returns the place of an entry that is in the index.
func (x *index) of(slot uint32, e *entry) int {
	i := place(e.hi, len(x.cells))
	for name := tag(e.lo) | uint64(slot+1); x.cells[i].name.Load() != name; {
		i = x.next(i)
	}
	return i
}

// add enters an entry that is not there yet. Until it has a state, requests
// that come upon it wait for the lock.
func (x *index) add(slot uint32, e *entry) *cell {
	i := place(e.hi, len(x.cells))
	for x.cells[i].name.Load() != 0 {
		i = x.next(i)
	}
	x.cells[i].name.Store(tag(e.lo) | uint64(slot+1))
	x.live++
	return &x.cells[i]
}

// remove empties a place and closes the gap, so that no search ends early
// (Knuth, The Art of Computer Programming 6.4, algorithm R). home tells where
// the session of a slot would stand if all cells were empty.
func (x *index) remove(i int, home func(slot uint32) int) {
	n := len(x.cells)
	x.moves.Add(1)
	gap := &x.cells[i]
	gap.name.Store(0)
	gap.state.Store(0)
	for j := x.next(i); x.cells[j].name.Load() != 0; j = x.next(j) {
		from := &x.cells[j]
		if at := home(from.slot()); (j-at+n)%n < (j-i+n)%n {
			continue
		}
		// Taken first, so that nobody slides a session that is copied already.
		gap.state.Store(from.state.Swap(0))
		gap.name.Store(from.name.Load())
		from.name.Store(0)
		gap, i = from, j
	}
	x.moves.Add(1)
	x.live--
}
