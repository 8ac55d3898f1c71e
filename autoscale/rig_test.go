package autoscale

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
)

// rig is a Scaler in virtual time over a world, whose driver can be told to
// misbehave.
type rig struct {
	*world
	t        *testing.T
	asked    atomic.Int64 // requests in flight
	settings Settings
	dir      string
	peers    Peers
	max      int

	carried map[string][]string // members by order
	// start and stop replace what the driver does; they may call the world's.
	start func(ctx context.Context, o Order) ([]string, error)
	stop  func(ctx context.Context, o Order) error
	list  func() (Listing, error)

	orders sync.Mutex // guards given and doubt
	given  []Order
	doubt  string
	scaler *Scaler
	ended  chan error
	cancel context.CancelFunc
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, world: &world{unit: 1, boot: 3 * time.Second, begun: time.Now()},
		settings: Settings{Policy: PolicyConcurrency, Min: 1, Max: 10, StartupDelay: time.Minute, Drain: 30 * time.Second, PeerExpiry: time.Minute,
			Concurrency: ConcurrencyConfig{Target: 10, Stable: 10 * time.Second, Panic: time.Second, Calm: 20 * time.Second},
			Driver:      DriverConfig{Exec: &ExecConfig{}}}}
	r.tr = &trace{at: func(time.Duration) float64 { return float64(r.asked.Load()) }}
	return r
}

func (r *rig) Start(ctx context.Context, o Order) ([]string, error) {
	r.note(o)
	if r.start != nil {
		return r.start(ctx, o)
	}
	r.orders.Lock()
	defer r.orders.Unlock()
	if names := r.carried[o.ID]; names != nil {
		return names, nil // a repeated id is the same order
	}
	names, err := r.world.Start(ctx, o)
	if r.carried == nil {
		r.carried = map[string][]string{}
	}
	r.carried[o.ID] = names
	return names, err
}

func (r *rig) Stop(ctx context.Context, o Order) error {
	r.note(o)
	if r.stop != nil {
		return r.stop(ctx, o)
	}
	return r.world.Stop(ctx, o)
}

func (r *rig) note(o Order) {
	r.orders.Lock()
	defer r.orders.Unlock()
	r.given = append(r.given, o)
}

func (r *rig) List(ctx context.Context, _ balancer.Key) (Listing, error) {
	if r.list != nil {
		return r.list()
	}
	return Listing{}, ErrNoList
}

func (r *rig) Doubt() string {
	r.orders.Lock()
	defer r.orders.Unlock()
	return r.doubt
}

func (r *rig) say(doubt string) {
	r.orders.Lock()
	defer r.orders.Unlock()
	r.doubt = doubt
}

// run starts a Scaler, as a process that starts does.
func (r *rig) run() {
	r.t.Helper()
	var err error
	r.scaler, err = New(Config{StateDir: r.dir, MaxMembers: r.max, Clusters: []ClusterConfig{{simKey, r.settings}}},
		Options{Fleet: r, Peers: r.peers, Log: zerolog.Nop(), Driver: func(DriverConfig) (Driver, error) { return r, nil }})
	if err != nil {
		r.t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	scaler, ended := r.scaler, make(chan error, 1)
	r.ended = ended
	go func() { ended <- scaler.Run(ctx) }()
}

func (r *rig) end() {
	r.cancel()
	<-r.ended
}

// after waits and returns the members there are by state.
func (r *rig) after(d time.Duration) string {
	time.Sleep(d)
	r.mu.Lock()
	defer r.mu.Unlock()
	n := map[string]int{}
	for _, m := range r.members {
		n[m.State]++
	}
	return fmt.Sprintf("%d up, %d draining", n["up"], n["draining"])
}

func (r *rig) want(got, want string) {
	r.t.Helper()
	if got != want {
		for _, d := range slices.Backward(r.scaler.Decisions()) {
			r.t.Logf("%s %s: want %d of %d+%d, %s; %s", d.Time.Format(time.TimeOnly), d.Result, d.Want, d.Ready, d.Booting, d.Formula, d.Reason)
		}
		r.t.Fatalf("%s, want %s", got, want)
	}
}

func (r *rig) starts() (ids []string) {
	r.orders.Lock()
	defer r.orders.Unlock()
	for _, o := range r.given {
		if o.Action == ActionStart {
			ids = append(ids, fmt.Sprintf("%s x%d", o.ID[strings.LastIndexByte(o.ID, '/')+1:], o.Count))
		}
	}
	return ids
}

func inRig(t *testing.T, f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer func() { r.end() }()
		f(r)
	})
}
