package tenant

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// inlineMax is up to how many bytes a name stands in its line. Nearly all
// names of tenants are domain names of one or two labels.
const inlineMax = 40

// line is all that is known of one name. It is one cache line in size, so that
// looking a name up among millions costs one miss of the cache; and it holds no
// pointer for the garbage collector to follow. Its words are atomic because
// Caches read lines without a lock.
type line struct {
	meta  atomic.Uint64 // name's length (0: a free line), plan, lineState, tag
	id    atomic.Int64
	until atomic.Int64                 // fresh until then, unix nanoseconds
	name  [inlineMax / 8]atomic.Uint64 // zero-padded; a longer one: its number in table.long
}

// lineState is what there is to say of a line beside the facts.
type lineState uint8

const (
	used     lineState = 1 << iota // since the hand of the clock came by
	asking                         // a refresh is under way
	failing                        // negative: could not be asked, as opposed to not there
	inactive                       // Facts.Inactive
	kept                           // the answer is an older one: the newest question had none
	told                           // a peer's directory gave it, not ours
)

const (
	metaPlan  = 8  // shifts
	metaState = 16 //
	metaTag   = 32 // upper bits of a hash's lower half: other names are told apart without a look at them
)

func meta(hash uint64, n int, plan uint8, state lineState) uint64 {
	return hash<<metaTag | uint64(state)<<metaState | uint64(plan)<<metaPlan | uint64(n)
}

func stateOf(meta uint64) lineState { return lineState(meta >> metaState) }

func factsOf(meta uint64, id int64) Facts {
	return Facts{ID: ID(id), Plan: uint8(meta >> metaPlan), Inactive: stateOf(meta)&inactive != 0}
}

// key is a name as tables compare it.
type key struct {
	name  []byte
	hash  uint64
	words [inlineMax / 8]uint64 // of a name that stands in its line
}

// set makes k the key of name, which it keeps. k must be new.
func (k *key) set(seed maphash.Seed, name []byte) {
	k.name, k.hash = name, maphash.Bytes(seed, name)
	if len(name) > inlineMax {
		return
	}
	w := 0
	for ; len(name) >= 8; w++ {
		k.words[w] = binary.LittleEndian.Uint64(name)
		name = name[8:]
	}
	var last uint64
	for i := len(name) - 1; i >= 0; i-- {
		last = last<<8 | uint64(name[i])
	}
	if w < len(k.words) {
		k.words[w] = last
	}
}

func (k *key) isLong() bool { return len(k.name) > inlineMax }

// table finds names by open addressing over lines. It is never more than five
// eighths full, so that a search rarely goes beyond the neighbour of the line
// that it begins with.
type table struct {
	lines []line
	long  []string // names that do not fit into lines
	free  []uint32 // of long, not in use
	count int
}

// newTable returns a table that n names fill half.
func newTable(n int) *table {
	t := &table{lines: make([]line, max(2*n, 16))}
	adviseHuge(t.lines)
	return t
}

// full reports whether one more name is too many.
func (t *table) full() bool { return 8*(t.count+1) > 5*len(t.lines) }

func (t *table) home(hash uint64) int {
	hi, _ := bits.Mul64(hash, uint64(len(t.lines)))
	return int(hi)
}

// find returns the line of a name, or the free one where its search ends.
func (t *table) find(k *key) (i int, there bool) {
	want := meta(k.hash, len(k.name), 0, 0)
	const mask = 0xffffffff<<metaTag | 0xff
	for i = t.home(k.hash); ; {
		m := t.lines[i].meta.Load()
		if m&mask == want && t.same(&t.lines[i], k) {
			return i, true
		}
		if m&0xff == 0 {
			return i, false
		}
		if i++; i == len(t.lines) {
			i = 0
		}
	}
}

func (t *table) same(l *line, k *key) bool {
	if k.isLong() {
		return t.long[l.name[0].Load()] == string(k.name)
	}
	return l.name[0].Load() == k.words[0] && l.name[1].Load() == k.words[1] && l.name[2].Load() == k.words[2] &&
		l.name[3].Load() == k.words[3] && l.name[4].Load() == k.words[4]
}

// insert enters a name that is not there at the free line where its search
// ended. A reader without a lock sees either a free line or all of it.
func (t *table) insert(i int, k *key, f Facts, until int64, state lineState) {
	l := &t.lines[i]
	if k.isLong() {
		l.name[0].Store(t.addLong(string(k.name)))
	} else {
		for w := range k.words {
			l.name[w].Store(k.words[w])
		}
	}
	l.id.Store(int64(f.ID))
	l.until.Store(until)
	l.meta.Store(meta(k.hash, len(k.name), f.Plan, stateWith(f, state)))
	t.count++
}

func stateWith(f Facts, state lineState) lineState {
	if f.Inactive {
		return state | inactive
	}
	return state &^ inactive
}

func (t *table) addLong(name string) uint64 {
	if last := len(t.free) - 1; last >= 0 {
		n := t.free[last]
		t.free = t.free[:last]
		t.long[n] = name
		return uint64(n)
	}
	t.long = append(t.long, name)
	return uint64(len(t.long) - 1)
}

// remove frees a line. What comes behind moves up, unless it stands in front of
// where its own search begins. hash returns the hash of a line's name.
func (t *table) remove(i int, seed maphash.Seed) {
	if l := &t.lines[i]; int(l.meta.Load()&0xff) > inlineMax {
		n := l.name[0].Load()
		t.long[n] = ""
		t.free = append(t.free, uint32(n))
	}
	t.count--
	size := len(t.lines)
	for j := i; ; {
		if j++; j == size {
			j = 0
		}
		l := &t.lines[j]
		if l.meta.Load()&0xff == 0 {
			break
		}
		var k key
		k.set(seed, t.nameAt(j, nil))
		if home := t.home(k.hash); (j-home+size)%size >= (j-i+size)%size {
			t.move(i, j)
			i = j
		}
	}
	t.lines[i].meta.Store(0)
}

func (t *table) move(to, from int) {
	a, b := &t.lines[to], &t.lines[from]
	a.id.Store(b.id.Load())
	a.until.Store(b.until.Load())
	for w := range a.name {
		a.name[w].Store(b.name[w].Load())
	}
	a.meta.Store(b.meta.Load())
}

// nameAt appends the name of a line to buf; nothing for a free one.
func (t *table) nameAt(i int, buf []byte) []byte {
	l := &t.lines[i]
	n := int(l.meta.Load() & 0xff)
	if n > inlineMax {
		return append(buf, t.long[l.name[0].Load()]...)
	}
	var b [inlineMax]byte
	for w := range l.name {
		binary.LittleEndian.PutUint64(b[8*w:], l.name[w].Load())
	}
	return append(buf, b[:n]...)
}
