package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
)

// AgentConfig configures the announcing side beside an application.
type AgentConfig struct {
	Gossip       GossipConfig
	Node         string          // name in the pool, unique in it
	Installation string          // of the load balancers that shall see it; empty: whichever
	Member       balancer.Member // what is announced; an empty Host is the gossip address, an empty ID the node name
	DrainWait    time.Duration   // between saying that it drains and leaving
}

// Agent announces one member to a gossip pool.
type Agent struct {
	pool      *pool
	tags      map[string]string
	drainWait time.Duration
}

// NewAgent checks the configuration as strictly as the load balancers will
// check the announcement.
func NewAgent(cfg AgentConfig, log zerolog.Logger) (*Agent, error) {
	s, err := checkConfig(cfg.Gossip, log)
	if err != nil {
		return nil, err
	}
	if !isID(cfg.Node) {
		return nil, fmt.Errorf("cannot use gossip node name %q: expected %s", clip(cfg.Node), wantID)
	}
	tags := tagsOf(cfg.Member, cfg.Node)
	if cfg.Installation != "" {
		tags[tagInstallation] = cfg.Installation
	}
	if err := checkAnnouncement(cfg, s, tags); err != nil {
		return nil, fmt.Errorf("cannot announce member: %w", err)
	}
	a := &Agent{tags: tags, drainWait: cfg.DrainWait}
	a.pool = newPool(s, cfg.Node, tags, log)
	return a, nil
}

// checkAnnouncement parses our own tags as a load balancer would, and leaves
// room for what draining adds.
func checkAnnouncement(cfg AgentConfig, s settings, tags map[string]string) error {
	addr := s.bind.Addr()
	if s.advertise.IsValid() {
		addr = s.advertise.Addr()
	}
	if addr.IsUnspecified() { // known only once gossip is up, and of this machine
		addr = netip.AddrFrom4([4]byte{192, 0, 2, 1})
	}
	// The allowed networks are the load balancers' to check.
	p := policy{loopback: s.loopback, installation: cfg.Installation}
	if _, err := parseTags(announcement{Name: cfg.Node, Addr: addr, Tags: tags}, p); errors.Is(err, errNotMember) {
		return errors.New("its domain and ports are missing")
	} else if err != nil {
		return err
	}
	if n := encodedSize(draining(tags)); n > tagsMax {
		return fmt.Errorf("its tags take %d bytes, at most %d fit: expected fewer or shorter ports, names and mappings", n, tagsMax)
	}
	return nil
}

// Run announces the member until ctx ends, then says that it drains, waits,
// and leaves. It returns an error only if gossip could not be started at all.
func (a *Agent) Run(ctx context.Context) error { return a.pool.run(ctx, a.farewell) }

// Addr waits until gossip is up and returns the address that others join.
func (a *Agent) Addr(ctx context.Context) (netip.AddrPort, error) { return a.pool.address(ctx) }

// Status tells how gossip is doing.
func (a *Agent) Status() Status { return a.pool.status() }

func (a *Agent) farewell() {
	if a.tags[tagState] != stateDraining {
		a.pool.setTags(draining(a.tags))
	}
	time.Sleep(a.drainWait) // nothing ends it early: ctx is over, a second signal ends the process
}

func draining(tags map[string]string) map[string]string {
	more := make(map[string]string, len(tags)+1)
	for k, v := range tags {
		more[k] = v
	}
	more[tagState] = stateDraining
	return more
}
