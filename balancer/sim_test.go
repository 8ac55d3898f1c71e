package balancer

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"testing"
	"time"
)

// The simulations let the pickers that serve requests, with the Router and
// its Table around them, decide in virtual time with seeded random numbers, and
// compare what comes out with published results. docs/balancing.md holds the
// tables of the long form: JETWAY_LONG=1 go test ./balancer -run Simulation -v

// long says whether the simulations run at full size.
func long() bool { return os.Getenv("JETWAY_LONG") != "" }

// world is a cluster in virtual time.
type world struct {
	t    testing.TB
	now  float64 // seconds
	rand *rand.Rand
	*Router
	cluster *Cluster
	view    *View
	index   map[*Endpoint]int
	events  eventHeap
}

func newWorld(t testing.TB, policy Policy, members []Member, seed uint64) *world {
	t.Helper()
	w := &world{t: t, now: 1000, rand: rand.New(rand.NewPCG(seed, 8)), index: map[*Endpoint]int{}}
	cfg := example(t)
	cfg.Clusters[0].Balance = policy
	cfg.Clusters[0].Health = standard()
	r, err := NewRouter(cfg, Options{Now: w.nanos, Random: w.rand.Uint64})
	if err != nil {
		t.Fatal(err)
	}
	w.Router = r
	r.SetMembers(members)
	for _, c := range r.Table().Clusters() {
		if c.Config.Key == (Key{"shared", "worker"}) {
			w.cluster = c
		}
	}
	w.view = view(t, r, "as.test")
	w.view.state.turn.Store(w.rand.Uint64())
	for i, e := range w.view.Endpoints() {
		w.index[e] = i
	}
	return w
}

func (w *world) nanos() int64 { return int64(w.now * 1e9) }

// pick chooses and counts in, as a request does.
func (w *world) pick(hash uint64) int {
	w.cluster.Begin(time.Unix(0, w.nanos()))
	e := w.view.Pick(w.nanos(), hash, nil)
	e.Begin()
	return w.index[e]
}

// end counts out a request that was picked for member i.
func (w *world) end(i, status int) {
	w.view.Endpoints()[i].End()
	w.cluster.End(status)
}

// after lets do happen in some seconds.
func (w *world) after(d float64, do func()) { heap.Push(&w.events, event{w.now + d, do}) }

