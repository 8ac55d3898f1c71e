package cli

import (
	"context"
	"crypto/sha256"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"jetway/admin"
	"jetway/balancer"
	"jetway/config"
	"jetway/standby"
)

// peers joins the peers' protocol with the parts whose state it carries.
type peers struct {
	lb    *loadBalancer
	cfg   standby.Config
	track string // file through which guard tells keepalived
	log   zerolog.Logger
	mesh  *standby.Mesh

	orders  *standby.Cells // by operators
	advice  *standby.Cells // ejections by own evidence
	births  *standby.Cells // slow starts
	load    *standby.Cells // requests in flight by cluster
	scaling *standby.Cells // reports of autoscalers
	members memberSync

	config  atomic.Pointer[configHash]
	configs map[string]string // of peers, by node: what was last said of them; run's alone
	active  atomic.Int32      // activeUnknown, activeNo or activeYes
	handing atomic.Bool       // a hand-over is under way
	given   atomic.Bool       // the address is to be given up
}

const (
	activeUnknown int32 = iota
	activeNo
	activeYes
)

const (
	syncEvery = 100 * time.Millisecond // what members' state and load are told at least
	keepLoad  = 10 * time.Second       // what a peer said of its load counts so long
	keepOrder = 7 * 24 * time.Hour     // what an operator said of a member counts so long
	keepGone  = time.Minute            // how long deleted advice is remembered
)

// configHash is the hash of a configuration, computed once.
type configHash struct {
	of  *config.Config
	sum [32]byte
}

// newPeers returns the peers of a load balancer with a standby section.
func newPeers(cfg *config.Config, lb *loadBalancer, log zerolog.Logger) (*peers, error) {
	p := &peers{lb: lb, cfg: *cfg.Standby, track: trackFile(cfg), log: log}
	clock := standby.NewClock()
	cells := func(owned bool, keep time.Duration) *standby.Cells {
		return standby.NewCells(standby.CellsConfig{Node: lb.node, Owned: owned, Keep: keep, Max: 20_000}, clock)
	}
	p.orders, p.advice = cells(false, keepOrder), cells(true, keepGone)
	p.births = cells(true, time.Hour)
	p.load, p.scaling = cells(true, time.Minute), cells(true, time.Minute)
	p.members = memberSync{router: lb.router, orders: p.orders, advice: p.advice, births: p.births, node: lb.node, log: log}
	kinds := []standby.Kind{
		standby.Sessions(lb.router.Sessions()),
		standby.Tenants(lb.tenants.share()),
		{ID: standby.KindOrders, Name: "orders", Source: p.orders, Sink: p.orders},
		{ID: standby.KindAdvice, Name: "advice", Source: p.advice, Sink: p.advice},
		{ID: standby.KindBirths, Name: "births", Source: p.births, Sink: p.births},
		{ID: standby.KindLoad, Name: "load", Source: p.load, Sink: p.load},
		{ID: standby.KindScaling, Name: "scaling", Source: p.scaling, Sink: p.scaling},
	}
	opts := standby.Options{Status: p.status, Clock: clock}
	if lb.gossip != nil {
		opts.Candidates = p.candidates
	}
	self := standby.Self{Installation: cfg.Installation, Node: lb.node, Name: cfg.Name}
	var err error
	p.mesh, err = standby.New(p.cfg, self, kinds, opts, log)
	return p, err
}

// trackFile returns the file through which guard and keepalived meet.
func trackFile(cfg *config.Config) string {
	s := cfg.Standby
	switch {
	case s.TrackFile != "":
		return s.TrackFile
	case cfg.StateDir != "":
		return filepath.Join(cfg.StateDir, cfg.Name+".track")
	}
	return filepath.Join("/run/jetway", cfg.Name+".track")
}

// candidates are the peers that gossip knows.
func (p *peers) candidates() []string {
	balancers := p.lb.gossip.Balancers()
	list := make([]string, 0, len(balancers))
	for _, b := range balancers {
		list = append(list, b.Standby)
	}
	return list
}

