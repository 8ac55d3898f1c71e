package cli

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"jetway/admin"
	"jetway/balancer"
	"jetway/config"
	"jetway/tenant"
)

// Difference is what one configuration would change of another. It is found by
// routing requests by both: each tenant that either knows, named in each way
// that either takes, for each host pattern of either.
type Difference struct {
	Schema   int          `json:"schema_version"`
	Hosts    []HostChange `json:"hosts"`
	Moved    int          `json:"moved_tenants"` // known tenants of whom any request goes elsewhere
	Known    int          `json:"known_tenants"`
	Moves    []Move       `json:"moves"`
	Members  []string     `json:"members"`  // static ones that come or go, in words
	Sessions []string     `json:"sessions"` // whose break, in words
	Remarks  []string     `json:"remarks"`
	// Learned is how many learned sessions break; nil: nobody was asked.
	Learned *BrokenSessions `json:"learned_sessions,omitempty"`

	lost    []lostSessions       // those of Sessions that can be counted
	leaving map[string]tenantIDs // by domain: ids of tenants that go elsewhere
	renamed map[string]tenantIDs // likewise: of those who stay, under another id or none
}

// HostChange is a host pattern that comes, goes, or leads to something else.
type HostChange struct {
	Pattern string `json:"pattern"`
	Before  string `json:"before"` // service/sub-domain; empty: there was none
	After   string `json:"after"`
}

// Move is that some tenants' requests for some hosts go elsewhere.
type Move struct {
	Hosts   []string `json:"hosts"` // patterns
	Who     string   `json:"who"`   // tenants, or those who have no known one
	Before  string   `json:"before"`
	After   string   `json:"after"`
	Tenants []string `json:"tenants,omitempty"` // the first of them
	Count   int      `json:"count"`             // of tenants
}

// movesShown bounds the tenants that a Move names.
const movesShown = 1000

// side is one of two configurations that are compared.
type side struct {
	cfg   *config.Config
	list  *tenant.List
	table *balancer.Table
	hosts map[string][]*balancer.ClusterConfig // by pattern
}

// newSide makes what routes by cfg, with nothing but routes in it: who may
// reach a host and how members are spoken to is compared by itself.
func newSide(cfg *config.Config, list *tenant.List) (*side, error) {
	resolver, err := tenant.NewResolver(cfg.Tenants.Config, list)
	if err != nil {
		return nil, err
	}
	s := &side{cfg: cfg, list: list, hosts: map[string][]*balancer.ClusterConfig{}}
	b := balancer.Config{Tenants: resolver, Listeners: []balancer.Listener{{Name: "any", PublicPort: 80}}}
	for i := range cfg.Clusters {
		c := &cfg.Clusters[i]
		b.Clusters = append(b.Clusters, balancer.ClusterConfig{Service: c.Service, Key: c.Key, Hosts: c.Hosts, Ranges: c.Ranges, Balance: balancer.Random})
		for _, p := range c.Hosts {
			s.hosts[p] = append(s.hosts[p], c)
		}
	}
	router, err := balancer.NewRouter(b, balancer.Options{})
	if err != nil {
		return nil, err
	}
	s.table = router.Table()
	return s, nil
}

// destination returns where a request goes, in words.
func (s *side) destination(r *balancer.Request, d *balancer.Decision) string {
	reason := s.table.Route(r, d)
	if d.Cluster != nil {
		return d.Cluster.Config.Key.Domain
	}
	return nowhere + string(reason)
}

const nowhere = "nowhere: "

// compare returns what changes from before to after.
func compare(before, after *side) *Difference {
	d := &Difference{Schema: admin.SchemaVersion, Hosts: []HostChange{}, Moves: []Move{}, Members: []string{}, Sessions: []string{}, Remarks: []string{},
		leaving: map[string]tenantIDs{}, renamed: map[string]tenantIDs{}}
	d.compareHosts(before, after)
	d.compareTenants(before, after)
	d.compareMembers(before, after)
	d.compareSessions(before, after)
	return d
}

func (d *Difference) compareHosts(before, after *side) {
	for _, p := range patterns(before, after) {
		b, a := place(before.hosts[p]), place(after.hosts[p])
		if b != a {
			d.Hosts = append(d.Hosts, HostChange{p, b, a})
		} else if x, y := reach(before.hosts[p]), reach(after.hosts[p]); x != y {
			d.Remarks = append(d.Remarks, fmt.Sprintf("host %s: who may reach it changes, from %s to %s", p, x, y))
		}
	}
}

