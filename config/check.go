package config

import (
	"cmp"
	"fmt"
	"slices"

	"jetway/balancer"
	"jetway/tenant"
)

// checkClusters finds what is wrong between clusters that are each right.
func (d *decoder) checkClusters(clusters []clusterAt) {
	d.checkKeys(clusters)
	for _, sharing := range d.checkHosts(clusters) {
		d.checkRanges(sharing)
	}
	d.checkNumbers(clusters)
}

// checkKeys refuses a (domain, sub-domain) that stands twice.
func (d *decoder) checkKeys(clusters []clusterAt) {
	first := make(map[balancer.Key]*clusterAt, len(clusters))
	for i := range clusters {
		c := &clusters[i]
		if f := first[c.Key]; f != nil {
			d.problem(c.at, fmt.Sprintf("%s stands twice, first in service %s at line %d column %d", c.Key, quote(f.Service), f.at.Line, f.at.Column),
				"each domain and sub-domain in one service")
			continue
		}
		first[c.Key] = c
	}
}

// checkHosts refuses a host pattern that leads to two services or sub-domains,
// and returns the clusters that share each pattern.
func (d *decoder) checkHosts(clusters []clusterAt) [][]*clusterAt {
	type use struct {
		clusters []*clusterAt
		line     int
		column   int
	}
	uses := make(map[string]*use)
	var patterns []string
	for i := range clusters {
		c := &clusters[i]
		for j, pattern := range c.Hosts {
			at := c.hostsAt[j]
			u := uses[pattern]
			if u == nil {
				uses[pattern] = &use{[]*clusterAt{c}, at.Line, at.Column}
				patterns = append(patterns, pattern)
				continue
			}
			if f := u.clusters[0]; f.Service != c.Service || f.Key.SubDomain != c.Key.SubDomain {
				d.problem(at, fmt.Sprintf("host %s leads to %s of service %s, and from line %d column %d to %s of service %s",
					quote(pattern), c.Key, quote(c.Service), u.line, u.column, f.Key, quote(f.Service)), "each host in one service and one sub-domain")
				continue
			}
			u.clusters = append(u.clusters, c)
		}
	}
	sharing := make([][]*clusterAt, 0, len(patterns))
	for _, p := range patterns {
		sharing = append(sharing, uses[p].clusters)
	}
	return sharing
}

// checkRanges refuses tenants that two clusters of one host pattern serve.
// Clusters that share several patterns say the same thing again, which
// sorting the problems removes.
func (d *decoder) checkRanges(clusters []*clusterAt) {
	type span struct {
		tenant.Span
		of *clusterAt
	}
	var spans []span
	var star *clusterAt
	for _, c := range clusters {
		for _, s := range c.Ranges.Spans() {
			spans = append(spans, span{s, c})
		}
		if !c.Ranges.All() {
			continue
		}
		if star == nil {
			star = c
			continue
		}
		d.problem(c.rangeAt, fmt.Sprintf(`domain %s has the tenant range "*", and so has domain %s at line %d column %d`,
			quote(c.Key.Domain), quote(star.Key.Domain), star.rangeAt.Line, star.rangeAt.Column), `one domain with "*" per host`)
	}
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Compare(a.Lo, b.Lo) })
	type pair struct{ a, b *clusterAt }
	reported := make(map[pair]bool)
	for i, a := range spans {
		for _, b := range spans[i+1:] {
			if b.Lo > a.Hi || len(reported) > shownMax {
				break
			}
			earlier, later := a.of, b.of
			if before(later, earlier) {
				earlier, later = later, earlier
			}
			if earlier != later && !reported[pair{earlier, later}] {
				reported[pair{earlier, later}] = true
				d.overlap(earlier, later)
			}
		}
	}
}

// before reports whether a stands in front of b in the file.
func before(a, b *clusterAt) bool {
	return cmp.Or(cmp.Compare(a.rangeAt.Line, b.rangeAt.Line), cmp.Compare(a.rangeAt.Column, b.rangeAt.Column)) < 0
}

func (d *decoder) overlap(earlier, later *clusterAt) {
	ids, _ := later.Ranges.Overlap(earlier.Ranges)
	verb := "overlaps"
	switch {
	case within(later.Ranges, earlier.Ranges):
		verb = "is shadowed by"
	case within(earlier.Ranges, later.Ranges):
		verb = "shadows"
	}
	d.problem(later.rangeAt, fmt.Sprintf("the tenant range of domain %s %s that of domain %s at line %d column %d: both hold %s",
		quote(later.Key.Domain), verb, quote(earlier.Key.Domain), earlier.rangeAt.Line, earlier.rangeAt.Column, ids), "each tenant in one domain per host")
}

// within reports whether every number of a is one of b.
func within(a, b tenant.Ranges) bool {
	rest := b.Spans()
	for _, s := range a.Spans() {
		for len(rest) > 0 && rest[0].Hi < s.Hi {
			rest = rest[1:]
		}
		if len(rest) == 0 || rest[0].Lo > s.Lo {
			return false
		}
	}
	return !a.All() || b.All()
}

// checkNumbers warns of numbered ranges that no request can match.
func (d *decoder) checkNumbers(clusters []clusterAt) {
	if d.directory {
		return
	}
	for _, c := range clusters {
		if len(c.Ranges.Spans()) > 0 {
			d.warn(c.rangeAt, fmt.Sprintf("domain %s gets no request by tenant id: there is no directory to find ids in", quote(c.Key.Domain)), "tenants.directory")
		}
	}
}
