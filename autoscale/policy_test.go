package autoscale

import (
	"math"
	"strings"
	"testing"
	"time"
)

func shippedWSO2() WSO2Config {
	return WSO2Config{MaxRequestsPerSecond: 5, AlarmingUpperRate: 0.7, AlarmingLowerRate: 0.2, ScaleDownFactor: 0.25,
		RoundsToAverage: 2, Interval: time.Minute}
}

// TestWSO2WorkedExamples are the sums of the WSO2 ELB's own decision with the
// values of its shipped file: up 210, down 15.
func TestWSO2WorkedExamples(t *testing.T) {
	f := func(window []int64, in Input, want int, formula string) {
		t.Helper()
		p := NewWSO2(shippedWSO2())
		now := time.Now()
		var a Advice
		in.Max = max(in.Max, 5)
		for i := -1; i < len(window); i++ { // the first call only sets the clock
			in.Now = now.Add(time.Duration(i+1) * time.Minute)
			if i >= 0 {
				in.InFlight = window[i]
			}
			a = p.Decide(in)
		}
		if a.Want != want || !strings.Contains(a.Formula, formula) {
			t.Errorf("window %v of %+v: %+v, want %d by %q", window, in, a, want, formula)
		}
	}
	f([]int64{500, 521}, Input{Ready: 2, Min: 1}, 3, "average 510 > running 2 x up 210: ceil(510 / 210) = 3")
	f([]int64{3, 4}, Input{Ready: 2, Min: 1}, 1, "average 3 < (running 2 - 1) x down 15")
	f([]int64{3, 4}, Input{Ready: 2, Min: 2}, 2, "one less")              // never below min
	f([]int64{3, 4}, Input{Ready: 2, Stopping: 1, Min: 1}, 2, "one less") // one at a time
	f([]int64{500}, Input{Ready: 2, Min: 1}, 2, "")                       // the window is not full
	f([]int64{500, 521}, Input{Ready: 2, Booting: 1, Min: 1}, 3, "= 3")   // mended: what boots is not ordered again
	f([]int64{500, 521}, Input{Ready: 2, Booting: 3, Min: 1}, 5, "= 3")   // nor is it taken back
	f([]int64{9000, 9000}, Input{Ready: 2, Min: 1}, 5, "= 43")            // never above max
	f([]int64{420, 421}, Input{Ready: 2, Min: 1}, 2, "within")            // 420 = 2 x 210 is not above it
	f([]int64{421, 421}, Input{Ready: 2, Min: 1}, 3, "ceil(421 / 210) = 3")
	f([]int64{15, 15}, Input{Ready: 2, Min: 1}, 2, "within")
	f([]int64{1, 1}, Input{Ready: 0, Min: 0}, 1, "ceil(1 / 210) = 1") // from zero
	f([]int64{3, 3, 500, 521}, Input{Ready: 2, Min: 1}, 3, "average 510")
	f([]int64{3, 4}, Input{Ready: 2, Min: 1, Blind: true}, 2, "one less")
}

// run feeds a policy one reading a second, the members following at once, and
// returns their number at the end.
func run(p Policy, from time.Time, d time.Duration, size int, demand func(time.Duration) float64, limits Input) int {
	for i := time.Duration(0); i < d; i += time.Second {
		in := limits
		in.Now, in.Since, in.Ready = from.Add(i), time.Second, size
		in.Demand = demand(i)
		in.InFlight = int64(math.Round(in.Demand))
		size = p.Decide(in).Want
	}
	return size
}

