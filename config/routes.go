package config

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"

	"jetway/balancer"
	"jetway/tenant"
)

// Routes prints per host pattern which tenant ids go to which domain, and
// which go nowhere.
func (c *Config) Routes(w io.Writer) error {
	b := bufio.NewWriter(w)
	clusters := make(map[string][]*balancer.ClusterConfig)
	var patterns []string
	for i := range c.Clusters {
		cl := &c.Clusters[i]
		for _, p := range cl.Hosts {
			if clusters[p] == nil {
				patterns = append(patterns, p)
			}
			clusters[p] = append(clusters[p], cl)
		}
	}
	for _, p := range patterns {
		first := clusters[p][0]
		fmt.Fprintf(b, "%s (%s/%s)%s\n", p, first.Service, first.Key.SubDomain, guard(clusters[p]))
		for _, r := range routes(clusters[p], c.Tenants.RefuseUnknown) {
			fmt.Fprintf(b, "  %-21s -> %s\n", r.who, r.to)
		}
	}
	return b.Flush()
}

// guard says from where the clusters of a pattern can be reached, if not from
// everywhere.
func guard(clusters []*balancer.ClusterConfig) string {
	for _, c := range clusters {
		if len(c.Listeners) > 0 || len(c.AllowFrom) > 0 {
			return " restricted by listeners or allow_from"
		}
	}
	return ""
}

// route is one line: some tenants and where they go.
type route struct{ who, to string }

// nowhere is where tenants go that no range holds.
const nowhere = "nowhere (404 no_domain)"

func routes(clusters []*balancer.ClusterConfig, refuseUnknown bool) []route {
	type span struct {
		tenant.Span
		domain string
		jet    bool // the only id of its domain
	}
	var spans []span
	rest := nowhere
	for _, c := range clusters {
		own := c.Ranges.Spans()
		for _, s := range own {
			spans = append(spans, span{s, c.Key.Domain, len(own) == 1 && s.Lo == s.Hi && !c.Ranges.All()})
		}
		if c.Ranges.All() {
			rest = c.Key.Domain
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.Lo, b.Lo) })

	var list []route
	next := tenant.ID(1) // first id not yet printed
	for i := 0; i < len(spans); i++ {
		s := spans[i]
		for i+1 < len(spans) && spans[i+1].domain == s.domain && spans[i+1].Lo == s.Hi+1 {
			i++
			s.Hi, s.jet = spans[i].Hi, false
		}
		if s.Lo > next {
			list = append(list, route{tenant.Span{Lo: next, Hi: s.Lo - 1}.String(), rest})
		}
		to := s.domain
		if s.jet {
			to += " (private jet)"
		}
		list = append(list, route{s.String(), to})
		next = s.Hi + 1
	}
	others := "any tenant"
	if next > 1 {
		others = fmt.Sprintf("%d and above", next)
	}
	list = append(list, route{others, rest})
	if refuseUnknown {
		return append(list, route{"no or super tenant", rest}, route{"unknown tenant", "nowhere (403 unknown_tenant)"})
	}
	return append(list, route{"no or unknown tenant", rest})
}
