// Package balancer decides which member serves a request.
//
// Requests read one immutable Table: host pattern, tenant range, cluster, and
// the members at the right ports. What changes per request (requests in
// flight, ejections) lives in Upstreams and ClusterStates beside it, which
// survive the rebuild of a Table. The Router owns the Table and is its only
// writer: configuration and discovery hand it whole lists, and it builds and
// swaps. Nothing is started here, and neither HTTP nor gossip is known.
package balancer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"jetway/tenant"
)

// Options are what a Router takes from the parts around it.
type Options struct {
	// Transport makes the connections to an endpoint; called under the
	// Router's lock, so it must not block or call back. May be nil.
	Transport func(*Endpoint) io.Closer
}

type openFunc = func(*Endpoint) io.Closer

// Router holds the current Table and rebuilds it.
type Router struct {
	table atomic.Pointer[Table]
	open  openFunc
	// admission counts what tenants take, over all tables.
	admission *tenant.Admission

	mu        sync.Mutex // serialises writers; guards all below
	cfg       Config
	members   []Member
	upstreams map[upstreamKey]*Upstream
	states    map[Key]*ClusterState
	drained   map[memberKey]bool // by operators, remembered for members that come back
}

type memberKey struct{ domain, id string }

// drainedMax bounds the memory of operators' drains.
const drainedMax = 10_000

// ErrUnknownMember is returned for a member id that no cluster has.
var ErrUnknownMember = errors.New("no such member")

// NewRouter returns a Router without members.
func NewRouter(cfg Config, opts Options) (*Router, error) {
	r := &Router{open: opts.Transport, admission: tenant.NewAdmission(), upstreams: map[upstreamKey]*Upstream{},
		states: map[Key]*ClusterState{}, drained: map[memberKey]bool{}}
	if err := r.Configure(cfg); err != nil {
		return nil, err
	}
	return r, nil
}

// Table returns the current snapshot. A request loads it once and passes it on.
func (r *Router) Table() *Table { return r.table.Load() }

// Admission returns who is busy; its Run is for the caller to start.
func (r *Router) Admission() *tenant.Admission { return r.admission }

// Configure replaces the configuration; the members stay. On an error nothing
// changes.
func (r *Router) Configure(cfg Config) error {
	if err := validate(&cfg); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cfg = cfg
	r.rebuildLocked()
	return nil
}

// SetMembers replaces the members by the whole list of those there are now.
func (r *Router) SetMembers(members []Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members = slices.Clone(members)
	for i := range r.members {
		m := &r.members[i]
		m.Weight = min(max(m.Weight, 1), MaxWeight)
		if len(m.SubDomains) == 0 {
			m.SubDomains = []string{Worker}
		}
	}
	slices.SortFunc(r.members, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Host, b.Host))
	})
	r.rebuildLocked()
}

// Drain keeps new requests off a member, or ends that. id is a member's id, or
// "domain/id" where two domains use the same one. It returns the members
// meant, or ErrUnknownMember.
func (r *Router) Drain(id string, drain bool) ([]*Upstream, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var hit []*Upstream
	for _, u := range r.Table().upstreams {
		if m := u.Member(); m.ID == id || m.Domain+"/"+m.ID == id {
			hit = append(hit, u)
		}
	}
	switch {
	case len(hit) == 0:
		return nil, fmt.Errorf("cannot find member %q: %w", id, ErrUnknownMember)
	case len(hit) > 1:
		return nil, fmt.Errorf("cannot tell which member %q is meant: %d domains have one; expected domain/id", id, len(hit))
	}
	u := hit[0]
	key := memberKey{u.key.domain, u.key.id}
	if drain && len(r.drained) >= drainedMax && !r.drained[key] {
		return nil, fmt.Errorf("cannot drain %q: %d members are drained already", id, drainedMax)
	}
	if drain {
		r.drained[key] = true
	} else {
		delete(r.drained, key)
	}
	u.drained.Store(drain)
	return hit, nil
}