// status is what peers learn of us twice a second.
func (p *peers) status() standby.Status {
	state, _ := p.lb.state()
	s := standby.Status{Ready: state == admin.Ready, Draining: state == admin.Draining, Active: p.active.Load() == activeYes,
		Told: p.active.Load() != activeUnknown, Handing: p.handing.Load(), Priority: uint8(p.cfg.Priority),
		InFlight: uint32(max(0, p.lb.server.InFlight())), Config: p.hash(), ConfigEpoch: configEpoch(p.lb.reloader.current.Load()), Version: thisBuild().Version}
	if a := p.lb.admin.Address(); a != nil {
		s.Admin = a.String()
	}
	return s
}

// hash sums up what must be equal on all peers: where whose requests go. What
// differs between hosts, addresses and files, is no part of it.
func (p *peers) hash() [32]byte {
	c := p.lb.reloader.current.Load()
	if h := p.config.Load(); h != nil && h.of == c {
		return h.sum
	}
	h := &configHash{of: c, sum: sha256.Sum256(c.Shared())}
	p.config.Store(h)
	return h.sum
}

// run keeps the peers in step until ctx ends.
func (p *peers) run(ctx context.Context) error {
	p.removeRule() // one that a hand-over before a crash left behind
	done := make(chan error, 1)
	go func() { done <- p.mesh.Run(ctx) }()
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	p.lookForAddress()
	for n := 0; ; n++ {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return <-done
		case now := <-tick.C:
			p.members.sync(now)
			p.tellLoad()
			if n%10 == 0 {
				p.lookForAddress()
				p.compareConfigs()
				p.tellTenants()
			}
		}
	}
}

// tellLoad tells how many requests each cluster has in flight.
func (p *peers) tellLoad() {
	for _, c := range p.lb.router.Table().Clusters() {
		n := c.State.InFlight.Load()
		key := p.lb.node + "/" + c.Config.Key.String()
		if n == 0 {
			p.load.Delete(key)
			continue
		}
		p.load.Put(key, appendCount(nil, n), keepLoad)
	}
}

// everybodysLoad returns the requests in flight of each cluster, here and at the
// peers that are connected.
func (p *peers) everybodysLoad() map[balancer.Key]int64 {
	sums := map[balancer.Key]int64{}
	for _, c := range p.lb.router.Table().Clusters() {
		sums[c.Config.Key] += c.State.InFlight.Load()
	}
	told := map[string]map[string]int64{} // by node, then cluster
	p.load.Each(func(key string, value []byte, _ standby.Stamp, origin string) bool {
		if told[origin] == nil {
			told[origin] = map[string]int64{}
		}
		told[origin][strings.TrimPrefix(key, origin+"/")] = readCount(value)
		return true
	})
	for node, clusters := range told {
		if node == p.lb.node || !p.mesh.Live(node) {
			continue
		}
		for key := range sums {
			sums[key] += clusters[key.String()]
		}
	}
	return sums
}

// hasAddress reports whether this host has an address.
func hasAddress(want netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if got, ok := netip.AddrFromSlice(n.IP); ok && got.Unmap() == want {
			return true
		}
	}
	return false
}

// lookForAddress finds out whether the address is here, in case keepalived told
// it while we were not there.
func (p *peers) lookForAddress() {
	if v := p.cfg.VirtualAddress; v.IsValid() {
		p.setActive(hasAddress(v.Addr()))
	}
}

func (p *peers) setActive(active bool) {
	next := activeNo
	if active {
		next = activeYes
	}
	if p.active.Swap(next) == next {
		return
	}
	p.log.Info().Bool("active", active).Msg("virtual address moved")
	p.mesh.Announce()
}

// resign asks for the address to be taken away, before this Jetway stops
// serving, and waits a moment until it is.
func (p *peers) resign() {
	p.given.Store(true)
	if p.active.Load() != activeYes {
		return
	}
	if _, err := os.Stat(p.track); err != nil {
		return // nobody watches it
	}
	if err := writeTrack(p.track, trackOut); err != nil {
		p.log.Warn().Err(err).Msg("cannot give up the address")
		return
	}
	p.awaitAddress(resignMost)
}

// resignMost bounds how long a stop waits for the address to leave.
const resignMost = time.Second

// awaitAddress waits until this host does not have the address.
func (p *peers) awaitAddress(most time.Duration) bool {
	for deadline := time.Now().Add(most); p.cfg.VirtualAddress.IsValid() && hasAddress(p.cfg.VirtualAddress.Addr()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
