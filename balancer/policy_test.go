package balancer

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"
)

// shares lets requests come and go with load of them in flight, and returns
// the share of each member.
func (w *world) shares(requests, load int, hash func(k int) uint64) []float64 {
	counts := make([]float64, len(w.view.slots))
	var under []int
	for k := range requests {
		i := w.pick(hash(k))
		counts[i] += 1 / float64(requests)
		if under = append(under, i); len(under) > load {
			at := w.rand.IntN(len(under))
			w.end(under[at], 200)
			under[at] = under[len(under)-1]
			under = under[:len(under)-1]
		}
	}
	for _, i := range under {
		w.end(i, 200)
	}
	return counts
}

// TestWeights: every policy gives members their share by weight, in small and
// in large clusters, with much in flight and with next to nothing.
func TestWeights(t *testing.T) {
	for _, policy := range []Policy{LeastRequests, RoundRobin, Random, PeakEWMA, Hash} {
		for _, n := range []int{4, 40, 100} {
			for _, load := range []int{0, 1, n / 2, 20 * n} {
				if policy == Hash && load == 1 {
					continue // of two requests the bound lets no member have both
				}
				list := workers(n)
				for i := range list {
					list[i].Weight = 1 + i%2*3 // 1 and 4
				}
				w := newWorld(t, policy, list, uint64(n))
				for _, e := range w.view.Endpoints() {
					e.Upstream.observe(w.nanos(), 1e6) // equally fast
				}
				shares := w.shares(20000, load, func(k int) uint64 { return mix(uint64(k) + 1) })
				light, heavy := 0.0, 0.0
				for i, s := range shares {
					if i%2 == 0 {
						light += s
					} else {
						heavy += s
					}
				}
				most := 4.6
				if load < 20*n {
					most = 5 // one request is much where there are few
				}
				if ratio := heavy / light; ratio < 3.4 || ratio > most {
					t.Errorf("%s, %d members, %d in flight: those of weight 4 get %.2f times what those of weight 1 get", policy, n, load, ratio)
				}
			}
		}
	}
}

// TestEvenWithoutOne: what a member that drains would get goes to all others
// alike, however little there is to do.
func TestEvenWithoutOne(t *testing.T) {
	w := newWorld(t, LeastRequests, workers(4), 1)
	if _, err := w.Drain("w001", true); err != nil {
		t.Fatal(err)
	}
	for i, s := range w.shares(6000, 0, func(int) uint64 { return 0 }) {
		if i == 1 && s > 0 || i != 1 && (s < 0.3 || s > 0.37) {
			t.Errorf("member %d of 4, of which 1 drains, gets %.3f of the requests", i, s)
		}
	}
}

// TestStickyPicksCount: round robin gives a member that bound requests go to
// fewer new ones, and does not starve it.
func TestStickyPicksCount(t *testing.T) {
	w := newWorld(t, RoundRobin, workers(4), 1)
	counts := [4]int{}
	for range 1000 { // every second request is bound to the first
		w.view.Sticky(w.view.Endpoints()[0])
		i := w.pick(0)
		w.end(i, 200)
		counts[i]++
	}
	if counts[0] > 10 {
		t.Fatalf("of 1,000 new requests the member with 1,000 bound ones gets %v", counts)
	}
	for range 1000 {
		w.view.Sticky(w.view.Endpoints()[0]) // a burst
	}
	counts = [4]int{}
	for range 8 {
		i := w.pick(0)
		w.end(i, 200)
		counts[i]++
	}
	if counts[0] == 0 {
		t.Fatalf("a burst of bound requests starves the member: %v", counts)
	}
}

// TestRoundRobinSkipsEvenly: the turns of a member that is out are shared by
// all others.
func TestRoundRobinSkipsEvenly(t *testing.T) {
	w := newWorld(t, RoundRobin, workers(5), 1)
	w.view.Unreachable(w.view.Endpoints()[1], w.nanos(), w.nanos(), "refused")
	for i, s := range w.shares(4000, 0, func(int) uint64 { return 0 }) {
		if want := map[bool]float64{true: 0, false: 0.25}[i == 1]; math.Abs(s-want) > 0.001 {
			t.Fatalf("member %d gets %.3f, want %.2f", i, s, want)
		}
	}
}

// TestHashIsSteady: equal keys go to the same member, also over a rebuild, and
// when a member fails only its keys move.
func TestHashIsSteady(t *testing.T) {
	for _, n := range []int{5, 80} {
		w := newWorld(t, Hash, workers(n), 1)
		home := map[int]*Upstream{}
		at := func(k int) *Upstream {
			return w.view.Pick(w.nanos(), mix(uint64(k)+1), nil).Upstream
		}
		for k := range 2000 {
			home[k] = at(k)
		}
		table := w.view.maglev
		w.SetMembers(workers(n))
		w.view = view(t, w.Router, "as.test")
		if n >= rendezvousMax && &table[0] != &w.view.maglev[0] {
			t.Error("the table was built again for the same members")
		}
		for k := range 2000 {
			if at(k) != home[k] {
				t.Fatalf("%d members: key %d moved", n, k)
			}
		}
		out := w.view.Endpoints()[3]
		w.view.Unreachable(out, w.nanos(), w.nanos(), "refused")
		to := map[*Upstream]int{}
		for k := range 2000 {
			switch got := at(k); {
			case home[k] == out.Upstream && got == out.Upstream:
				t.Fatalf("key %d stays with a member that is out", k)
			case home[k] == out.Upstream:
				to[got]++
			case got != home[k]:
				t.Fatalf("%d members: key %d moved, though its member is well", n, k)
			}
		}
		if len(to) < min(4, n-1) {
			t.Errorf("%d members: all keys of one went to %d others", n, len(to))
		}
	}
}

