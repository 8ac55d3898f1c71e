package balancer

import (
	"sync"
	"testing"
	"unsafe"
)

// TestNotedStaysTrue: whoever changed the notes while requests came and went,
// the load says in the end whether there is one, and the count stays exact.
func TestNotedStaysTrue(t *testing.T) {
	d := &deck{}
	var hots []*hot
	for {
		w, ok := d.deal()
		if !ok {
			break
		}
		hots = append(hots, newHot(w))
	}
	if len(hots) != deckSize {
		t.Fatalf("a deck gives out %d words", len(hots))
	}
	u := &Upstream{words: hots[3].words, hot: hots[3]}
	e := &Endpoint{words: u.words, Upstream: u}
	for round := range 300 {
		var wg sync.WaitGroup
		for k := range 4 {
			wg.Go(func() {
				for i := range 30 {
					e.Begin()
					u.mark(1<<k, 0)
					if k%2 == 0 || i < 29 || round%2 == 0 {
						u.mark(0, 1<<k)
					}
					e.End()
				}
			})
		}
		wg.Wait()
		if note, flag := u.note.Load(), u.load.Load()&noted != 0; flag != (note != 0) {
			t.Fatalf("notes %x and noted is %v", note, flag)
		}
		if u.InFlight() != 0 || u.Requests() != uint64(120*(round+1)) {
			t.Fatalf("%d in flight of %d", u.InFlight(), u.Requests())
		}
		u.mark(0, ^uint64(0))
	}
	for i, h := range hots {
		if i != 3 && (h.load.Load() != 0 || h.note.Load() != 0) {
			t.Fatalf("words %d changed", i)
		}
	}
}

// TestLines: what cores write stays on cache lines of its own, of which the
// allocator aligns sizes that are powers of two.
func TestLines(t *testing.T) {
	if h, l, d := unsafe.Sizeof(hot{}), unsafe.Sizeof(lone{}), unsafe.Sizeof(deck{}); h != 128 || l != 128 || d != 512 {
		t.Errorf("hot %d, lone %d, deck %d bytes", h, l, d)
	}
	var e Endpoint
	if n, size := unsafe.Offsetof(e.Transport)+unsafe.Sizeof(e.Transport), unsafe.Sizeof(e); n > 64 || size <= 112 || size > 128 { // the allocator's size before 128 is 112
		t.Errorf("what each request reads of an endpoint may lie on two lines: up to %d of %d", n, size)
	}
	if d := (deck{}); unsafe.Offsetof(d.loads) != 128 || unsafe.Sizeof(d.loads) != 64 {
		t.Errorf("the loads of a deck are not one line")
	}
}

// TestDecks: members of a domain stand side by side, those of another do not,
// and a domain without members leaves no deck behind.
func TestDecks(t *testing.T) {
	r := newRouter(t, example(t), append(workers(10), member("esb", "e", 80))...)
	if len(r.decks) != 2 || r.decks["shared"].used != 10 || r.decks["esb"].used != 1 {
		t.Fatalf("decks %v", r.decks)
	}
	first := r.decks["shared"]
	r.SetMembers(workers(20)[10:]) // all are replaced: a deck is used up, and the next begun
	if d := r.decks["shared"]; len(r.decks) != 1 || d == first || d.used != 4 {
		t.Fatalf("decks %v", r.decks)
	}
	r.SetMembers(workers(40)) // too many to look at all of them: those that are new have their own
	if d := r.decks["shared"]; d.used != 4 {
		t.Fatalf("%d of the deck are used", d.used)
	}
	r.SetMembers(workers(hugeFrom)) // so many that a line for each would not stay in a cache
	if d := r.decks["shared"]; d.used != (hugeFrom-40-12)%deckSize {
		t.Fatalf("%d of the deck are used", d.used)
	}
	r.SetMembers(nil)
	if len(r.decks) != 0 {
		t.Fatalf("decks %v", r.decks)
	}
}
