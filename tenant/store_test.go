package tenant

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

func testStore(most int) *store {
	s := &store{}
	s.init(most, maphash.MakeSeed())
	return s
}

func (s *store) key(name string) *key {
	k := &key{}
	k.set(s.seed, []byte(name))
	return k
}

// TestStoreAgainstMap compares the store with a map while things come and go,
// nearly full so that names stand in each other's way, long ones among them.
func TestStoreAgainstMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	s, m := testStore(200), map[string]Facts{}
	for i := range 100_000 {
		name := fmt.Sprintf("n%d", rnd.IntN(190)) // never full: nothing is evicted
		if n := len(name); name[n-1] == '7' {
			name = strings.Repeat("x", inlineMax-4) + name // some just fit, some do not
		}
		k := s.key(name)
		f := Facts{ID: ID(rnd.IntN(5) + 1), Plan: uint8(rnd.IntN(256)), Inactive: rnd.IntN(2) == 0}
		switch rnd.IntN(3) {
		case 0:
			s.put(k, f, int64(i), 0)
			m[name] = f
		case 1:
			s.remove(k)
			delete(m, name)
		default:
			want, there := m[name]
			if l := s.get(k); (l != nil) != there || there && l.facts() != want {
				t.Fatalf("step %d: %s is %+v, want %+v %v", i, name, l, want, there)
			}
			got, _, found, ok := s.read(k)
			if ok == k.isLong() || ok && (found != there || got != want) {
				t.Fatalf("step %d: %s is read as %+v %v %v, want %+v %v", i, name, got, found, ok, want, there)
			}
		}
		if s.len() != len(m) {
			t.Fatalf("step %d: %d names, want %d", i, s.len(), len(m))
		}
	}
	if n := len(s.table.Load().long); n > 30 {
		t.Errorf("%d long names are kept, at most 20 were there at a time", n)
	}
}

func TestStoreEvicts(t *testing.T) {
	s := testStore(50)
	for i := range 10_000 {
		k := s.key(fmt.Sprintf("n%d", i))
		s.put(k, Facts{ID: ID(i)}, 0, 0)
		if l := s.get(k); l == nil || l.facts().ID != ID(i) {
			t.Fatalf("n%d is not there right after it was put", i)
		}
		s.get(s.key("n0")).mark(used)
		if s.len() > 50 {
			t.Fatalf("%d names", s.len())
		}
	}
}

// TestStoreReadBesideWriters: whoever reads without a lock gets the facts of
// the name asked for, or is told to take the lock.
func TestStoreReadBesideWriters(t *testing.T) {
	s := testStore(300)
	name := func(i int) string { return fmt.Sprintf("tenant%d", i) }
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, 2))
			reads := 0
			for {
				select {
				case <-stop:
					if reads == 0 {
						t.Error("nothing could be read")
					}
					return
				default:
				}
				i := rnd.IntN(500)
				f, until, there, ok := s.read(s.key(name(i)))
				if ok && there {
					reads++
					// Each writer's facts of tenant i are told by its id and time.
					if int64(f.ID)%500 != int64(i) || until != int64(f.ID)*3 || f.Inactive != (f.ID%2 == 1) {
						t.Errorf("%s is read as %+v until %d", name(i), f, until)
						return
					}
				}
			}
		})
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 50_000 {
		i := rnd.IntN(500)
		k := s.key(name(i))
		if rnd.IntN(4) == 0 {
			s.remove(k)
			continue
		}
		id := ID(i + 500*rnd.IntN(3))
		s.put(k, Facts{ID: id, Inactive: id%2 == 1}, int64(id)*3, 0)
	}
	close(stop)
	wg.Wait()
}

func TestNameTable(t *testing.T) {
	for c := range 256 {
		b := byte(c)
		if b >= 'A' && b <= 'Z' {
			b += 'a' - 'A'
		}
		if want := nameByte(b); (nameTable[c] != impossible) != want || len(nameTable) != 256 || want && nameTable[c] != b {
			t.Fatalf("%#x is %q", c, nameTable[c])
		}
	}
}
