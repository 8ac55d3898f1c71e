package balancer

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// TestIntegral compares with the sum that the definition gives, over requests
// that begin and end anywhere, readings in between and an area that wraps.
func TestIntegral(t *testing.T) {
	f := func(seed uint64, start int64) {
		t.Helper()
		r := rand.New(rand.NewPCG(seed, 1))
		var g integral
		var open []int64
		now, want := start, 0.0
		_, before := g.read(now)
		got := 0.0
		for range 2000 {
			step := r.Int64N(50_000)
			want += float64(len(open)) * float64(step)
			now += step
			switch n := len(open); {
			case r.IntN(3) == 0 && n > 0:
				open = open[:n-1]
				g.end(now)
			case n < 300:
				open = append(open, now)
				g.begin(now)
			}
			n, area := g.read(now)
			if n != int64(len(open)) {
				t.Fatalf("%d in flight, want %d", n, len(open))
			}
			got += float64(AreaBetween(before, area).Microseconds())
			before = area
		}
		if got != want {
			t.Fatalf("area %g, want %g", got, want)
		}
	}
	f(1, 0)
	f(2, 1<<43-1) // the area wraps
	f(3, 365*86400e6)
}

// TestIntegralConcurrent: readers never see a count without its time.
func TestIntegralConcurrent(t *testing.T) {
	var g integral
	origin := time.Now()
	at := func() int64 { return time.Since(origin).Microseconds() }
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					g.begin(at())
					g.end(at())
				}
			}
		})
	}
	_, last := g.read(at())
	begun := time.Now()
	sum := time.Duration(0)
	for range 200_000 {
		_, area := g.read(at())
		sum += AreaBetween(last, area)
		last = area
	}
	took := time.Since(begun)
	close(stop)
	wg.Wait()
	if n, _ := g.read(at()); n != 0 {
		t.Errorf("%d left in flight", n)
	}
	if sum > 5*took { // four at most at a time, and the crossing of clocks
		t.Errorf("area of %s in %s with at most 4 in flight", sum, took)
	}
}

// TestTotals: an elastic cluster knows its mean requests in flight.
func TestTotals(t *testing.T) {
	c := &Cluster{Config: &ClusterConfig{Elastic: true}, State: newState()}
	t0 := time.Now()
	before := c.State.Totals(t0)
	for range 10 {
		c.Begin(t0)
	}
	now := t0.Add(2 * time.Second)
	after := c.State.Totals(now)
	mean := AreaBetween(before.Area, after.Area).Seconds() / now.Sub(t0).Seconds()
	if math.Abs(mean-10) > 1e-6 || after.InFlight != 10 {
		t.Errorf("mean %g, %d in flight, want 10", mean, after.InFlight)
	}
	for range 10 {
		c.End(200)
	}
	if got := c.State.Totals(time.Now()); got.InFlight != 0 || got.Ended != 10 {
		t.Errorf("%+v", got)
	}
	c.State.Signals.Hold()
	if n := c.State.Signals.Held(); n != 1 {
		t.Errorf("%d held", n)
	}
	c.State.Signals.Unhold()
	if n := c.State.Totals(time.Now()).Held; n != 0 {
		t.Errorf("%d held", n)
	}
}

func BenchmarkClusterPlain(b *testing.B)   { benchmarkCluster(b, false) }
func BenchmarkClusterElastic(b *testing.B) { benchmarkCluster(b, true) }

// benchmarkCluster is what one request adds to a cluster's counters, all cores
// in the same cluster.
func benchmarkCluster(b *testing.B, elastic bool) {
	c := &Cluster{Config: &ClusterConfig{Elastic: elastic}, State: newState()}
	b.RunParallel(func(pb *testing.PB) {
		now := time.Now()
		for pb.Next() {
			c.Begin(now)
			c.End(200)
		}
	})
}
