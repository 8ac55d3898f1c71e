package balancer

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"jetway/tenant"
)

// Table is the immutable routing snapshot that every request reads.
type Table struct {
	generation uint64
	failOver   bool
	tenants    *tenant.Resolver
	admission  *tenant.Admission
	exact      map[string]*Host
	wildcard   map[string]*Host // by suffix with its leading dot
	clusters   []*Cluster       // by service, then key
	orphans    []Member
	upstreams  []*Upstream // by domain, then id
	checks     []*Check
}

// Host is a host pattern and the clusters that list it.
type Host struct {
	Pattern   string
	Service   string
	SubDomain string
	clusters  []*Cluster
	spans     []tenant.Span // ascending, disjoint
	holders   []*Cluster    // of spans
	star      *Cluster
	guarded   bool // some cluster is restricted
	identify  *tenant.Identifier
}

// Reason is why a request is not forwarded, as clients and logs see it.
type Reason string

const (
	OK            Reason = ""
	NoHost        Reason = "no_host"        // no pattern matches, or it is out of reach from here
	BadPath       Reason = "bad_path"       // encoded slashes in it change whose it is
	UnknownTenant Reason = "unknown_tenant" // and the configuration refuses those
	Inactive      Reason = "inactive"       // the directory has switched the tenant off
	AskDirectory  Reason = "ask_directory"  // no end: Table.Ask goes on
	Directory     Reason = "directory"      // it could not be asked where the tenant belongs
	NoDomain      Reason = "no_domain"      // no range holds the tenant
	NoMember      Reason = "no_member"      // the cluster has no fit member
	NoPort        Reason = "no_port"        // its members have no port for this listener
)

// Request is what routing looks at.
type Request struct {
	Host       []byte // lower case, without port
	Path       []byte // as sent, beginning with "/"
	Query      []byte // without "?"
	Listener   string
	PublicPort uint16
	TLS        bool
	Client     netip.Addr
	Fields     tenant.Fields // nil: none
	Trusted    bool          // what Fields say of tenants is believed
	Now        int64         // unix nanoseconds
}

// Decision is how far Route came. Callers keep one per connection.
type Decision struct {
	Host    *Host
	Cluster *Cluster
	View    *View
	Tenant  tenant.Found
	Hash    uint64 // of what the cluster's policy hash goes by, 0: nothing or another policy
	// Filled in by Admit.
	Allowance tenant.Allowance // of one that was refused
	BodyLimit int64            // 0: none
	ticket    tenant.Ticket
}

// Generation counts rebuilds.
func (t *Table) Generation() uint64 { return t.generation }

// FailOver reports whether a failed connect may lead to another member.
func (t *Table) FailOver() bool { return t.failOver }

// Tenants returns the resolver of this snapshot.
func (t *Table) Tenants() *tenant.Resolver { return t.tenants }

// Clusters returns all clusters; the caller must not change the slice.
func (t *Table) Clusters() []*Cluster { return t.clusters }

// Upstreams returns all members that a cluster uses; the caller must not
// change the slice.
func (t *Table) Upstreams() []*Upstream { return t.upstreams }

// Checks returns the active checks of all members; the caller must not change
// the slice.
func (t *Table) Checks() []*Check { return t.checks }

// Orphans returns members whose domain or sub-domain no service has; the
// caller must not change the slice.
func (t *Table) Orphans() []Member { return t.orphans }

// Route decides where a request goes: host pattern, tenant, domain, view. It
// fills d as far as it comes, never blocks and allocates nothing. Where the
// reason is AskDirectory, Ask goes on.
func (t *Table) Route(r *Request, d *Decision) Reason {
	d.Cluster, d.View, d.Hash = nil, nil, 0
	d.Host = t.host(r.Host)
	if d.Host == nil || d.Host.guarded && !d.Host.reachable(r.Listener, r.Client) {
		d.Host = nil
		return NoHost
	}
	if d.Host.identify.PathAmbiguous(r.Path) {
		return BadPath
	}
	t.tenants.Resolve(&d.Tenant, d.Host.identify, &tenant.Request{Host: r.Host, Path: r.Path, Query: r.Query,
		Fields: r.Fields, Trusted: r.Trusted, Now: r.Now})
	return t.routeTenant(r, d)
}

