package balancer

import (
	"cmp"
	"slices"

	"jetway/tenant"
)

// Place is where the requests of a tenant for one host pattern go.
type Place struct {
	Host    *Host
	Cluster *Cluster // nil: no range holds the tenant
}

// Where returns, for every host pattern, where requests of a tenant go, by
// service and pattern.
func (t *Table) Where(f *tenant.Found) []Place {
	var all []Place
	for _, hosts := range []map[string]*Host{t.exact, t.wildcard} {
		for _, h := range hosts {
			all = append(all, Place{h, h.cluster(f)})
		}
	}
	slices.SortFunc(all, func(a, b Place) int {
		return cmp.Or(cmp.Compare(a.Host.Service, b.Host.Service), cmp.Compare(a.Host.Pattern, b.Host.Pattern))
	})
	return all
}
