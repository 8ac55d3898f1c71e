package autoscale

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
)

// trace is a load over time, in members that it takes at the target of the
// policy.
type trace struct {
	name   string
	length time.Duration
	at     func(t time.Duration) float64
	step   time.Duration // when it jumps; 0: it does not
}

// warmUp is before all traces, so that every policy has its windows full.
const warmUp = 10 * time.Minute

// noise is a constant load with a fifth of it as noise, new each second.
func noise(mean float64) trace {
	r := rand.New(rand.NewPCG(10, 20))
	values := make([]float64, 3600+int(warmUp/time.Second)+1)
	for i := range values {
		values[i] = max(mean*(1+0.2*r.NormFloat64()), 0)
	}
	return trace{name: "noise", length: time.Hour, at: func(t time.Duration) float64 { return values[int(t/time.Second)] }}
}

func traces() []trace {
	return []trace{
		{name: "step", length: 30 * time.Minute, step: warmUp, at: func(t time.Duration) float64 {
			if t < warmUp {
				return 0.9
			}
			return 20
		}},
		{name: "ramp", length: 30 * time.Minute, at: func(t time.Duration) float64 {
			return 0.9 + 19.1*min(max((t-warmUp).Minutes()/10, 0), 1)
		}},
		{name: "spike", length: 30 * time.Minute, step: warmUp, at: func(t time.Duration) float64 {
			if t < warmUp || t >= warmUp+30*time.Second {
				return 2
			}
			return 20
		}},
		noise(9.5),
		{name: "day", length: 24 * time.Hour, at: func(t time.Duration) float64 {
			return 11 - 9*math.Cos(2*math.Pi*(t-warmUp).Hours()/24)
		}},
	}
}

// contender is a policy in a simulation.
type contender struct {
	name string
	unit float64 // requests in flight that make one member
	make func() Policy
}

func contenders() []contender {
	return []contender{
		{"concurrency", 50, func() Policy {
			return NewConcurrency(ConcurrencyConfig{Target: 50, Stable: time.Minute, Panic: time.Second, Calm: 5 * time.Minute})
		}},
		{"wso2 as shipped", 210, func() Policy { return NewWSO2(shippedWSO2()) }},
		{"Kubernetes HPA", 50, func() Policy { return newHPA(50) }},
		{"Knative KPA", 50, func() Policy { return newKPA(50) }},
	}
}

// outcome is what came of one policy on one trace.
type outcome struct {
	ordered   time.Duration // from the step until as many as it takes are ordered; -1: never
	seconds   float64       // members x seconds paid for, booting ones included
	oracle    float64       // likewise of one that knows the trace
	reversals int
	short     float64 // share of the load that was more than the members there were should take
	sizes     []int   // ready members, each 10 s
}

// world is a load, and members that boot and go; it implements Fleet and
// Driver in virtual time.
type world struct {
	tr    *trace
	unit  float64
	boot  time.Duration
	begun time.Time

	mu      sync.Mutex // guards all below
	members []Member
	area    float64 // microseconds x requests
	upTo    time.Duration
}

// simKey is the one cluster there is.
var simKey = balancer.Key{Domain: "d", SubDomain: "worker"}

func (w *world) Observe(now time.Time) []Observation {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := now.Sub(w.begun)
	const grain = 100 * time.Millisecond
	for ; w.upTo+grain <= t; w.upTo += grain {
		w.area += w.tr.at(w.upTo+grain/2) * w.unit * float64(grain.Microseconds())
	}
	return []Observation{{simKey, balancer.Totals{InFlight: int64(math.Round(w.tr.at(t) * w.unit)), Area: uint64(w.area)}, slices.Clone(w.members)}}
}

func (w *world) Drain(_ balancer.Key, member string, drain bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.members {
		if w.members[i].ID == member {
			w.members[i].State = map[bool]string{true: "draining", false: "up"}[drain]
		}
	}
	return nil
}

func (w *world) Doubt() string { return "" }

func (w *world) Start(_ context.Context, o Order) ([]string, error) {
	var names []string
	for i := range o.Count {
		name := fmt.Sprintf("m%d-%d", o.Sequence, i)
		names = append(names, name)
		time.AfterFunc(w.boot+250*time.Millisecond, func() { // between ticks and measurements
			w.mu.Lock()
			defer w.mu.Unlock()
			w.members = append(w.members, Member{ID: name, State: "up"})
		})
	}
	return names, nil
}

func (w *world) Stop(_ context.Context, o Order) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members = slices.DeleteFunc(w.members, func(m Member) bool { return m.ID == o.Member })
	return nil
}

func (w *world) List(context.Context, balancer.Key) (Listing, error) { return Listing{}, ErrNoList }

// simulate runs a policy in the real Scaler against a trace, in virtual time.
func simulate(t *testing.T, c contender, tr trace, boot time.Duration) (out outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		first := ceil(tr.at(0))
		w := &world{tr: &tr, unit: c.unit, boot: boot, begun: time.Now()}
		for i := range first {
			w.members = append(w.members, Member{ID: fmt.Sprintf("first%d", i), State: "up"})
		}
		settings := Settings{Policy: PolicyConcurrency, Min: 1, Max: 1000, StartupDelay: 10 * time.Minute, Drain: 0, PeerExpiry: time.Minute,
			Driver: DriverConfig{Exec: &ExecConfig{}}}
		s, err := New(Config{Clusters: []ClusterConfig{{simKey, settings}}}, Options{Fleet: w, Log: zerolog.Nop(),
			Driver: func(DriverConfig) (Driver, error) { return w, nil }})
		if err != nil {
			t.Fatal(err)
		}
		s.clusters[simKey].policy = c.make()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		time.Sleep(500 * time.Millisecond) // between ticks
		out = watchSim(s, w, &tr, boot, ceil(tr.at(warmUp)))
		cancel()
		<-ended
	})
	return out
}

// watchSim measures once a second, after the warm-up.
func watchSim(s *Scaler, w *world, tr *trace, boot time.Duration, needed int) outcome {
	out := outcome{ordered: -1}
	var load, missed float64
	last, direction := 0, 0
	for time.Since(w.begun) < warmUp+tr.length {
		t := time.Since(w.begun)
		if t >= warmUp {
			s.mu.Lock()
			st := s.clusters[simKey]
			ready, paid := st.input.Ready, st.input.Ready+st.booting()+st.input.Stopping
			going := ready + st.booting()
			s.mu.Unlock()
			if out.ordered < 0 && going >= needed {
				out.ordered = max(t-tr.step, 0)
			}
			out.seconds += float64(paid)
			most := 0.0
			for u := t; u <= t+boot; u += min(max(boot/10, time.Second), max(t+boot-u, time.Second)) {
				most = max(most, tr.at(min(u, warmUp+tr.length-1)))
			}
			out.oracle += float64(ceil(most))
			load += tr.at(t)
			missed += max(tr.at(t)-float64(ready), 0)
			if last != 0 && going != last {
				d := 1
				if going < last {
					d = -1
				}
				if direction != 0 && d != direction {
					out.reversals++
				}
				direction = d
			}
			last = going
			if int(t/time.Second)%10 == 0 {
				out.sizes = append(out.sizes, ready)
			}
		}
		time.Sleep(time.Second)
	}
	out.short = missed / load
	return out
}
