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
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"jetway/balancer/session"
	"jetway/tenant"
)

// Options are what a Router takes from the parts around it.
type Options struct {
	// Transport makes the connections to an endpoint; called under the
	// Router's lock, so it must not block or call back. May be nil.
	Transport func(*Endpoint) io.Closer
	// Tell is called when the state of a member changed, from the goroutine
	// that changed it: a request's, a check's, or one under the Router's lock.
	// It must not block or call back. May be nil.
	Tell func(Transition)
	// Changed is called when there is a new Table, under the Router's lock; it
	// must not block or call back. May be nil.
	Changed func()
	// Now is the time in unix nanoseconds, nil: the system's. Random draws
	// members, nil: the runtime's generator. Both are for simulations.
	Now    func() int64
	Random func() uint64
	// Sessions are those learned from members' cookies. nil: an own store
	// with the default cap.
	Sessions *session.Store
}

// Router holds the current Table and rebuilds it.
type Router struct {
	table atomic.Pointer[Table]
	opts  Options
	// admission counts what tenants take, over all tables.
	admission *tenant.Admission
	sessions  *session.Store

	mu        sync.Mutex // serialises writers; guards all below
	cfg       Config
	members   []Member
	upstreams map[upstreamKey]*Upstream
	states    map[Key]*ClusterState
	domains   map[string]int64   // since when they have had members, unix nanoseconds
	decks     map[string]*deck   // the newest of each domain
	wishes    map[memberKey]wish // of operators
}

// NewRouter returns a Router without members.
func NewRouter(cfg Config, opts Options) (*Router, error) {
	r := &Router{opts: opts, admission: tenant.NewAdmission(), upstreams: map[upstreamKey]*Upstream{},
		states: map[Key]*ClusterState{}, domains: map[string]int64{}, decks: map[string]*deck{}, wishes: map[memberKey]wish{}, sessions: opts.Sessions}
	if r.sessions == nil {
		var err error
		if r.sessions, err = session.New(session.Options{}); err != nil {
			return nil, err
		}
	}
	if err := r.Configure(cfg); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Router) now() int64 {
	if r.opts.Now != nil {
		return r.opts.Now()
	}
	return time.Now().UnixNano()
}

// Table returns the current snapshot. A request loads it once and passes it on.
func (r *Router) Table() *Table { return r.table.Load() }

// Admission returns who is busy; its Run is for the caller to start.
func (r *Router) Admission() *tenant.Admission { return r.admission }

// Sessions returns the learned sessions; its Run is for the caller to start.
func (r *Router) Sessions() *session.Store { return r.sessions }

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
			c.addView(l, &r.opts)
		}
		t.checks = append(t.checks, c.checkLocked(r.now())...)
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
	if r.opts.Changed != nil {
		r.opts.Changed()
	}
}

// assignLocked gives every cluster its members and returns the upstreams in use.
func (r *Router) assignLocked(t *Table, byKey map[Key]*Cluster) map[upstreamKey]*Upstream {
	upstreams := make(map[upstreamKey]*Upstream, len(r.members))
	count := map[string]int{}
	for i := range r.members {
		count[r.members[i].Domain]++
	}
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
				u = r.upstreamLocked(m, count[m.Domain])
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
	domains := make(map[string]int64, len(r.domains))
	for _, u := range t.upstreams {
		if domains[u.key.domain] = r.domains[u.key.domain]; domains[u.key.domain] == 0 {
			domains[u.key.domain] = r.now()
		}
	}
	r.domains = domains
	maps.DeleteFunc(r.decks, func(domain string, _ *deck) bool { _, some := domains[domain]; return !some })
	return upstreams
}

func (r *Router) stateLocked(k Key) *ClusterState {
	if s := r.states[k]; s != nil {
		return s
	}
	return newState()
}

// wordsLocked returns words for a new member of a domain with so many.
func (r *Router) wordsLocked(domain string, members int) words {
	if members > deckSize && members < hugeFrom {
		return (&lone{}).words()
	}
	d := r.decks[domain]
	if d != nil {
		if w, ok := d.deal(); ok {
			return w
		}
	}
	d = &deck{}
	r.decks[domain] = d
	w, _ := d.deal()
	return w
}

// upstreamLocked returns the live handle for a description, in a domain with so
// many members.
func (r *Router) upstreamLocked(m *Member, members int) *Upstream {
	key := keyOf(m)
	now := r.now()
	u := r.upstreams[key]
	w := r.wishes[memberKey{m.Domain, m.ID}]
	if u == nil {
		u = newUpstream(key, r.wordsLocked(m.Domain, members), r.opts.Tell)
		u.session = session.MemberID(m.Domain, m.ID)
		u.route = routeOf(u.session)
		u.member.Store(m)
		u.verdict.since = now
		u.verdict.cold = r.warmLocked(m.Domain, now)
		u.waitUntil.Store(math.MaxInt64)
		if m.Vouched() {
			u.waitUntil.Store(now + int64(waitMost))
		}
		if w.drained {
			u.mark(noteDrained, 0)
			u.drainFrom.Store(now)
		}
	}
	old := u.member.Swap(m)
	if old.Suspect && !m.Suspect {
		u.pardon(now, u.verdict.slow, "it announced itself anew") // what it was before is void
	}
	u.setNote(now, noteSuspect, m.Suspect, "gossip lost it")
	u.setNote(now, noteDraining, m.Draining, drainedBy(m))
	u.setWeight(m.Weight)
	if w.weight != 0 {
		u.setWeight(w.weight)
	}
	return u
}

// drainedBy says who has a member drain. Where gossip knows one of another
// source too, either may have said so.
func drainedBy(m *Member) string {
	if m.Source == SourceGossip {
		return "by its own word"
	}
	return "by the configuration, or its own word"
}

// warmLocked reports whether a domain has been at work for a while, so that a
// new member of it begins with slow start.
func (r *Router) warmLocked(domain string, now int64) bool {
	first := r.domains[domain]
	return first != 0 && now-first >= int64(warmAfter)
}