func TestHashRequest(t *testing.T) {
	hash := func(by HashBy, path, client string) uint64 {
		cfg := example(t)
		cfg.Clusters[0].Balance, cfg.Clusters[0].HashBy = Hash, by
		r := newRouter(t, cfg, workers(3)...)
		var d Decision
		req := Request{Host: []byte("as.test"), Path: []byte(path), Listener: "http", PublicPort: 80, Client: netip.MustParseAddr(client), Fields: fieldsOf{"x-key": path}}
		if reason := r.Table().Route(&req, &d); reason != OK {
			t.Fatal(reason)
		}
		return d.Hash
	}
	f := func(by HashBy, pathA, clientA, pathB, clientB string, equal bool) {
		t.Helper()
		a, b := hash(by, pathA, clientA), hash(by, pathB, clientB)
		if (a == b) != equal || a == 0 {
			t.Fatalf("%v: %x and %x", by, a, b)
		}
	}
	f(HashBy{What: HashTenant}, "/t/t7/a", "10.0.0.1", "/t/t7/b", "10.0.0.2", true)
	f(HashBy{What: HashTenant}, "/t/t7/a", "10.0.0.1", "/t/t8/a", "10.0.0.1", false)
	f(HashBy{What: HashPath}, "/a", "10.0.0.1", "/a", "10.0.0.2", true)
	f(HashBy{What: HashPath}, "/a", "10.0.0.1", "/b", "10.0.0.1", false)
	f(HashBy{What: HashSource}, "/a", "10.0.0.1", "/b", "10.0.0.1", true)
	f(HashBy{What: HashSource}, "/a", "10.0.0.1", "/a", "10.0.0.2", false)
	f(HashBy{What: HashHeader, Header: "x-key"}, "/a", "10.0.0.1", "/a", "10.0.0.2", true)
	f(HashBy{What: HashHeader, Header: "x-key"}, "/a", "10.0.0.1", "/b", "10.0.0.2", false)
	if h := hash(HashBy{What: HashHeader, Header: "x-none"}, "/a", "10.0.0.1"); h != 0 {
		t.Fatalf("a request without the field has hash %x", h)
	}
	if h := hash(HashBy{What: HashTenant}, "/a", "10.0.0.1"); h != 0 {
		t.Fatalf("a request without tenant has hash %x", h)
	}
}

// fieldsOf are header fields.
type fieldsOf map[string]string

// Field implements tenant.Fields.
func (f fieldsOf) Field(name string, from int) ([]byte, int) {
	if v, ok := f[name]; ok && from == 0 {
		return []byte(v), 1
	}
	return nil, -1
}

// TestHashQuality: bits of near keys differ in half of the cases.
func TestHashQuality(t *testing.T) {
	flips, n := 0, 0
	for k := range 2000 {
		a := []byte(fmt.Sprintf("key-%d", k))
		for bit := range 8 * len(a) {
			b := append([]byte{}, a...)
			b[bit/8] ^= 1 << (bit % 8)
			for x := hashBytes(0, a) ^ hashBytes(0, b); x != 0; x &= x - 1 {
				flips++
			}
			n++
		}
	}
	if mean := float64(flips) / float64(n); mean < 31.9 || mean > 32.1 {
		t.Fatalf("%.2f of 64 bits flip", mean)
	}
}

// TestLatencyIsForgottenWithTime: a member that was slow once is tried again,
// though it gave no new answer meanwhile.
func TestLatencyIsForgottenWithTime(t *testing.T) {
	w := newWorld(t, PeakEWMA, workers(2), 1)
	slow, fast := w.view.Endpoints()[0].Upstream, w.view.Endpoints()[1].Upstream
	slow.observe(w.nanos(), int64(2*time.Second))
	picked := func() (n int) {
		for range 100 {
			fast.observe(w.nanos(), int64(20*time.Millisecond))
			if i := w.pick(0); i == 0 {
				n++
				w.end(i, 200)
			} else {
				w.end(i, 200)
			}
		}
		return n
	}
	if n := picked(); n > 0 {
		t.Fatalf("the slow member is picked %d times of 100", n)
	}
	w.now += 60
	if n := picked(); n == 0 {
		t.Fatal("the member that was slow a minute ago is not tried again")
	}
	slow.observe(w.nanos(), 5e6)
	slow.observe(w.nanos(), 9e8)
	if got := slow.latencyAt(w.nanos()); got != 9e8 {
		t.Fatalf("a peak counts as %v", got)
	}
}

func TestPicksAllocateNothing(t *testing.T) {
	for _, policy := range []Policy{LeastRequests, RoundRobin, Random, PeakEWMA, Hash} {
		for _, n := range []int{5, 100} {
			list := workers(n)
			list[0].Weight = 3
			w := newWorld(t, policy, list, 1)
			w.view.source = nil
			w.view.Unreachable(w.view.Endpoints()[1], w.nanos(), w.nanos(), "refused")
			w.view.Endpoints()[2].Upstream.addGhost(w.nanos())
			now, k := w.nanos(), uint64(0)
			if got := testing.AllocsPerRun(200, func() {
				k++
				e := w.view.Pick(now, mix(k), nil)
				e.Begin()
				w.view.Answered(e, 200, 1e6, now)
				w.view.Completed(e, 200, now, now)
				e.End()
			}); got != 0 {
				t.Errorf("%s, %d members: %v allocations", policy, n, got)
			}
		}
	}
}
