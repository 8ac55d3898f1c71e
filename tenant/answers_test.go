package tenant

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// twoCaches runs f with two load balancers' caches, each over a directory of
// its own, in a bubble of their own time.
func twoCaches(t *testing.T, sa, sb Source, f func(a, b *Cache, fromA, fromB *Answers)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{}, 2)
		run := func(s Source) (*Cache, *Answers) {
			c := NewCache(testCacheConfig(), s, &Plans{})
			answers := &Answers{}
			answers.Serve(c)
			go func() { c.Run(ctx); ended <- struct{}{} }()
			return c, answers
		}
		a, fromA := run(sa)
		b, fromB := run(sb)
		f(a, b, fromA, fromB)
		cancel()
		<-ended
		<-ended
	})
}

// carry tells to all that from knows, as a walk does.
func carry(t *testing.T, from, to *Answers) (changed int) {
	t.Helper()
	at, more := uint64(0), true
	for n := 0; more; n++ {
		var list []Answer
		list, at, more = from.Walk(at, 100, nil)
		changed += to.Apply(list)
		if n > 10_000 {
			t.Fatal("the walk does not end")
		}
	}
	return changed
}

// TestAnswersOfPeers: whose directory is down knows the tenants that a peer
// asked for; an own answer beats a peer's.
func TestAnswersOfPeers(t *testing.T) {
	sa, sb := newFakeSource(5), newFakeSource(5)
	sa.tenants["gold"] = Entry{ID: 99, Plan: "gold"}
	sb.set(func(s *fakeSource) { s.err = errors.New("down"); s.tenants["t2"] = Entry{ID: 22} })
	twoCaches(t, sa, sb, func(a, b *Cache, fromA, fromB *Answers) {
		for _, name := range []string{"t1", "t2", "gold"} {
			if _, o := ask(a, name); o != Known {
				t.Fatalf("%s is %v", name, o)
			}
		}
		if _, o := ask(b, "t1"); o != Failed {
			t.Fatalf("with its directory down b says %v", o)
		}
		if n := carry(t, fromA, fromB); n != 3 {
			t.Fatalf("%d of 3 were news", n)
		}
		id, o := lookup(b, "t1")
		want(t, id, o, 1, Known)
		k := b.Know([]byte("gold"), time.Now().UnixNano())
		if !k.Told || !k.Fresh || b.numbers.PlanOf(&k.Facts) != "gold" {
			t.Errorf("gold is known as %+v", k)
		}
		if n := carry(t, fromB, fromA); n != 0 {
			t.Errorf("what a said came back as news, %d times", n)
		}
		// Its directory comes back with another id for one: that is what counts.
		sb.set(func(s *fakeSource) { s.err = nil })
		time.Sleep(2 * time.Minute) // all is stale
		lookup(b, "t2")
		time.Sleep(time.Second)
		id, o = lookup(b, "t2")
		want(t, id, o, 22, Known)
		lookup(a, "t2")
		time.Sleep(time.Second)
		if n := carry(t, fromA, fromB); n != 0 {
			t.Errorf("a peer's answer replaced %d of ours", n)
		}
		id, o = lookup(b, "t2")
		want(t, id, o, 22, Known)
		if k := b.Know([]byte("t2"), time.Now().UnixNano()); k.Told {
			t.Error("our own answer counts as a peer's")
		}
	})
}

// TestAnswersRemoved: what a peer's directory has no more we ask ours for; and
// whom ours does not have a peer cannot bring.
func TestAnswersRemoved(t *testing.T) {
	sa, sb := newFakeSource(5), newFakeSource(4)
	twoCaches(t, sa, sb, func(a, b *Cache, fromA, fromB *Answers) {
		ask(a, "t1")
		carry(t, fromA, fromB)
		if _, o := ask(b, "t5"); o != Unknown {
			t.Fatalf("t5 is %v", o)
		}
		ask(a, "t5")
		list, upTo, ok := fromA.Changes(1, 10, nil)
		if len(list) != 1 || upTo != 2 || !ok || fromB.Apply(list) != 0 {
			t.Errorf("%+v up to %d: whom our directory denies came from a peer", list, upTo)
		}
		if _, o := lookup(b, "t5"); o != Unknown {
			t.Errorf("t5 is %v", o)
		}
		before := sb.asked.Load()
		if n := fromB.Apply([]Answer{{Entry: Entry{Name: "t1"}, Removed: true}}); n != 1 {
			t.Error("a removal is no news")
		}
		id, o := lookup(b, "t1") // in use until ours was asked
		want(t, id, o, 1, Known)
		time.Sleep(time.Second)
		if sb.asked.Load() == before {
			t.Error("our directory was not asked")
		}
		for _, bad := range []Answer{{}, {Entry: Entry{Name: "A B", ID: 1}}, {Entry: Entry{Name: "x", ID: 0}}, {Entry: Entry{Name: "x", ID: -4}}} {
			if fromB.Apply([]Answer{bad}) != 0 {
				t.Errorf("%+v was taken", bad)
			}
		}
	})
}

// TestAnswersWalk: a walk comes by all tenants, also where the table grows
// meanwhile; changes tell those that were asked for, and say when they are too
// far back.
func TestAnswersWalk(t *testing.T) {
	c := NewCache(testCacheConfig(), newFakeSource(0), &Plans{})
	a := &Answers{}
	a.Serve(c)
	for i := range 3000 {
		c.enter(fmt.Sprintf("t%d", i), Entry{ID: ID(i + 1)}, nil, false)
	}
	seen := map[string]bool{}
	at, more := uint64(0), true
	for n := 0; more; n++ {
		var list []Answer
		list, at, more = a.Walk(at, 50, nil)
		for i := range list {
			seen[list[i].Name] = true
		}
		for i := range 40 { // grows tables under the walk
			c.enter(fmt.Sprintf("new-%d-%d", n, i), Entry{ID: 1}, nil, false)
		}
		if n > 10_000 {
			t.Fatal("it does not end")
		}
	}
	missing := 0
	for i := range 3000 {
		if !seen[fmt.Sprintf("t%d", i)] {
			missing++
		}
	}
	// Lines that are displaced across the end of a table that grows may be missed.
	if missing > 30 {
		t.Errorf("the walk missed %d of 3000", missing)
	}
	list, upTo, ok := a.Changes(a.Sequence()-10, 5, nil)
	if len(list) != 5 || upTo != a.Sequence()-5 || !ok || list[0].Removed {
		t.Errorf("%d changes up to %d of %d, %v", len(list), upTo, a.Sequence(), ok)
	}
	for range answersRing {
		a.note("x")
	}
	if _, _, ok := a.Changes(5, 5, nil); ok {
		t.Error("changes are remembered for ever")
	}
	if _, _, ok := a.Changes(a.Sequence()+1, 5, nil); ok {
		t.Error("there are changes of the future")
	}
}
