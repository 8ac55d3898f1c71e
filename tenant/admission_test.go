package tenant

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func TestAdmissionRate(t *testing.T) {
	a := NewAdmission()
	l := &Limits{Rate: 10, Burst: 5}
	now, served, waited := int64(1e18), 0, time.Duration(0)
	try := func() Verdict {
		var ticket Ticket
		v, left := a.Enter(&ticket, "s", 1, l, false, now)
		if v == Admitted {
			served++
		}
		waited = left.Wait
		a.Leave(&ticket, now)
		return v
	}
	for range 20 {
		try()
	}
	if served != 5 {
		t.Fatalf("a burst of 5 let %d pass", served)
	}
	if waited != 100*time.Millisecond {
		t.Fatalf("told to wait %v, want 100ms", waited)
	}
	now += int64(waited) - 1
	if try() != OverRate {
		t.Fatal("admitted before the time it was told")
	}
	now++
	if try() != Admitted {
		t.Fatal("refused after the wait it was told")
	}
	served = 0
	for range 1000 { // ten times the rate for 10 s
		now += int64(10 * time.Millisecond)
		try()
	}
	if served < 99 || served > 101 {
		t.Fatalf("%d served in 10 s at 10 per second", served)
	}
	if n, _ := a.Busy(); n != 1 {
		t.Fatalf("%d tenants in memory, want 1", n)
	}
	a.sweep(now + int64(time.Second))
	if n, _ := a.Busy(); n != 0 {
		t.Fatal("an idle tenant costs memory")
	}
}

func TestAdmissionInFlight(t *testing.T) {
	a := NewAdmission()
	l := &Limits{InFlight: 2}
	var tickets [3]Ticket
	f := func(i int, service string, id ID, dry bool, want Verdict) {
		t.Helper()
		if v, _ := a.Enter(&tickets[i], service, id, l, dry, 1); v != want {
			t.Fatalf("%v, want %v", v, want)
		}
	}
	f(0, "s", 1, false, Admitted)
	f(1, "s", 1, false, Admitted)
	f(2, "s", 1, false, OverInFlight)
	a.Leave(&tickets[2], 1) // was refused: takes nothing away
	f(2, "s", 1, true, OverInFlight)
	if _, n := a.Busy(); n != 3 {
		t.Fatalf("%d in flight with a dry run, want 3", n)
	}
	var other, elsewhere Ticket
	if v, _ := a.Enter(&other, "s", 2, l, false, 1); v != Admitted {
		t.Fatal("another tenant pays for it")
	}
	if v, _ := a.Enter(&elsewhere, "s2", 1, l, false, 1); v != Admitted {
		t.Fatal("another service pays for it")
	}
	for _, tk := range []*Ticket{&tickets[0], &tickets[1], &tickets[2], &other, &elsewhere, &elsewhere} {
		a.Leave(tk, 1)
	}
	if n, inFlight := a.Busy(); n != 0 || inFlight != 0 {
		t.Fatalf("%d tenants, %d in flight left", n, inFlight)
	}
}

// TestAdmissionReturnsToZero: whatever comes in and goes out in whatever
// order, with limits changing meanwhile, nothing stays.
func TestAdmissionReturnsToZero(t *testing.T) {
	a := NewAdmission()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			var open []Ticket
			for range 20_000 {
				if len(open) > 0 && rnd.IntN(2) == 0 {
					i := rnd.IntN(len(open))
					a.Leave(&open[i], time.Now().UnixNano())
					open[i] = open[len(open)-1]
					open = open[:len(open)-1]
					continue
				}
				var tk Ticket
				l := &Limits{InFlight: rnd.IntN(5), Rate: float64(rnd.IntN(3)) * 1e6, Burst: rnd.IntN(3)}
				a.Enter(&tk, "s", ID(1+rnd.IntN(50)), l, rnd.IntN(4) == 0, time.Now().UnixNano())
				open = append(open, tk)
			}
			for i := range open {
				a.Leave(&open[i], time.Now().UnixNano())
			}
		})
	}
	wg.Wait()
	if _, n := a.Busy(); n != 0 {
		t.Fatalf("%d in flight left", n)
	}
	a.sweep(time.Now().Add(time.Second).UnixNano())
	if n, _ := a.Busy(); n != 0 {
		t.Fatalf("%d tenants left", n)
	}
}

func TestAdmissionAllocatesNothing(t *testing.T) {
	a := NewAdmission()
	l := &Limits{InFlight: 10, Rate: 1e6}
	var tk Ticket
	now := int64(1e18)
	run := func() {
		now += 1e9
		a.Enter(&tk, "service", 42, l, false, now)
		a.Use.Count(42, []byte("acme.com"), false)
		a.Leave(&tk, now+1e6)
	}
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestUseTop(t *testing.T) {
	a := NewAdmission()
	var total uint64
	for i := range 100_000 {
		id := ID(1 + i%20_000) // a long tail
		if i%10 < 5 {
			id = ID(1 + i%5) // and five that are busy
		}
		a.Use.Count(id, fmt.Appendf(nil, "t%d", id), i%100 == 0)
		total++
	}
	top, other := a.Use.Top(20)
	if len(top) != 20 {
		t.Fatalf("%d at the top", len(top))
	}
	for i, c := range top[:5] {
		if c.ID < 1 || c.ID > 5 || c.Name != fmt.Sprintf("t%d", c.ID) || c.Requests < 9000 {
			t.Fatalf("number %d is %+v", i, c)
		}
	}
	sum := other.Requests
	for _, c := range top {
		sum += c.Requests
	}
	if sum != total {
		t.Fatalf("%d counted, %d came", sum, total)
	}
}

func TestPlans(t *testing.T) {
	r, err := NewResolver(Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var numbers Plans
	gold := numbers.Number("gold")
	r.SetPlans([]Plan{{Name: "gold", Limits: Limits{InFlight: Inherit, Rate: 100, Burst: Inherit, Body: 0}},
		{Name: "vip", Tenants: []string{"acme"}, Limits: Limits{InFlight: 7, Rate: Inherit, Burst: 9, Body: Inherit}}}, &numbers)
	base := Limits{InFlight: 1, Rate: 2, Burst: 3, Body: 4}
	f := func(plan uint8, name string, want Limits) {
		t.Helper()
		var found Found
		found.set([]byte(name))
		found.Plan = plan
		if got := r.Limits(&found, base); got != want {
			t.Fatalf("%+v, want %+v", got, want)
		}
	}
	f(0, "x", base)
	f(gold, "x", Limits{InFlight: 1, Rate: 100})
	f(gold, "acme", Limits{InFlight: 7, Rate: 2, Burst: 9, Body: 4}) // by name beats the directory
	f(numbers.Number("unheard-of"), "x", base)
	for i := range 300 {
		numbers.Number(fmt.Sprint(i))
	}
	if numbers.Number("one too many") != 0 || numbers.Number("gold") != gold {
		t.Fatal("plans are not bounded")
	}
}