// run lets everything happen that is due until end.
func (w *world) run(end float64) {
	for len(w.events) > 0 && w.events[0].at <= end {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = end
}

type event struct {
	at float64
	do func()
}

type eventHeap []event

func (h eventHeap) Len() int           { return len(h) }
func (h eventHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h eventHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *eventHeap) Push(x any) { *h = append(*h, x.(event)) }

// Pop implements heap.Interface.
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

// line prints one row of a table.
func line(t testing.TB, what string, published, ours any, ok bool) {
	t.Helper()
	verdict := "ok"
	if !ok {
		verdict = "differs"
		t.Fail()
	}
	t.Logf("| %s | %v | %v | %s |", what, published, ours, verdict)
}

func near(got, want, share float64) bool { return math.Abs(got-want) <= share*want }

// queues runs n queues in which each member serves one request after the
// other, exponentially, mean 1 s, at load lambda; it returns the mean time in
// the system and the share of queues of at least 1..6 requests.
func queues(t testing.TB, policy Policy, n, arrivals int, lambda float64, seed uint64) (mean float64, tail [7]float64) {
	w := newWorld(t, policy, workers(n), seed)
	waiting := make([][]float64, n)
	var serve func(i int)
	served, total := 0, 0.0
	warm := arrivals / 4
	if lambda > 0.98 && policy == Random {
		warm = arrivals / 2 // it takes (1 - sqrt(load))^-2 = 40,000 s to fall to 1/e
	}
	serve = func(i int) {
		w.after(w.rand.ExpFloat64(), func() {
			came := waiting[i][0]
			waiting[i] = waiting[i][1:]
			if came > 0 {
				served++
				total += w.now - came
			}
			w.end(i, 200)
			if len(waiting[i]) > 0 {
				serve(i)
			}
		})
	}
	samples := 0
	for k := range arrivals {
		w.run(w.now + w.rand.ExpFloat64()/(lambda*float64(n)))
		came := w.now
		if k < warm {
			came = -1 // filling up is no steady state
		}
		i := w.pick(0)
		if waiting[i] = append(waiting[i], came); len(waiting[i]) == 1 {
			serve(i)
		}
		if k >= warm && k%n == 0 {
			samples += n
			for i := range waiting {
				for l := 1; l <= min(len(waiting[i]), 6); l++ {
					tail[l]++
				}
			}
		}
	}
	for l := range tail {
		tail[l] /= float64(samples)
	}
	return total / float64(served), tail
}

// TestSimulationTwoChoices is B1 and B2: mean time in system by the fixed
// point of Mitzenmacher (1996) and Vvedenskaya et al. (1996).
func TestSimulationTwoChoices(t *testing.T) {
	t.Parallel()
	f := func(policy Policy, lambda, published float64, arrivals int, within float64) {
		t.Helper()
		if !long() {
			arrivals, within = arrivals/15, within+0.02
		}
		mean, tail := queues(t, policy, 500, arrivals, lambda, 1)
		line(t, fmt.Sprintf("%s, load %.2f: mean time", policy, lambda), published, fmt.Sprintf("%.3f", mean), near(mean, published, within))
		if policy == LeastRequests && lambda == 0.9 {
			for k := 1; k <= 6; k++ {
				want := math.Pow(lambda, math.Pow(2, float64(k))-1)
				line(t, fmt.Sprintf("load 0.90: queues of %d or more", k), fmt.Sprintf("%.4f", want), fmt.Sprintf("%.4f", tail[k]), math.Abs(tail[k]-want) <= 0.01)
			}
		}
	}
	f(Random, 0.5, 2.000, 3e6, 0.02)
	f(LeastRequests, 0.5, 1.266, 3e6, 0.02)
	f(LeastRequests, 0.7, 1.614, 3e6, 0.02)
	f(LeastRequests, 0.8, 1.947, 3e6, 0.02)
	f(LeastRequests, 0.9, 2.614, 3e6, 0.02)
	if long() {
		f(Random, 0.7, 3.333, 4e6, 0.02)
		f(Random, 0.8, 5.000, 6e6, 0.02)
		f(Random, 0.9, 10.00, 20e6, 0.02)
		f(Random, 0.95, 20.00, 60e6, 0.02)
		f(Random, 0.99, 100.0, 200e6, 0.05)
		f(LeastRequests, 0.95, 3.383, 10e6, 0.02)
		f(LeastRequests, 0.99, 5.432, 30e6, 0.05)
	}
}

// TestSimulationSmoothOrder is B4: the order of nginx's commit 21ad7d0.
func TestSimulationSmoothOrder(t *testing.T) {
	list := workers(3)
	list[0].Weight = 5
	w := newWorld(t, RoundRobin, list, 1)
	w.view.state.turn.Store(^uint64(0))
	got := ""
	for range 14 {
		i := w.pick(0)
		w.end(i, 200)
		got += string(rune('a' + i))
	}
	line(t, "weights 5, 1, 1", "aabacaa aabacaa", got[:7]+" "+got[7:], got == "aabacaaaabacaa")
}

// over is by how much the fullest of n is above the average.
func over(counts []int) float64 {
	sum := 0
	for _, c := range counts {
		sum += c
	}
	return float64(slices.Max(counts))*float64(len(counts))/float64(sum) - 1
}

// TestSimulationShares is B5: by how much the member with the largest part of
// the keys is above the average, N = 1000 (Maglev, 5.3).
func TestSimulationShares(t *testing.T) {
	t.Parallel()
	n, keys := 1000, 65537
	w := newWorld(t, Hash, workers(n), 1)
	start := time.Now()
	table := newMaglev(w.view.slots)
	took := time.Since(start)
	counts := make([]int, n)
	for _, i := range table {
		counts[i]++
	}
	line(t, "Maglev, 65537 places", "about 0 %", fmt.Sprintf("%.1f %%", 100*over(counts)), over(counts) <= 0.02)
	t.Logf("| Maglev: building the table | 1.8 ms | %.1f ms | |", float64(took.Microseconds())/1000)
	if !long() {
		return
	}
	// The largest of 1,000 random counts: what theory expects of any hash, on
	// average over runs. The paper's figures are those of one run each.
	f := func(what, published string, keys, runs int, theory float64, of func(v *View, key uint64) int) {
		t.Helper()
		sum := 0.0
		for run := range runs {
			counts := make([]int, n)
			for k := range keys {
				counts[of(w.view, mix(uint64(run)<<32+uint64(k)+1))]++
			}
			sum += over(counts) / float64(runs)
		}
		line(t, fmt.Sprintf("%s, %d keys, %d runs", what, keys, runs), fmt.Sprintf("%s (theory %.1f %%)", published, 100*theory),
			fmt.Sprintf("%.1f %%", 100*sum), math.Abs(sum-theory) <= 0.025)
	}
	f("rendezvous", "49.5 %", keys, 30, 0.424, rendezvousOf)
	f("rendezvous", "12.3 %", 655373, 4, 0.129, rendezvousOf)
	ring := newRing(w.view, 1000)
	f("ring of 1000 points a member (a model)", "29.7 %", keys, 30, 0.437, ring)
	f("ring of 1000 points a member (a model)", "10.3 %", 655373, 4, 0.166, ring)
}

// rendezvousOf makes the choice of pickHash below rendezvousMax, in clusters
// of any size.
func rendezvousOf(v *View, hash uint64) int {
	table := v.maglev
	v.maglev = nil
	defer func() { v.maglev = table }()
	return v.pickHash(1, hash, nil)
}

// newRing is a ring of points (Karger et al. 1997), which Jetway does not use:
// for comparison. Shares of its arcs differ by 1/sqrt(points), to which comes
// what differs by chance among the keys.
func newRing(v *View, points int) func(*View, uint64) int {
	type point struct {
		at uint64
		i  int
	}
	var ring []point
	for i := range v.slots {
		h := v.slots[i].endpoint.Upstream.hash
		for range points {
			h = mix(h + 0x9e3779b97f4a7c15)
			ring = append(ring, point{h, i})
		}
	}
	slices.SortFunc(ring, func(a, b point) int {
		if a.at < b.at {
			return -1
		}
		return 1
	})
	return func(_ *View, key uint64) int {
		at := sort.Search(len(ring), func(i int) bool { return ring[i].at >= key })
		return ring[at%len(ring)].i
	}
}

// TestSimulationDisruption is B6: how many keys move when one member goes, in
// multiples of those that must.
func TestSimulationDisruption(t *testing.T) {
	t.Parallel()
	runs, n := 10, 100
	if long() {
		runs = 200
	}
	list := workers(n)
	rnd := rand.New(rand.NewPCG(6, 6))
	before := newWorld(t, Hash, list, 1)
	maglev, rendezvous, onRing, must, mustKeys, mustRing := 0, 0, 0, 0, 0, 0
	const keys, points = 2000, 100
	ringBefore := newRing(before.view, points)
	for range runs {
		gone := rnd.IntN(n)
		after := newWorld(t, Hash, slices.Delete(slices.Clone(list), gone, gone+1), 1)
		renumber := func(i uint16) int {
			if int(i) >= gone {
				return int(i) + 1
			}
			return int(i)
		}
		for place, was := range before.view.maglev {
			if int(was) == gone {
				must++
			}
			if renumber(after.view.maglev[place]) != int(was) {
				maglev++
			}
		}
		ringAfter := newRing(after.view, points)
		for k := range keys {
			on := ringBefore(nil, mix(uint64(k)+1))
			if on == gone {
				mustRing++
			}
			if renumber(uint16(ringAfter(nil, mix(uint64(k)+1)))) != on {
				onRing++
			}
			was := rendezvousOf(before.view, mix(uint64(k)+1))
			if was == gone {
				mustKeys++
			}
			if renumber(uint16(rendezvousOf(after.view, mix(uint64(k)+1)))) != was {
				rendezvous++
			}
		}
	}
	ratio := float64(maglev) / float64(must)
	line(t, fmt.Sprintf("Maglev, 1 of %d members goes, %d runs", n, runs), "about double", fmt.Sprintf("%.2f", ratio), ratio >= 1.2 && ratio <= 2.5)
	line(t, "rendezvous, likewise", "exactly 1", fmt.Sprintf("%.2f", float64(rendezvous)/float64(mustKeys)), rendezvous == mustKeys)
	line(t, "ring (a model), likewise", "exactly 1", fmt.Sprintf("%.2f", float64(onRing)/float64(mustRing)), onRing == mustRing)
}

// TestSimulationSlowMember is B7: 11 members that answer in 167 ms, one of
// which takes 2 s for half a minute (Linkerd's experiment of 2016).
func TestSimulationSlowMember(t *testing.T) {
	t.Parallel()
	f := func(policy Policy, published string, lo, hi float64) {
		t.Helper()
		const rate, run = 1000.0, 60.0
		good, all := 0, 0
		seeds := uint64(1)
		if long() {
			seeds = 10
		}
		for seed := range seeds {
			w := newWorld(t, policy, workers(11), seed)
			from := w.now
			for w.now < from+run {
				w.run(w.now + w.rand.ExpFloat64()/rate)
				i, begun := w.pick(0), w.nanos()
				took := 0.167 + 0.005*w.rand.NormFloat64()
				if age := w.now - from; i == 0 && age >= 15 && age < 45 {
					took = 2
				}
				if all++; took <= 1 {
					good++
				}
				w.after(took, func() {
					e := w.view.Endpoints()[i]
					w.view.Answered(e, 200, w.nanos()-begun, w.nanos())
					w.view.Completed(e, 200, begun, w.nanos())
					w.end(i, 200)
				})
			}
		}
		share := 100 * float64(good) / float64(all)
		line(t, string(policy)+": answered within 1 s", published, fmt.Sprintf("%.2f %%", share), share >= lo && share <= hi)
	}
	f(RoundRobin, "about 95 %", 95.1, 95.8)
	f(LeastRequests, "about 99 %", 98.7, 100)
	f(PeakEWMA, "about 99.9 %", 99.85, 100)
}

// TestSimulationBounds is B14: no member gets a request while it has more than
// 1.25 times its share, whatever the keys are.
func TestSimulationBounds(t *testing.T) {
	t.Parallel()
	f := func(n int, weighted bool) {
		t.Helper()
		list := workers(n)
		for i := range list {
			if weighted {
				list[i].Weight = 1 + i%3
			}
		}
		w := newWorld(t, Hash, list, uint64(n))
		sum := int64(0)
		for _, m := range list {
			sum += int64(m.Weight)
		}
		zipf := rand.NewZipf(w.rand, 1.1, 1, 10000)
		requests, worst, same := 20000, 0.0, 0
		if long() {
			requests = 500000
		}
		var under []int
		home := map[uint64]int{}
		for range requests {
			key := zipf.Uint64()
			i := w.pick(mix(key) | 1)
			if at, ok := home[key]; ok && at == i {
				same++
			}
			home[key] = i
			under = append(under, i)
			u := w.view.Endpoints()[i].Upstream
			most := bound(w.view.state.InFlight.Load(), int64(u.Weight()), sum)
			worst = max(worst, float64(u.InFlight())/float64(most))
			if w.rand.IntN(40*n) < len(under) { // about 20 in flight a member
				k := w.rand.IntN(len(under))
				w.end(under[k], 200)
				under[k] = under[len(under)-1]
				under = under[:len(under)-1]
			}
		}
		kind := "rendezvous"
		if w.view.maglev != nil {
			kind = "Maglev"
		}
		if weighted {
			kind += ", weights 1 to 3"
		}
		line(t, fmt.Sprintf("%s, %d members, Zipf keys: fullest member, of its bound", kind, n), "never above 1", fmt.Sprintf("%.3f", worst), worst <= 1)
		t.Logf("| of these, requests that went where their key went last | | %.1f %% | |", 100*float64(same)/float64(requests))
	}
	f(10, false)
	f(50, true)
	f(100, false)
}

// TestSimulationAmplification is B15: all attempts fail for 30 s; a budget of
// 20 % keeps them at 1.2 per request.
func TestSimulationAmplification(t *testing.T) {
	t.Parallel()
	w := newWorld(t, LeastRequests, workers(10), 1)
	const rate, run = 1000.0, 30.0
	from, requests, tries := w.now, 0, 0
	for w.now < from+run {
		w.run(w.now + w.rand.ExpFloat64()/rate)
		requests++
		w.cluster.Begin(time.Unix(0, w.nanos()))
		var tried []*Upstream
		for attempt := 0; attempt < 3; attempt++ {
			if attempt > 0 && !w.view.state.MayRetry() {
				break
			}
			e := w.view.Pick(w.nanos(), 0, tried)
			if e == nil {
				break
			}
			tries++
			tried = append(tried, e.Upstream)
			w.view.Broke(e, w.nanos(), w.nanos(), "reset")
		}
		w.cluster.End(502)
	}
	got := float64(tries) / float64(requests)
	line(t, "attempts per request while all fail", "at most 1.2", fmt.Sprintf("%.4f", got), got <= 1.2+3.0/float64(requests)+1e-9)
	if got < 1.19 {
		t.Errorf("%.3f attempts per request: the budget is not used", got)
	}
}
