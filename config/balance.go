package config

import (
	"errors"
	"strings"

	"gopkg.in/yaml.v3"

	"jetway/balancer"
)

// balance decodes how members are chosen: the name of a policy, or a section
// with what policy hash goes by.
func (d *decoder) balance(o object, c *balancer.ClusterConfig) {
	if n, _ := o.find("balance"); n == nil || n.Kind != yaml.MappingNode {
		if at := read(o, "balance", &c.Balance, parsePolicy); at != nil || !o.inherits {
			c.HashBy = balancer.HashBy{}
		}
		return
	}
	s := o.section("balance")
	s.inherits = true
	if at := read(s, "hash", &c.HashBy, parseHashBy); at == nil {
		if !s.has("hash") {
			d.problem(s.node, "balance names no policy", "a section with hash, or "+policies)
		}
		return
	}
	c.Balance = balancer.Hash
}

const policies = "least_requests, round_robin, random or peak_ewma"

func parsePolicy(s string) (balancer.Policy, error) {
	switch p := balancer.Policy(s); p {
	case balancer.LeastRequests, balancer.RoundRobin, balancer.Random, balancer.PeakEWMA:
		return p, nil
	case balancer.Hash:
		return "", errors.New("it must say what to go by; expected {hash: tenant}, or path, source or header:NAME in place of tenant")
	}
	return "", errors.New(policies + ", or a section with hash")
}

func parseHashBy(s string) (balancer.HashBy, error) {
	switch what := balancer.HashWhat(s); what {
	case balancer.HashTenant, balancer.HashPath, balancer.HashSource:
		return balancer.HashBy{What: what}, nil
	}
	if name, ok := strings.CutPrefix(s, "header:"); ok && name != "" {
		if _, err := parseHeaderName(name); err != nil {
			return balancer.HashBy{}, err
		}
		return balancer.HashBy{What: balancer.HashHeader, Header: strings.ToLower(name)}, nil
	}
	return balancer.HashBy{}, errors.New("tenant, path, source or header:NAME")
}

func printBalance(p printer, c *balancer.ClusterConfig) {
	if c.Balance != balancer.Hash {
		p.text("balance", string(c.Balance))
		return
	}
	by := string(c.HashBy.What)
	if c.HashBy.Header != "" {
		by += ":" + c.HashBy.Header
	}
	p.section("balance").text("hash", by)
}
