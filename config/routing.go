package config

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"jetway/balancer"
	"jetway/tenant"
)

// Routing returns what the routing table is built from. It reads the tenants
// file, so it may fail where Load did not.
func (c *Config) Routing() (balancer.Config, error) {
	var list *tenant.List
	if c.Tenants.DirectoryFile != "" {
		entries, err := LoadTenants(c.Tenants.DirectoryFile)
		if err != nil {
			return balancer.Config{}, err
		}
		if list, err = tenant.NewList(entries, nil); err != nil {
			return balancer.Config{}, fmt.Errorf("cannot use tenants file %q: %w", c.Tenants.DirectoryFile, err)
		}
	}
	resolver, err := tenant.NewResolver(c.Tenants.Config, list)
	if err != nil {
		return balancer.Config{}, err
	}
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
