// Package discovery finds members and says so: it turns gossip and static
// lists into one full list of balancer.Member, published again and again, and
// it is the announcing side beside an application (Agent). It is the only
// importer of Serf and memberlist.
//
// Gossip owns one Serf instance and publishes whole lists, never single events:
// an event only marks the list as out of date, and the list is read back from
// Serf, debounced. Losing gossip empties nothing; the last list stays. Whatever
// arrives by gossip (names, addresses, tags) is hostile input; tags.go is the
// one place that accepts it. Set merges the lists of several sources.
//
// Constructors validate and start nothing. Run of Gossip and Agent starts the
// goroutines of Serf and some of our own and ends them before it returns; a
// question to a node that came back may outlast it by the time of a ping.
package discovery

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
)

const (
	publishQuiet = 50 * time.Millisecond // no change for so long: publish
	publishMost  = time.Second           // publish so long after the first change at the latest
	defaultGrace = time.Minute           // how long a member stays that only gossip says failed
)

// Identity names a Jetway in the pool.
type Identity struct {
	Node         string // unique in the pool
	Installation string // load balancers and members of another one are refused; empty: "default"
	Standby      string // ip:port where peers connect; empty: nowhere
}

// Gossip is Jetway's side of a gossip pool: a source of members.
type Gossip struct {
	pool    *pool
	roster  *roster
	returns *returns
	publish Publish
	keys    atomic.Pointer[DomainKeys]
	last    []balancer.Member // what was published; used by the publishing goroutine alone
	first   bool              // nothing was published yet

	balancers atomic.Pointer[[]Balancer]
}

// NewGossip checks the configuration and reads the key file. reserved tells
// Jetway's own listeners, which no member may claim; it may be nil. publish is
// called from one goroutine at a time, while Run runs.
func NewGossip(cfg GossipConfig, self Identity, reserved func(host string, port uint16) bool, publish Publish, log zerolog.Logger) (*Gossip, error) {
	s, err := checkConfig(cfg, log)
	if err != nil {
		return nil, err
	}
	if !isID(self.Node) {
		return nil, fmt.Errorf("cannot use gossip node name %q: expected %s", clip(self.Node), wantID)
	}
	if self.Installation == "" {
		self.Installation = defaultInstallation
	}
	tags := map[string]string{tagRole: roleBalancer, tagInstallation: self.Installation}
	if self.Standby != "" {
		tags[tagStandby] = self.Standby
	}
	if n := encodedSize(tags); n > tagsMax {
		return nil, fmt.Errorf("cannot use installation %q: all tags together take %d bytes, at most %d", clip(self.Installation), n, tagsMax)
	}
	p := policy{loopback: s.loopback, allowed: s.allowed, reserved: reserved, installation: self.Installation, verifier: &verifier{}}
	g := &Gossip{
		pool:    newPool(s, self.Node, tags, log),
		roster:  newRoster(self.Node, p, graceOf(cfg), log),
		publish: publish,
		first:   true,
	}
	g.keys.Store(&DomainKeys{})
	g.returns = newReturns(g.pool.answers, g.pool.mark)
	return g, nil
}

// Require replaces the keys that members need signatures of, also while Run
// runs. Who has none is left out at the next list, in a moment.
func (g *Gossip) Require(keys DomainKeys) {
	g.keys.Store(&keys)
	g.pool.mark()
}

// Prepare checks what can change while Run runs, beside the keys: Join and
// FailedGrace. use puts it in force.
func (g *Gossip) Prepare(cfg GossipConfig) (use func(), err error) {
	join, err := g.pool.prepareSeeds(cfg.Join)
	if err != nil {
		return nil, err
	}
	return func() {
		join()
		g.roster.grace.Store(int64(graceOf(cfg)))
		g.pool.mark()
	}, nil
}

// graceOf is how long a failed member stays.
func graceOf(cfg GossipConfig) time.Duration {
	if cfg.FailedGrace <= 0 {
		return defaultGrace
	}
	return cfg.FailedGrace
}

// ReloadKeys takes over the key file where its content has changed.
func (g *Gossip) ReloadKeys() error {
	if g.pool.keys == nil {
		return nil
	}
	return g.pool.keys.reread()
}

// Run takes part in the pool until ctx ends, then leaves it. It returns an
// error only if gossip could not be started at all.
func (g *Gossip) Run(ctx context.Context) error {
	var watchers sync.WaitGroup
	watching, stop := context.WithCancel(ctx)
	watchers.Go(func() {
		debounce(watching, g.pool.changed, publishQuiet, publishMost, func() { g.refresh(watching) })
	})
	watchers.Go(func() { g.pool.converge(watching) })
	err := g.pool.run(ctx, nil)
	stop()
	watchers.Wait()
	return err
}

// Addr waits until gossip is up and returns the address that others join.
func (g *Gossip) Addr(ctx context.Context) (netip.AddrPort, error) { return g.pool.address(ctx) }

// Status tells how gossip is doing.
func (g *Gossip) Status() Status { return g.pool.status() }

// Rejected lists the nodes that are left out and why.
func (g *Gossip) Rejected() []Rejection { return g.roster.reports.list() }

// refresh reads the whole list back and publishes it if anything differs.
func (g *Gossip) refresh(ctx context.Context) {
	defer recovered(g.pool.log, "gossip members")
	nodes, steady, ok := g.pool.members()
	if !ok {
		return
	}
	nodes = g.returns.filter(ctx, nodes, time.Now())
	others := g.roster.others(nodes)
	g.balancers.Store(&others)
	if v := g.roster.policy.verifier; v != nil {
		v.keys = *g.keys.Load()
	}
	members := g.roster.build(nodes, time.Now(), steady)
	if !g.first && reflect.DeepEqual(members, g.last) {
		return
	}
	g.first, g.last = false, members
	g.publish(members)
}

// recovered keeps a panic to the one job that caused it.
func recovered(log zerolog.Logger, job string) {
	if r := recover(); r != nil {
		log.Error().Str("job", job).Str("panic", fmt.Sprint(r)).Msg("panic recovered")
	}
}