// Ask completes a Route that ended with AskDirectory: it asks the directory,
// which blocks this request and no other for at most the directory's deadline.
func (t *Table) Ask(r *Request, d *Decision) Reason {
	t.tenants.Ask(&d.Tenant)
	return t.routeTenant(r, d)
}

// routeTenant goes on once it is known whose request it is.
func (t *Table) routeTenant(r *Request, d *Decision) Reason {
	switch d.Tenant.Outcome {
	case tenant.Asking:
		return AskDirectory
	case tenant.Inactive:
		return Inactive
	case tenant.Failed:
		// Somebody with a domain of his own must not end in the shared one, nor
		// a stranger where strangers are refused.
		if len(d.Host.spans) > 0 || t.tenants.RefuseUnknown() {
			return Directory
		}
	case tenant.Unknown:
		if t.tenants.RefuseUnknown() {
			return UnknownTenant
		}
	}
	c := d.Host.cluster(&d.Tenant)
	if c == nil {
		return NoDomain
	}
	if d.Host.guarded && !c.reachable(r.Listener, r.Client) {
		return NoHost
	}
	d.Cluster = c
	d.View = c.view(r.PublicPort, r.TLS)
	if c.Config.Balance == Hash {
		d.Hash = c.hashRequest(r, &d.Tenant)
	}
	switch {
	case d.View != nil:
		return OK
	case len(c.Upstreams) > 0:
		return NoPort
	}
	return NoMember
}

// host finds the pattern for a host name: exact, then the wildcard with the
// longest suffix.
func (t *Table) host(name []byte) *Host {
	if h := t.exact[string(name)]; h != nil {
		return h
	}
	if len(t.wildcard) == 0 {
		return nil
	}
	for i := bytes.IndexByte(name, '.'); i >= 0; {
		if h := t.wildcard[string(name[i:])]; h != nil && i > 0 {
			return h
		}
		next := bytes.IndexByte(name[i+1:], '.')
		if next < 0 {
			return nil
		}
		i += 1 + next
	}
	return nil
}

// cluster finds the cluster whose range holds the tenant, "*" last.
func (h *Host) cluster(f *tenant.Found) *Cluster {
	if f.Outcome != tenant.Known {
		return h.star
	}
	if i := tenant.Search(h.spans, f.ID); i >= 0 {
		return h.holders[i]
	}
	return h.star
}

func (h *Host) reachable(listener string, addr netip.Addr) bool {
	for _, c := range h.clusters {
		if c.reachable(listener, addr) {
			return true
		}
	}
	return false
}

// addHost enters a cluster under one of its host patterns.
func (t *Table) addHost(pattern string, c *Cluster) {
	hosts, key := t.exact, pattern
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		hosts, key = t.wildcard, suffix
	}
	h := hosts[key]
	if h == nil {
		h = &Host{Pattern: pattern, Service: c.Config.Service, SubDomain: c.Config.Key.SubDomain,
			identify: t.tenants.Identifier(c.Config.Service)}
		hosts[key] = h
	}
	h.clusters = append(h.clusters, c)
	h.guarded = h.guarded || c.restricted()
	if c.Config.Ranges.All() {
		h.star = c
	}
}

// indexSpans makes the lookups of a finished Table possible.
func (t *Table) indexSpans() {
	for _, hosts := range []map[string]*Host{t.exact, t.wildcard} {
		for _, h := range hosts {
			h.indexSpans()
		}
	}
}

func (h *Host) indexSpans() {
	type held struct {
		tenant.Span
		by *Cluster
	}
	var all []held
	for _, c := range h.clusters {
		for _, s := range c.Config.Ranges.Spans() {
			all = append(all, held{s, c})
		}
	}
	slices.SortFunc(all, func(a, b held) int { return cmp.Compare(a.Lo, b.Lo) })
	h.spans, h.holders = make([]tenant.Span, len(all)), make([]*Cluster, len(all))
	for i, s := range all {
		h.spans[i], h.holders[i] = s.Span, s.by
	}
}
