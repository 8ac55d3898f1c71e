package discovery

import (
	"fmt"
	"log"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"
)

// start creates Serf and the goroutine that takes its events.
func (p *pool) start() (*serf.Serf, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	conf, err := p.serfConfigLocked()
	if err != nil {
		return nil, err
	}
	// Serf sends events while it holds its locks: they are taken at once, and
	// all that each says is that something changed.
	events := make(chan serf.Event, eventsBuffer)
	conf.EventCh = events
	if err := p.transport(conf.MemberlistConfig); err != nil {
		return nil, err
	}
	s, err := serf.Create(conf)
	if err != nil {
		if t := conf.MemberlistConfig.Transport; t != nil {
			t.Shutdown() // the error that counts is the other one
		}
		return nil, fmt.Errorf("cannot start gossip on %s: %w", p.settings.bind, err)
	}
	go func() {
		for many := false; ; {
			select {
			case <-events:
				p.mark()
				if n := len(events); n >= eventsMany != many {
					if many = !many; many {
						p.overloads.Add(1)
						p.note("events of gossip come faster than they are taken")
					}
				}
			case <-s.ShutdownCh():
				return
			}
		}
	}()
	p.serf, p.since = s, time.Now()
	p.port = conf.MemberlistConfig.BindPort // the same one after a restart
	p.addr = gossipAddress(s.LocalMember())
	return s, nil
}

// transport puts the guard in front of the network where gossip is encrypted.
func (p *pool) transport(ml *memberlist.Config) error {
	if ml.Transport = p.settings.transport; ml.Transport != nil || p.keys == nil {
		return nil
	}
	tries := 1
	if ml.BindPort == 0 {
		tries = 10 // a port that is free for TCP need not be for UDP
	}
	var nt *memberlist.NetTransport
	var err error
	for range tries {
		nt, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{ml.BindAddr}, BindPort: ml.BindPort, Logger: ml.Logger})
		if err == nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("cannot start gossip on %s: %w", p.settings.bind, err)
	}
	if ml.BindPort == 0 {
		ml.BindPort = nt.GetAutoBindPort()
		ml.AdvertisePort = ml.BindPort
	}
	ml.Transport = newGuard(nt, func() { p.forged.Add(1) })
	return nil
}

func (p *pool) serfConfigLocked() (*serf.Config, error) {
	logger := log.New(p.serfLog, "", 0)
	conf := serf.DefaultConfig()
	conf.NodeName = p.name
	conf.Tags = p.tags
	conf.Logger, conf.LogOutput = logger, nil
	conf.DisableCoordinates = true // nobody asks for them
	conf.ReconnectTimeout = forgetAfter
	conf.TombstoneTimeout = forgetAfter
	conf.BroadcastTimeout = 2 * time.Second // twice in a leave, which is bounded
	ml := memberlist.DefaultLANConfig()
	if p.settings.loopback {
		ml.GossipInterval = 100 * time.Millisecond
		ml.ProbeInterval = 500 * time.Millisecond
		ml.ProbeTimeout = 300 * time.Millisecond
		ml.SuspicionMaxTimeoutMult = 3
	}
	for _, d := range []*time.Duration{&ml.GossipInterval, &ml.ProbeInterval, &ml.ProbeTimeout, &ml.PushPullInterval} {
		*d *= max(p.settings.slower, 1)
	}
	ml.TCPTimeout = joinMost
	ml.DeadNodeReclaimTime = time.Millisecond // a restarted member may gossip on another port
	ml.Logger, ml.LogOutput = logger, nil
	ml.Alive = aliveCheck{}
	if p.keys != nil {
		ml.Keyring = p.keys.ring // as it is now: a rotation outlives a restart
	}
	ml.BindAddr, ml.BindPort = p.settings.bind.Addr().String(), p.port
	if a := p.settings.advertise; a.IsValid() {
		ml.AdvertiseAddr, ml.AdvertisePort = a.Addr().String(), int(a.Port())
		if a.Port() == 0 {
			ml.AdvertisePort = p.port
		}
	}
	var err error
	if ml.CIDRsAllowed, err = p.settings.networks(); err != nil {
		return nil, err
	}
	conf.MemberlistConfig = ml
	return conf, nil
}

// aliveCheck refuses nodes, one by one, that no honest Serf would announce.
// Serf's own merge delegate would do so for a whole join: one rogue node could
// keep us out of the pool.
type aliveCheck struct{}

// NotifyAlive is called by memberlist for each announcement of a node.
func (aliveCheck) NotifyAlive(n *memberlist.Node) error {
	switch {
	case n.Name == "" || len(n.Name) > nameMax:
		return fmt.Errorf("its name has %d bytes, expected 1..%d", len(n.Name), nameMax)
	case len(n.Addr) != 4 && len(n.Addr) != 16:
		return fmt.Errorf("its address has %d bytes, expected 4 or 16", len(n.Addr))
	case len(n.Meta) > tagsMax:
		return fmt.Errorf("its tags have %d bytes, expected at most %d", len(n.Meta), tagsMax)
	}
	return nil
}
