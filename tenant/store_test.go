package tenant

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestStoreAgainstMap compares the store with a map while things come and go,
// with hashes that collide a lot.
func TestStoreAgainstMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	hash := func(name string) uint64 {
		var h uint64
		for _, c := range []byte(name) {
			h = h*31 + uint64(c)
		}
		return (h % 37) << 8
	}
	s, m := newStore(200), map[string]ID{}
	for i := range 100_000 {
		name := fmt.Sprintf("n%d", rnd.IntN(150)) // never full: nothing is evicted
		switch rnd.IntN(3) {
		case 0:
			s.put(hash(name), name, Facts{ID: ID(i)}, 0, 0)
			m[name] = ID(i)
		case 1:
			s.remove(hash(name), name)
			delete(m, name)
		default:
			id, there := m[name]
			if sl := s.get(hash(name), []byte(name)); (sl != nil) != there || there && sl.facts.ID != id {
				t.Fatalf("step %d: %s is %+v, want %d %v", i, name, sl, id, there)
			}
		}
		if s.len() != len(m) {
			t.Fatalf("step %d: %d names, want %d", i, s.len(), len(m))
		}
	}
}

func TestStoreEvicts(t *testing.T) {
	s := newStore(50)
	for i := range 10_000 {
		name := fmt.Sprintf("n%d", i)
		s.put(uint64(i)<<8, name, Facts{ID: ID(i)}, 0, 0)
		if sl := s.get(uint64(i)<<8, []byte(name)); sl == nil || sl.facts.ID != ID(i) {
			t.Fatalf("%s is not there right after it was put", name)
		}
		s.get(0, []byte("n0")).state |= used
		if s.len() > 50 {
			t.Fatalf("%d names", s.len())
		}
	}
}

func TestNameTable(t *testing.T) {
	for c := range 256 {
		b := byte(c)
		if b >= 'A' && b <= 'Z' {
			b += 'a' - 'A'
		}
		if want := nameByte(b); (nameTable[c] != ' ') != want || want && nameTable[c] != b {
			t.Fatalf("%#x is %q", c, nameTable[c])
		}
	}
}
