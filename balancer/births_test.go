package balancer

import (
	"testing"
	"time"
)

// TestBirths: a slow start that a peer tells of goes on here where it is, is
// never shortened or made longer than it may be, and brings nobody back whom we
// ejected ourselves.
func TestBirths(t *testing.T) {
	w := newWard(t, standard(), workers(2)...)
	v := view(t, w.Router, "as.test")
	e := v.Endpoints()[0]
	m := e.Upstream.Member()
	left := func(want time.Duration) {
		t.Helper()
		var got time.Duration
		for _, b := range w.Births(w.now) {
			if b.ID == m.ID {
				got = b.Left
			}
		}
		if got != want {
			t.Fatalf("%v of its slow start are left, want %v", got, want)
		}
	}
	left(0)
	if !w.Adopt(m.Domain, m.ID, 30*time.Second, 12*time.Second) || w.Adopt(m.Domain, "nobody", time.Second, time.Second) {
		t.Fatal("Adopt does not tell who is known")
	}
	left(12 * time.Second)
	if share := e.Upstream.Status(w.now).Share; share < 0.55 || share > 0.65 {
		t.Fatalf("after 18 of 30 s its share is %v", share)
	}
	w.now += 2 * second
	w.Adopt(m.Domain, m.ID, 30*time.Second, 10200*time.Millisecond) // the same one, told late
	left(10 * time.Second)
	w.Adopt(m.Domain, m.ID, 30*time.Second, 3*time.Second)
	left(10 * time.Second)
	w.Adopt(m.Domain, m.ID, time.Hour, time.Hour)
	left(30 * time.Second)
	w.now += 30 * second
	left(0)

	v.Unreachable(e, w.now, w.now, "refused")
	w.Adopt(m.Domain, m.ID, 30*time.Second, 30*time.Second)
	w.want(t, 0, StateEjected)
	left(0)
	w.now += int64(ejectStep)
	left(30 * time.Second) // its ejection is over, though nobody asked for it
	w.now += 40 * second

	w.Advise(m.Domain, m.ID, time.Unix(0, w.now).Add(10*time.Second))
	w.want(t, 0, StateEjected)
	w.Adopt(m.Domain, m.ID, 30*time.Second, 20*time.Second) // the peer has it back
	w.want(t, 0, StateUp)
	left(20 * time.Second)
}
