package autoscale

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
)

// tickEvery is how often clusters are looked at.
const tickEvery = time.Second

const (
	// stopPatience is how long calls of drivers may go on when Jetway stops.
	stopPatience = 3 * time.Second
	// callMost bounds a call of a driver, whatever its own time-out is.
	callMost = 10 * time.Minute
	wakesMax = 64
)

// ErrUnknownCluster is returned for a cluster that is not elastic.
var ErrUnknownCluster = errors.New("no such elastic cluster")

// Options are what a Scaler is made of.
type Options struct {
	Fleet Fleet
	Peers Peers // nil: Alone
	// Driver makes the driver of a cluster; nil: NewDrivers of the state
	// directory.
	Driver func(DriverConfig) (Driver, error)
	Log    zerolog.Logger
}

// Scaler sizes all elastic clusters. Its methods are safe for concurrent use.
type Scaler struct {
	fleet  Fleet
	peers  Peers
	driver func(DriverConfig) (Driver, error)
	store  historyStore
	log    zerolog.Logger
	wake   chan balancer.Key
	nudge  chan struct{} // asks Run to act before the next tick
	origin time.Time

	mu         sync.Mutex // guards all below
	cfg        Config
	clusters   map[balancer.Key]*cluster
	idle       map[string]*ClusterHistory // of clusters that are not configured now
	serial     uint64
	written    []byte // the history as it was last written
	acting     bool
	doubt      string // of the Fleet
	unsaved    string // why the history could not be written, as it was last logged
	decisions  []Decision
	decided    map[Decided]uint64
	totals     Counts
	background []func() // calls of drivers that begin when the tick is over

	calls sync.WaitGroup
	ctx   context.Context // of the calls; set by Run
}

// Counts are totals since the start.
type Counts struct {
	Started, Stopped uint64 // members ordered
	Failed           uint64 // members ordered that did not join in time, or starts that failed
	Alarms           uint64
}

// New returns a Scaler of cfg that knows the orders of the process before.
func New(cfg Config, opts Options) (*Scaler, error) {
	s := &Scaler{fleet: opts.Fleet, peers: opts.Peers, driver: opts.Driver, store: historyStore{cfg.StateDir}, log: opts.Log,
		wake: make(chan balancer.Key, wakesMax), nudge: make(chan struct{}, 1), origin: time.Now(), clusters: map[balancer.Key]*cluster{}, idle: map[string]*ClusterHistory{},
		decided: map[Decided]uint64{}}
	if s.peers == nil {
		s.peers = Alone{}
	}
	if s.driver == nil {
		s.driver = NewDrivers(cfg.StateDir, opts.Log).Make
	}
	past, err := s.store.load()
	if err != nil {
		return nil, err
	}
	if past != nil {
		s.serial = past.Serial
		s.idle = past.Clusters
	}
	prepared, err := s.Prepare(cfg)
	if err != nil {
		return nil, err
	}
	prepared()
	return s, nil
}

func (s *Scaler) now() time.Time { return time.Now() }

// Prepare does what can fail of a change to cfg and returns what carries it
// out. What is under way in clusters that stay goes on.
func (s *Scaler) Prepare(cfg Config) (commit func(), err error) {
	drivers := make(map[balancer.Key]Driver, len(cfg.Clusters))
	for i := range cfg.Clusters {
		c := &cfg.Clusters[i]
		if !c.Settings.Driver.Any() {
			continue
		}
		if drivers[c.Key], err = s.driver(c.Settings.Driver); err != nil {
			return nil, fmt.Errorf("cannot use the driver of %s: %w", c.Key, err)
		}
	}
	return func() { s.configure(cfg, drivers) }, nil
}

func (s *Scaler) configure(cfg Config, drivers map[balancer.Key]Driver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.clusters
	s.cfg, s.clusters = cfg, make(map[balancer.Key]*cluster, len(cfg.Clusters))
	for _, cc := range cfg.Clusters {
		c := old[cc.Key]
		if c == nil {
			c = &cluster{key: cc.Key, past: s.idle[cc.Key.String()], seen: map[string]*seenLoad{}, foreign: map[string]bool{}}
			delete(s.idle, cc.Key.String())
			if c.past == nil {
				c.past = &ClusterHistory{}
			}
		}
		if before := &c.settings; c.policy == nil || before.Policy != cc.Settings.Policy ||
			before.Concurrency != cc.Settings.Concurrency || before.WSO2 != cc.Settings.WSO2 {
			c.policy = NewPolicy(&cc.Settings)
		}
		c.settings, c.driver = cc.Settings, drivers[cc.Key]
		c.listed = false // by the new driver
		c.input.Min, c.input.Max = c.settings.Min, c.settings.Max
		s.clusters[cc.Key] = c
	}
	for key, c := range old {
		if s.clusters[key] == nil && (len(c.past.Starts) > 0 || len(c.past.Stops) > 0) {
			s.idle[key.String()] = c.past
		}
	}
}

