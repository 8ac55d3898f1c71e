package tenant

// store is a bounded set of answers by name. Eviction is by clock: what was
// used since the hand came by last stays. Names are found by open addressing
// over their hashes, which the caller computes once. Not safe for concurrent
// use.
type store struct {
	index []int32 // slot number + 1, 0: free; a power of two, at most half full
	slots []slot
	free  []int32 // slots without a name
	hand  int
	count int
	most  int
}

// slot is one remembered answer; an empty name is a free slot.
type slot struct {
	name  string
	hash  uint64
	facts Facts
	until int64 // fresh until then, unix nanoseconds
	state slotState
}

type slotState uint8

const (
	used    slotState = 1 << iota // since the hand came by
	asking                        // a refresh is under way
	failing                       // negative: could not be asked, as opposed to not there
)

func newStore(most int) store {
	return store{index: make([]int32, 16), most: max(most, 1)}
}

// find returns where a name stands in the index, or the free place where its
// search ends.
func (s *store) find(hash uint64, name []byte) int {
	for i := int(hash >> 8); ; i++ {
		i &= len(s.index) - 1
		n := s.index[i]
		if n == 0 {
			return i
		}
		if sl := &s.slots[n-1]; sl.hash == hash && sl.name == string(name) {
			return i
		}
	}
}

// get returns the slot of a name, nil where there is none. The pointer is good
// until the next put.
func (s *store) get(hash uint64, name []byte) *slot {
	n := s.index[s.find(hash, name)]
	if n == 0 {
		return nil
	}
	return &s.slots[n-1]
}

// put enters an answer and reports whether another one had to go. A new one
// counts as used only once it is: names that come once make room for each other.
func (s *store) put(hash uint64, name string, facts Facts, until int64, state slotState) (evicted bool) {
	if sl := s.get(hash, []byte(name)); sl != nil {
		sl.facts, sl.until, sl.state = facts, until, state
		return false
	}
	if len(s.free) == 0 && len(s.slots) == s.most {
		s.evict()
		evicted = true
	}
	n := len(s.slots)
	if last := len(s.free) - 1; last >= 0 {
		n, s.free = int(s.free[last]), s.free[:last]
	} else {
		s.slots = append(s.slots, slot{})
	}
	s.slots[n] = slot{name, hash, facts, until, state &^ used}
	s.count++
	if 2*s.count > len(s.index) {
		s.grow()
		return evicted
	}
	s.index[s.find(hash, []byte(name))] = int32(n + 1)
	return evicted
}

// grow makes the index twice as large.
func (s *store) grow() {
	s.index = make([]int32, 2*len(s.index))
	for n := range s.slots {
		if sl := &s.slots[n]; sl.name != "" {
			i := int(sl.hash >> 8)
			for ; s.index[i&(len(s.index)-1)] != 0; i++ {
			}
			s.index[i&(len(s.index)-1)] = int32(n + 1)
		}
	}
}

// evict forgets one name of a full store. Two rounds find it: the first clears
// what was used.
func (s *store) evict() {
	for {
		sl := &s.slots[s.hand]
		s.hand = (s.hand + 1) % len(s.slots)
		if sl.state&used == 0 {
			s.remove(sl.hash, sl.name)
			return
		}
		sl.state &^= used
	}
}

// remove forgets a name.
func (s *store) remove(hash uint64, name string) {
	i := s.find(hash, []byte(name))
	n := s.index[i]
	if n == 0 {
		return
	}
	s.slots[n-1] = slot{}
	s.free = append(s.free, n-1)
	s.count--
	// What comes behind moves up, unless it stands in front of where its own
	// search begins.
	mask := len(s.index) - 1
	for j := i; ; {
		j = (j + 1) & mask
		n := s.index[j]
		if n == 0 {
			break
		}
		if home := int(s.slots[n-1].hash>>8) & mask; (j-home)&mask >= (j-i)&mask {
			s.index[i] = n
			i = j
		}
	}
	s.index[i] = 0
}

// expire makes every answer stale.
func (s *store) expire() {
	for i := range s.slots {
		s.slots[i].until = 0
	}
}

func (s *store) len() int { return s.count }
