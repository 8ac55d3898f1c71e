package tenant

import (
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"sync/atomic"
)

// store is a bounded set of answers by name. Eviction is by clock: what was
// used since the hand came by last stays. Writers need a lock around it; read
// may be called beside them without one.
type store struct {
	table atomic.Pointer[table] // replaced when it grows
	// moves is odd while lines change their places or facts: what was read then
	// may be of two names.
	moves atomic.Uint64
	seed  maphash.Seed
	hand  int
	most  int
}

func (s *store) init(most int, seed maphash.Seed) {
	s.most, s.seed = max(most, 1), seed
	s.table.Store(newTable(0))
}

// read returns what is known of a name, without a lock and without waiting. ok
// is false where a writer was at it, and for long names: the lock is needed.
func (s *store) read(k *key) (f Facts, until int64, there, ok bool) {
	before := s.moves.Load()
	if before&1 != 0 || k.isLong() {
		return Facts{}, 0, false, false
	}
	t := s.table.Load()
	i, there := t.find(k)
	l := &t.lines[i]
	m, id, until := l.meta.Load(), l.id.Load(), l.until.Load()
	if s.moves.Load() != before {
		return Facts{}, 0, false, false
	}
	if !there {
		return Facts{}, 0, false, true
	}
	if stateOf(m)&used == 0 {
		l.meta.Or(uint64(used) << metaState)
	}
	return factsOf(m, id), until, true, true
}

// get returns the line of a name, nil where there is none. The pointer is good
// until the next put or remove.
func (s *store) get(k *key) *line {
	t := s.table.Load()
	if i, there := t.find(k); there {
		return &t.lines[i]
	}
	return nil
}

func (l *line) state() lineState      { return stateOf(l.meta.Load()) }
func (l *line) mark(state lineState)  { l.meta.Or(uint64(state) << metaState) }
func (l *line) clear(state lineState) { l.meta.And(^(uint64(state) << metaState)) }
func (l *line) facts() Facts          { return factsOf(l.meta.Load(), l.id.Load()) }

// put enters an answer and reports whether another one had to go. A new one
// counts as used only once it is: names that come once make room for each other.
func (s *store) put(k *key, f Facts, until int64, state lineState) (evicted bool) {
	if l := s.get(k); l != nil {
		if l.facts() == f { // the usual answer: nothing that a reader could mix up
			l.until.Store(until)
			l.clear(asking | failing | kept | told)
			l.mark(state)
			return false
		}
		s.moves.Add(1)
		l.id.Store(int64(f.ID))
		l.until.Store(until)
		l.meta.Store(meta(k.hash, len(k.name), f.Plan, stateWith(f, state)))
		s.moves.Add(1)
		return false
	}
	t := s.table.Load()
	if t.count >= s.most {
		s.evict(t)
		evicted = true
	}
	if t.full() {
		t = s.grow(t)
	}
	i, _ := t.find(k)
	t.insert(i, k, f, until, state&^used)
	return evicted
}

// full reports whether one more name would displace another.
func (s *store) full() bool { return s.len() >= s.most }

// grow replaces the table by a larger one. Readers of the old one see what was
// true a moment ago.
func (s *store) grow(old *table) *table {
	t := newTable(old.count + 16)
	t.long, t.free = old.long, old.free
	var buf [MaxName]byte
	for i := range old.lines {
		from := &old.lines[i]
		m := from.meta.Load()
		if m&0xff == 0 {
			continue
		}
		var k key
		k.set(s.seed, old.nameAt(i, buf[:0]))
		j := t.home(k.hash)
		for t.lines[j].meta.Load()&0xff != 0 {
			if j++; j == len(t.lines) {
				j = 0
			}
		}
		to := &t.lines[j]
		to.id.Store(from.id.Load())
		to.until.Store(from.until.Load())
		for w := range to.name {
			to.name[w].Store(from.name[w].Load())
		}
		to.meta.Store(m)
		t.count++
	}
	s.hand = 0
	s.table.Store(t)
	return t
}

// evict forgets one name of a full store. Two rounds find it: the first clears
// what was used.
func (s *store) evict(t *table) {
	for {
		l := &t.lines[s.hand]
		at := s.hand
		s.hand = (s.hand + 1) % len(t.lines)
		switch m := l.meta.Load(); {
		case m&0xff == 0:
		case stateOf(m)&used != 0:
			l.clear(used)
		default:
			s.removeAt(t, at)
			return
		}
	}
}

// remove forgets a name.
func (s *store) remove(k *key) {
	t := s.table.Load()
	if i, there := t.find(k); there {
		s.removeAt(t, i)
	}
}

func (s *store) removeAt(t *table, i int) {
	s.moves.Add(1)
	t.remove(i, s.seed)
	s.moves.Add(1)
}

// expire makes every answer stale.
func (s *store) expire() {
	t := s.table.Load()
	for i := range t.lines {
		t.lines[i].until.Store(0)
	}
}

// anyBut returns some name that is not one of those given; "" where there is
// none.
func (s *store) anyBut(not ...string) string {
	t := s.table.Load()
	start := rand.IntN(len(t.lines))
	var buf [MaxName]byte
	for i := range t.lines {
		name := t.nameAt((start+i)%len(t.lines), buf[:0])
		if len(name) > 0 && !slices.Contains(not, string(name)) {
			return string(name)
		}
	}
	return ""
}

func (s *store) len() int { return s.table.Load().count }