// Run sizes the clusters until ctx ends, and then waits a little for calls of
// drivers; one that is cut off is given again by the next process.
func (s *Scaler) Run(ctx context.Context) error {
	calls, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s.mu.Lock()
	s.ctx = calls
	s.mu.Unlock()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	s.tick()
	for {
		select {
		case <-ctx.Done():
			patience := time.AfterFunc(stopPatience, cancel)
			defer patience.Stop()
			s.calls.Wait()
			return nil
		case <-tick.C:
			s.tick()
		case key := <-s.wake:
			s.rouse(key)
		case <-s.nudge:
			s.again()
		}
	}
}

// Wake tells that a request waits for a member of an empty cluster. It never
// blocks.
func (s *Scaler) Wake(key balancer.Key) {
	select {
	case s.wake <- key:
	default: // whoever is waited for is looked at within a tick
	}
}

// tick looks at every cluster.
func (s *Scaler) tick() {
	now := s.now()
	seen := s.fleet.Observe(now)
	doubt := s.fleet.Doubt()
	reports := s.exchange(now, seen)
	acts := s.peers.Acts()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doubt = doubt
	if acts != s.acting {
		s.takeOverLocked(acts)
	}
	current := 0
	for i := range seen {
		c := s.clusters[seen[i].Key]
		if c == nil {
			continue // configured a moment ago, or no more
		}
		s.lookLocked(c, now, &seen[i], reports, doubt)
		current += c.present()
	}
	if s.acting {
		room := s.roomLocked(current)
		for _, c := range s.orderedLocked() {
			if c.input.Now.Equal(now) { // it was seen
				s.actLocked(c, now, &room)
			}
		}
	}
	s.sendLocked()
}

// roomLocked returns how many more members all clusters may have.
func (s *Scaler) roomLocked(current int) int {
	if s.cfg.MaxMembers <= 0 {
		return 1 << 30
	}
	return max(s.cfg.MaxMembers-current, 0)
}

// lookLocked takes in what is there of a cluster and asks its policy.
func (s *Scaler) lookLocked(c *cluster, now time.Time, o *Observation, reports []Report, doubt string) {
	c.see(o.Members, now, doubt)
	s.joinLocked(c)
	loads := map[string]seenAt{"": {Load{o.Key, o.Totals}, now.Sub(s.origin), 0}}
	for i := range reports {
		r := &reports[i]
		for _, l := range r.Loads {
			if l.Key == c.key {
				loads[r.Node] = seenAt{l, r.At, r.Age}
			}
		}
	}
	c.measure(now, loads)
	c.input.Blind = c.doubt != ""
	c.advice = c.policy.Decide(c.input)
}

// orderedLocked returns the clusters, those without members first: they are
// what a limit on all members is for least.
func (s *Scaler) orderedLocked() []*cluster {
	list := make([]*cluster, 0, len(s.clusters))
	for _, c := range s.clusters {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *cluster) int {
		return cmp.Or(cmp.Compare(min(a.input.Ready, 1), min(b.input.Ready, 1)),
			cmp.Compare(a.key.Domain, b.key.Domain), cmp.Compare(a.key.SubDomain, b.key.SubDomain))
	})
	return list
}

// rouse orders the first member of a cluster that a request waits for, without
// waiting for the next tick.
func (s *Scaler) rouse(key balancer.Key) {
	now := s.now()
	seen := s.fleet.Observe(now)
	if !s.peers.Acts() {
		s.exchange(now, seen) // the one that acts learns of it
		return
	}
	s.mu.Lock()
	unknown := s.clusters[key] != nil && s.clusters[key].input.Now.IsZero()
	s.mu.Unlock()
	if unknown { // since Jetway has just started
		s.tick()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clusters[key]
	i := slices.IndexFunc(seen, func(o Observation) bool { return o.Key == key })
	if c == nil || i < 0 || !s.acting || c.input.Now.IsZero() {
		return
	}
	c.see(seen[i].Members, now, s.doubt)
	s.joinLocked(c)
	c.held = max(c.held, seen[i].Totals.Held)
	if c.input.Ready+c.booting() > 0 {
		return
	}
	current := 0
	for _, other := range s.clusters {
		current += other.present()
	}
	a := Advice{Need: 1, Want: c.input.clamp(1), Formula: fmt.Sprintf("%d requests wait and nobody is there = 1", c.held)}
	if c.settings.Max > 0 && c.past.Manual == nil {
		c.advice = a
		room := s.roomLocked(current)
		s.actLocked(c, now, &room)
		s.sendLocked()
	}
}

// again acts on what was advised before: something stood in its way that is
// gone.
func (s *Scaler) again() {
	now := s.now()
	seen := s.fleet.Observe(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.acting {
		return
	}
	current := 0
	for i := range seen {
		if c := s.clusters[seen[i].Key]; c != nil {
			c.see(seen[i].Members, now, s.doubt)
			s.joinLocked(c)
			current += c.present()
		}
	}
	room := s.roomLocked(current)
	for _, c := range s.orderedLocked() {
		if !c.input.Now.IsZero() {
			s.actLocked(c, now, &room)
		}
	}
	s.sendLocked()
}