func patterns(before, after *side) []string {
	all := map[string]bool{}
	for _, s := range []*side{before, after} {
		for p := range s.hosts {
			all[p] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func place(clusters []*balancer.ClusterConfig) string {
	if len(clusters) == 0 {
		return ""
	}
	return clusters[0].Service + "/" + clusters[0].Key.SubDomain
}

// reach says which listeners and clients may reach the clusters of a host.
func reach(clusters []*balancer.ClusterConfig) string {
	var parts []string
	for _, c := range clusters {
		text := "everybody"
		if len(c.Listeners)+len(c.AllowFrom) > 0 {
			text = fmt.Sprintf("%v %v", c.Listeners, c.AllowFrom)
		}
		parts = append(parts, c.Key.Domain+": "+text)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// compareTenants routes everybody by both sides. Patterns of which both sides
// say the same are looked at once.
func (d *Difference) compareTenants(before, after *side) {
	groups := map[string][]string{}
	for _, p := range patterns(before, after) {
		k := signature(before.hosts[p]) + "\n" + signature(after.hosts[p])
		if strings.HasPrefix(p, "*") || before.hosts[p] == nil || after.hosts[p] == nil {
			k += "\n" + p // on one side another pattern may count for its hosts
		}
		groups[k] = append(groups[k], p)
	}
	names := allNames(before.list, after.list)
	d.Known = len(names)
	moved := map[string]bool{}
	for _, k := range slices.Sorted(maps.Keys(groups)) {
		g := newAlike(groups[k], before, after)
		for _, name := range names {
			g.route(name, name)
		}
		g.others()
		d.Moves = append(d.Moves, g.result(moved)...)
		merge(d.leaving, g.leaving)
		merge(d.renamed, g.renamed)
	}
	d.Moved = len(moved)
}

func signature(clusters []*balancer.ClusterConfig) string {
	var parts []string
	for _, c := range clusters {
		parts = append(parts, c.Service+" "+c.Key.String())
	}
	slices.Sort(parts)
	return strings.Join(parts, ";")
}

// allNames returns the tenants that either list has, in order.
func allNames(lists ...*tenant.List) []string {
	var names []string
	for _, l := range lists {
		l.Each(func(name []byte, _ tenant.Facts) bool {
			names = append(names, string(name))
			return true
		})
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// alike are host patterns that are alike, and the requests that are tried.
type alike struct {
	hosts         []string
	before, after *side
	forms         []tenant.Rule
	moves         map[[3]string]*Move // by who, before and after
	b, a          balancer.Decision
	leaving       map[string]tenantIDs // as in Difference
	renamed       map[string]tenantIDs
}

func newAlike(hosts []string, before, after *side) *alike {
	g := &alike{hosts: hosts, before: before, after: after, moves: map[[3]string]*Move{}, leaving: map[string]tenantIDs{}, renamed: map[string]tenantIDs{}}
	for _, s := range []*side{before, after} {
		rules := s.cfg.Tenants.Identify
		if c := s.hosts[hosts[0]]; len(c) > 0 && s.cfg.Tenants.Services[c[0].Service] != nil {
			rules = s.cfg.Tenants.Services[c[0].Service]
		}
		for _, r := range rules {
			if !slices.Contains(g.forms, r) {
				g.forms = append(g.forms, r)
			}
		}
	}
	return g
}

// others routes those who have no known tenant.
func (g *alike) others() {
	g.compare("requests without a tenant", "", tenant.Rule{}, "")
	g.route("unknown tenants", "jetway-check-of-nobody")
	if super := g.before.table.Tenants().Super(); super == g.after.table.Tenants().Super() {
		g.route("the super tenant", super)
	}
}

// route routes a tenant's requests in all forms.
func (g *alike) route(who, name string) {
	for _, form := range g.forms {
		g.compare(who, name, form, name)
	}
}

// compare routes one request by both sides.
func (g *alike) compare(who, name string, form tenant.Rule, tenantName string) {
	r := request(g.hosts[0], form, tenantName)
	b, a := g.before.destination(&r, &g.b), g.after.destination(&r, &g.a)
	g.noteSessions(b, a)
	if b == a || b == nowhere+string(balancer.NoHost) {
		return
	}
	kind := "tenants"
	if who != name || name == "" {
		kind = who
	}
	k := [3]string{kind, b, a}
	m := g.moves[k]
	if m == nil {
		m = &Move{Hosts: g.hosts, Who: kind, Before: b, After: a}
		g.moves[k] = m
	}
	if kind == "tenants" && (len(m.Tenants) == 0 || m.Tenants[len(m.Tenants)-1] != name) {
		m.Tenants = append(m.Tenants, name)
	}
}

// result returns the moves and adds the tenants in them to moved.
func (g *alike) result(moved map[string]bool) []Move {
	var list []Move
	for _, m := range g.moves {
		m.Count = len(m.Tenants)
		for _, name := range m.Tenants {
			moved[name] = true
		}
		m.Tenants = m.Tenants[:min(len(m.Tenants), movesShown)]
		list = append(list, *m)
	}
	slices.SortFunc(list, func(a, b Move) int {
		return cmp.Or(cmp.Compare(a.Who, b.Who), cmp.Compare(a.Before, b.Before), cmp.Compare(a.After, b.After))
	})
	return list
}

// request is one for a host pattern that names a tenant in one form.
func request(pattern string, form tenant.Rule, name string) balancer.Request {
	r := balancer.Request{Host: []byte(strings.Replace(pattern, "*", "jetway-check", 1)), Path: []byte("/"), Listener: "any", PublicPort: 80,
		Client: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Trusted: true, Now: time.Now().UnixNano()}
	switch {
	case form.Path != "":
		path := strings.TrimPrefix(strings.TrimPrefix(form.Path, "**"), "/")
		r.Path = []byte("/" + strings.TrimSuffix(strings.Replace(path, "{tenant}", name, 1), "/") + "/")
	case form.Query != "":
		r.Query = []byte(form.Query + "=" + name)
	case form.Header != "":
		r.Fields = oneField{strings.ToLower(form.Header), name}
	case form.Cookie != "":
		r.Fields = oneField{"cookie", form.Cookie + "=" + name}
	case form.Host != "":
		// Only where the pattern covers such hosts.
		if host := strings.Replace(strings.ToLower(form.Host), "{tenant}", name, 1); strings.HasPrefix(pattern, "*.") && strings.HasSuffix(host, pattern[1:]) {
			r.Host = []byte(host)
		}
	}
	return r
}

// oneField is a request's only header field.
type oneField struct{ name, value string }

// Field implements tenant.Fields.
func (f oneField) Field(name string, from int) ([]byte, int) {
	if from > 0 || name != f.name {
		return nil, -1
	}
	return []byte(f.value), 1
}

func (d *Difference) compareMembers(before, after *side) {
	for _, m := range before.cfg.Static {
		if !hasMember(after.cfg.Static, m) {
			d.Members = append(d.Members, fmt.Sprintf("%s/%s goes", m.Domain, m.ID))
			d.breaks(admin.SessionGroup{Domain: m.Domain, Members: []string{m.ID}}, "those bound to member %s/%s: it goes", m.Domain, m.ID)
		}
	}
	for _, m := range after.cfg.Static {
		if !hasMember(before.cfg.Static, m) {
			d.Members = append(d.Members, fmt.Sprintf("%s/%s comes", m.Domain, m.ID))
		}
	}
}

func hasMember(list []balancer.Member, m balancer.Member) bool {
	return slices.ContainsFunc(list, func(o balancer.Member) bool { return o.Domain == m.Domain && o.ID == m.ID })
}

// compareSessions says whose sessions do not outlive the change.
func (d *Difference) compareSessions(before, after *side) {
	for i := range before.cfg.Clusters {
		b := &before.cfg.Clusters[i]
		if !b.Affinity.On() {
			continue
		}
		at := slices.IndexFunc(after.cfg.Clusters, func(c balancer.ClusterConfig) bool { return c.Key == b.Key })
		all := admin.SessionGroup{Domain: b.Key.Domain, SubDomain: b.Key.SubDomain}
		if b.Affinity.Mode != balancer.AffinityLearn {
			all.Domain = "" // nobody has counted them
		}
		if at < 0 {
			d.breaks(all, "all of %s: it goes", b.Key)
			continue
		}
		x, y := &b.Affinity, &after.cfg.Clusters[at].Affinity
		switch {
		case x.Mode != y.Mode:
			d.breaks(all, "all of %s: affinity.mode changes from %s to %s", b.Key, x.Mode, y.Mode)
		case x.KeyFile != y.KeyFile:
			d.breaks(all, "all of %s, unless the new key_file holds the old key too", b.Key)
		case x.Mode == balancer.AffinityCookie && x.Cookie.Name != y.Cookie.Name:
			d.breaks(all, "all of %s: the cookie's name changes", b.Key)
		case (x.Mode == balancer.AffinityLearn || x.Mode == balancer.AffinityRoute) && !subset(x.Cookies, y.Cookies):
			d.breaks(all, "some of %s: a session cookie is not looked at any more", b.Key)
		}
	}
	if d.Moved > 0 {
		d.Sessions = append(d.Sessions, fmt.Sprintf("those of the %d tenants that move, at the hosts they move for", d.Moved))
	}
	d.countTenants(before)
}

func subset(a, b []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}
