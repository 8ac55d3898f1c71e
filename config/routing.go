package config

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"jetway/balancer"
	"jetway/tenant"
)

// Routing returns what the routing table is built from, with tenants looked up
// in d; nil knows nobody. numbers are those of plans in d.
func (c *Config) Routing(d tenant.Directory, numbers *tenant.Plans) (balancer.Config, error) {
	resolver, err := tenant.NewResolver(c.Tenants.Config, d)
	if err != nil {
		return balancer.Config{}, err
	}
	resolver.SetPlans(c.Tenants.Plans, numbers)
	b := balancer.Config{Clusters: slices.Clone(c.Clusters), Tenants: resolver, FailOver: c.FailOver}
	for i := range b.Clusters {
		m := &b.Clusters[i].MemberTLS
		if m.CAFile == "" {
			continue
		}
		data, err := readSmall(m.CAFile)
		if err != nil {
			return balancer.Config{}, fmt.Errorf("member_tls.ca_file %q %w", m.CAFile, err)
		}
		m.CASum = fmt.Sprintf("%x", sha256.Sum256(data))
	}
	for _, l := range c.Proxy.Listeners {
		b.Listeners = append(b.Listeners, balancer.Listener{Name: l.Name, PublicPort: l.PublicPort, TLS: l.TLS != nil})
	}
	return b, nil
}