func TestConcurrency(t *testing.T) {
	cfg := ConcurrencyConfig{Target: 50, Stable: time.Minute, Panic: time.Second, Calm: 5 * time.Minute}
	steady := func(v float64) func(time.Duration) float64 { return func(time.Duration) float64 { return v } }
	limits := Input{Min: 1, Max: 100}
	t0 := time.Now()

	p := NewConcurrency(cfg)
	n := run(p, t0, time.Minute, 1, steady(40), limits)
	if n != 1 {
		t.Fatalf("%d members at 40 of 50, want 1", n)
	}
	at := t0.Add(time.Minute)
	if n = run(p, at, time.Second, n, steady(1000), limits); n != 20 {
		t.Fatalf("%d members a second after a step to 1000, want 20", n)
	}
	if n = run(p, at.Add(time.Second), 5*time.Minute, n, steady(1), limits); n != 20 {
		t.Fatalf("%d members within calm, want 20", n)
	}
	at = at.Add(5*time.Minute + time.Second)
	if n = run(p, at, 30*time.Second, n, steady(1), limits); n != 15 {
		t.Fatalf("%d members after one step down, want 15", n)
	}
	if n = run(p, at.Add(30*time.Second), 15*time.Minute, n, steady(1), limits); n != 1 {
		t.Fatalf("%d members in the end, want 1", n)
	}

	p = NewConcurrency(cfg) // growth is bounded, also by max
	if n = run(p, t0, time.Second, 1, steady(1e6), Input{Max: 10_000}); n != 32 {
		t.Errorf("%d members at once, want 32", n)
	}
	if n = run(p, t0.Add(time.Second), 12*time.Second, n, steady(1e6), Input{Max: 10_000}); n != 1024 {
		t.Errorf("%d members after 12 s, want 1024", n)
	}
	if n = run(NewConcurrency(cfg), t0, time.Minute, 1, steady(1e6), Input{Max: 7}); n != 7 {
		t.Errorf("%d members, want max", n)
	}

	p = NewConcurrency(cfg) // from zero and back
	if n = run(p, t0, time.Second, 0, steady(0.01), Input{Max: 5}); n != 1 {
		t.Errorf("%d members for the first request, want 1", n)
	}
	if n = run(p, t0.Add(time.Second), 10*time.Minute, n, steady(0), Input{Max: 5}); n != 0 {
		t.Errorf("%d members without load, want 0", n)
	}

	p = NewConcurrency(cfg) // blind: never smaller, and calm begins anew after
	run(p, t0, 10*time.Minute, 5, steady(240), limits)
	blind := limits
	blind.Blind = true
	if n = run(p, t0.Add(10*time.Minute), time.Hour, 5, steady(1), blind); n != 5 {
		t.Errorf("%d members while blind, want 5", n)
	}
	if n = run(p, t0.Add(70*time.Minute), 4*time.Minute, 5, steady(1), limits); n != 5 {
		t.Errorf("%d members soon after, want 5", n)
	}
	if n = run(p, t0.Add(74*time.Minute), 20*time.Minute, 5, steady(1), limits); n != 1 {
		t.Errorf("%d members long after, want 1", n)
	}

	p = NewConcurrency(cfg) // what boots is not ordered again
	a := p.Decide(Input{Now: t0, Since: time.Second, Demand: 1000, Ready: 1, Booting: 19, Max: 100})
	if a.Want != 20 {
		t.Errorf("%+v, want 20", a)
	}
}

func TestAreaMean(t *testing.T) {
	a := area{span: 10 * time.Second}
	t0 := time.Now()
	f := func(d time.Duration, want float64) {
		t.Helper()
		if got := a.mean(d); math.Abs(got-want) > 1e-9 {
			t.Errorf("mean of %s = %g, want %g", d, got, want)
		}
	}
	f(time.Second, 0)
	a.add(t0, 4, 2*time.Second)
	f(10*time.Second, 4) // of what there is
	a.add(t0.Add(2*time.Second), 8, 2*time.Second)
	f(4*time.Second, 6)
	f(3*time.Second, (4+8*2)/3.0)
	f(time.Second, 8)
	for i := range 100 {
		a.add(t0.Add(time.Duration(3+i)*time.Second), 1, time.Second)
	}
	f(10*time.Second, 1)
	if len(a.points) > 13 {
		t.Errorf("%d points kept", len(a.points))
	}
}