// validate refuses what would make routing ambiguous; config has said it
// better, with positions.
func validate(cfg *Config) error {
	if cfg.Tenants == nil {
		return errors.New("BUG: routing configuration without a tenant resolver")
	}
	seen := map[Key]bool{}
	byHost := map[string][]*ClusterConfig{}
	for i := range cfg.Clusters {
		c := &cfg.Clusters[i]
		if seen[c.Key] {
			return fmt.Errorf("cannot use cluster %s: it is declared twice", c.Key)
		}
		seen[c.Key] = true
		for _, h := range c.Hosts {
			for _, o := range byHost[h] {
				if o.Service != c.Service || o.Key.SubDomain != c.Key.SubDomain {
					return fmt.Errorf("cannot use host %q for %s %s: %s %s has it", h, c.Service, c.Key, o.Service, o.Key)
				}
				if s, ok := c.Ranges.Overlap(o.Ranges); ok {
					return fmt.Errorf("cannot use tenant_range %q of %s: %s has %s too", c.Ranges, c.Key, o.Key, s)
				}
				if c.Ranges.All() && o.Ranges.All() {
					return fmt.Errorf("cannot use tenant_range \"*\" of %s: %s has it too", c.Key, o.Key)
				}
			}
			byHost[h] = append(byHost[h], c)
		}
	}
	return nil
}

// rebuildLocked builds a Table of cfg and members and swaps it in. Upstreams
// and states that are still meant are carried over; the others are closed.
func (r *Router) rebuildLocked() {
	t := &Table{failOver: r.cfg.FailOver, tenants: r.cfg.Tenants, admission: r.admission,
		exact: map[string]*Host{}, wildcard: map[string]*Host{}}
	if old := r.table.Load(); old != nil {
		t.generation = old.generation + 1
	}
	byKey := make(map[Key]*Cluster, len(r.cfg.Clusters))
	states := make(map[Key]*ClusterState, len(r.cfg.Clusters))
	for i := range r.cfg.Clusters {
		cc := &r.cfg.Clusters[i]
		c := &Cluster{Config: cc, State: r.stateLocked(cc.Key)}
		byKey[cc.Key], states[cc.Key] = c, c.State
		t.clusters = append(t.clusters, c)
	}
	upstreams := r.assignLocked(t, byKey)
	for _, c := range t.clusters {
		for _, l := range r.cfg.Listeners {
			c.addView(l, r.open)
		}
		for _, pattern := range c.Config.Hosts {
			t.addHost(pattern, c)
		}
	}
	t.indexSpans()
	slices.SortFunc(t.clusters, func(a, b *Cluster) int {
		return cmp.Or(cmp.Compare(a.Config.Service, b.Config.Service),
			cmp.Compare(a.Config.Key.Domain, b.Config.Key.Domain), cmp.Compare(a.Config.Key.SubDomain, b.Config.Key.SubDomain))
	})
	gone := r.upstreams
	r.states, r.upstreams = states, upstreams
	r.table.Store(t)
	for key, u := range gone {
		if upstreams[key] == nil {
			u.closeLocked()
		}
	}
}

// assignLocked gives every cluster its members and returns the upstreams in use.
func (r *Router) assignLocked(t *Table, byKey map[Key]*Cluster) map[upstreamKey]*Upstream {
	upstreams := make(map[upstreamKey]*Upstream, len(r.members))
	for i := range r.members {
		m := &r.members[i]
		if upstreams[keyOf(m)] != nil {
			continue // listed twice
		}
		var u *Upstream
		for _, sub := range m.SubDomains {
			c := byKey[Key{m.Domain, sub}]
			if c == nil {
				continue
			}
			if u == nil {
				u = r.upstreamLocked(m)
				upstreams[u.key] = u
			}
			c.Upstreams = append(c.Upstreams, u)
		}
		if u == nil {
			t.orphans = append(t.orphans, *m)
			continue
		}
		t.upstreams = append(t.upstreams, u)
	}
	return upstreams
}

func (r *Router) stateLocked(k Key) *ClusterState {
	if s := r.states[k]; s != nil {
		return s
	}
	return newState()
}

// upstreamLocked returns the live handle for a description.
func (r *Router) upstreamLocked(m *Member) *Upstream {
	key := keyOf(m)
	u := r.upstreams[key]
	if u == nil {
		u = &Upstream{key: key}
		u.drained.Store(r.drained[memberKey{m.Domain, m.ID}])
	} else if u.Member().Suspect && !m.Suspect {
		u.pardon() // it announced itself anew: what it was before is void
	}
	u.member.Store(m)
	return u
}
