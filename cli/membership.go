package cli

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"jetway/balancer"
	"jetway/config"
	"jetway/discovery"
)

// newMembership builds the sources of members and joins them to the router.
func (lb *loadBalancer) newMembership(cfg *config.Config) error {
	members := &roster{router: lb.router, log: lb.log}
	lb.members = discovery.NewSet(members.publish)
	lb.names = discovery.NewNames(cfg.DNS, lb.log)
	lb.execs = discovery.NewExecs(func(name string) discovery.Publish {
		return lb.names.Source("exec "+name, lb.members.Source("exec "+name))
	}, lb.log)
	r := lb.reloader
	r.router, r.server, r.tenants = lb.router, lb.server, lb.tenants
	r.static = lb.names.Source("static", lb.members.Source("static"))
	r.membership = lb.renewMembership
	r.seal = lb.sessions.seal
	keys, err := domainKeys(cfg)
	if err != nil || cfg.Gossip == nil {
		return err
	}
	self := discovery.Identity{Node: lb.node, Installation: cfg.Installation}
	if cfg.Standby != nil {
		self.Standby = cmp.Or(cfg.Standby.Advertise, cfg.Standby.Listen)
	}
	if lb.gossip, err = discovery.NewGossip(*cfg.Gossip, self, lb.reserved, lb.gossipList(), lb.log); err != nil {
		return err
	}
	lb.gossip.Require(keys)
	return nil
}

// gossipList passes lists on and notes when.
func (lb *loadBalancer) gossipList() discovery.Publish {
	next := lb.members.Source("gossip")
	return func(members []balancer.Member) {
		next(members)
		lb.gossiped.Store(time.Now().UnixNano())
	}
}

// renewMembership prepares what a reload changes about members, other than the
// static ones; commit cannot fail.
func (lb *loadBalancer) renewMembership(next *config.Config) (commit func(), err error) {
	keys, err := domainKeys(next)
	if err != nil {
		return nil, err
	}
	use := func() {}
	if lb.gossip != nil && next.Gossip != nil { // whether there is any cannot change
		if use, err = lb.gossip.Prepare(*next.Gossip); err != nil {
			return nil, err
		}
	}
	return func() {
		lb.names.Configure(next.DNS)
		lb.execs.Configure(next.Exec)
		if lb.gossip == nil {
			return
		}
		use()
		lb.gossip.Require(keys)
		if err := lb.gossip.ReloadKeys(); err != nil { // it was good a moment ago
			lb.log.Error().Err(err).Msg("gossip keys not taken from key_file")
		}
	}, nil
}

// domainKeys reads the public keys that members must be signed with.
func domainKeys(cfg *config.Config) (discovery.DomainKeys, error) {
	keys := discovery.DomainKeys{}
	read := map[string][]ed25519.PublicKey{}
	var errs []error
	for cluster, path := range cfg.Signatures {
		if _, done := read[path]; !done {
			list, err := discovery.ReadDomainPublicKeys(path)
			if err != nil {
				errs = append(errs, fmt.Errorf("cannot require signatures: %w", err))
			}
			read[path] = list
		}
		keys[cluster] = read[path]
	}
	return keys, errors.Join(errs...)
}
