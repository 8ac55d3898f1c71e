package traffic

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jetway/test/harness"
)

const (
	canaryClients  = 200
	canaryMembers  = 4
	canaryAttempts = 3
)

// TestCanary is the test under load: nothing may reach the wrong client,
// run twice that must not, or look whole that is not, and nothing may be left
// behind.
func TestCanary(t *testing.T) {
	seed := uint64(envInt("JETWAY_SEED", int(rand.Uint32())))
	length := canaryTime(t)
	t.Logf("JETWAY_SEED=%d JETWAY_TRAFFIC=%v", seed, length)
	l := newLedger()
	members, ports := startMoody(t, l, seed)
	b := startBench(t, options{service: fmt.Sprintf("    retry: {attempts: %d, budget: 100%%}\n", canaryAttempts)}, ports...)
	before := b.leftovers()

	ctx, cancel := context.WithTimeout(context.Background(), length+time.Minute)
	defer cancel()
	go func() { // a machine that is busy with other tests gets more time
		for start := time.Now(); time.Since(start) < length || l.count() < 3*canaryClients && ctx.Err() == nil; {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	var stop atomic.Bool
	var clients, others sync.WaitGroup
	for _, m := range members {
		others.Go(func() { m.forget(&stop) })
	}
	counts := &tally{n: map[string]int{}}
	for i := range canaryClients {
		k := &restlessClient{addr: b.addr, id: uint64(i + 1), rng: rand.New(rand.NewPCG(seed, uint64(1000+i))), ledger: l, tally: counts}
		clients.Go(func() { k.run(ctx) })
	}
	var fullest leftovers
	clients.Go(func() {
		for ctx.Err() == nil {
			fullest = fullest.max(b.leftovers())
			time.Sleep(200 * time.Millisecond)
		}
	})
	clients.Wait()
	stop.Store(true)
	others.Wait()
	for _, m := range members {
		m.CloseIdle()
	}

	requests, executions, repeated := l.audit(canaryAttempts)
	t.Logf("%d requests, %d executions, %d requests executed more than once", requests, executions, repeated)
	for _, name := range slices.Sorted(keys(counts.n)) {
		t.Logf("%8d %s", counts.n[name], name)
	}
	_, metrics := b.Get("/metrics")
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "jetway_refused_total") && !strings.HasSuffix(line, " 0\n") {
			t.Logf("%s", strings.TrimSpace(line))
		}
	}
	for _, text := range l.wrong.list {
		t.Error(text)
	}
	if n := l.wrong.n.Load(); n > 0 {
		t.Errorf("%d wrong in all; repeat with JETWAY_SEED=%d", n, seed)
	}
	if n := counts.n[needless]; n > 5+requests/5000 {
		t.Errorf("%d answers %s", n, needless)
	}
	if requests < 3*canaryClients && !testing.Short() {
		t.Errorf("only %d requests in %v", requests, length)
	}
	b.quiet(t)
	b.backTo(t, before, fullest)
}

// canaryTime is how long the canary runs.
func canaryTime(t *testing.T) time.Duration {
	if text := os.Getenv("JETWAY_TRAFFIC"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("JETWAY_TRAFFIC: %v", err)
		}
		return d
	}
	if testing.Short() {
		return time.Second
	}
	return 3 * time.Second
}

// startMoody starts the canary's members.
func startMoody(t *testing.T, l *ledger, seed uint64) (members []*moody, ports []int) {
	for i := range canaryMembers {
		m := &moody{seed: seed, ledger: l}
		m.Member = harness.StartMember(t, fmt.Sprintf("m%d", i), m.serve)
		members, ports = append(members, m), append(ports, m.Port)
	}
	return members, ports
}

// leftovers is what traffic could leave behind.
type leftovers struct{ goroutines, descriptors int }

func (b *bench) leftovers() leftovers {
	return leftovers{int(b.number("go_goroutines")), b.Descriptors()}
}

func (a leftovers) max(b leftovers) leftovers {
	return leftovers{max(a.goroutines, b.goroutines), max(a.descriptors, b.descriptors)}
}

// backTo waits until Jetway holds no more than before, give or take a little.
func (b *bench) backTo(t *testing.T, before, fullest leftovers) {
	t.Helper()
	var now leftovers
	ok := holds(10*time.Second, func() bool {
		now = b.leftovers()
		return now.goroutines <= before.goroutines+before.goroutines/20+5 && now.descriptors <= before.descriptors+before.descriptors/20+5
	})
	t.Logf("goroutines and descriptors: before %v, at most %v, after %v", before, fullest, now)
	if !ok {
		t.Errorf("goroutines and descriptors were %v and are %v", before, now)
	}
}

// keys yields the keys of a map.
func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
