package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"jetway/balancer"
	"jetway/tenant"
)

// clusterAt is a cluster and where the parts of it stand that other clusters
// may contradict.
type clusterAt struct {
	balancer.ClusterConfig
	at      *yaml.Node   // the name of the sub-domain, or of the domain
	rangeAt *yaml.Node   // the tenant range, or the name of the domain
	hostsAt []*yaml.Node // beside Hosts

	signature string // file of the public keys that members must be signed with
	elastic   elastic
}

// settings are the inherited keys on the way down.
type settings struct {
	balancer.ClusterConfig
	hostsAt   []*yaml.Node
	signature string // file of the public keys that members must be signed with
	elastic   elastic
}

// services decodes the services into clusters with all values filled in.
func (d *decoder) services(o object, c *Config) []clusterAt {
	names := make([]string, 0, len(c.Proxy.Listeners))
	for _, l := range c.Proxy.Listeners {
		names = append(names, l.Name)
	}
	s := serviceDecoder{decoder: d, listeners: names}
	standard := object{d: d, node: &yaml.Node{Kind: yaml.MappingNode}, path: "services.defaults"}
	if o.has("defaults") {
		standard = o.section("defaults")
		if n, _ := standard.find("hosts"); n != nil {
			d.problem(n, `"hosts" cannot stand in defaults`, "hosts on a service, domain or sub-domain")
		}
	}
	var top settings
	top.Affinity = standardAffinity(c)
	s.block(standard, &top)
	top.Hosts, top.hostsAt = nil, nil
	n := 0
	for name, service := range o.named("services.<service>") {
		n++
		s.identifyService(service, name, c)
		s.service(name, service, top)
	}
	if n == 0 && !o.inherits {
		d.problem(o.node, "services names no service", "at least one service with its domains")
	}
	for i := range s.clusters {
		cl := &s.clusters[i]
		d.makeElastic(c, &cl.ClusterConfig, cl.elastic)
		c.Clusters = append(c.Clusters, cl.ClusterConfig)
		if cl.signature != "" {
			c.Signatures[cl.Key] = cl.signature
		}
	}
	return s.clusters
}

type serviceDecoder struct {
	*decoder
	listeners []string // names
	clusters  []clusterAt
}

func (d *serviceDecoder) service(name *yaml.Node, o object, s settings) {
	s.Service = name.Value
	d.block(asChild(o), &s)
	domains := o.section("domains")
	n := 0
	for name, domain := range domains.named("services.<service>.domains.<domain>") {
		n++
		d.domain(name, domain, s)
	}
	if n == 0 && !domains.inherits {
		d.problem(domains.node, fmt.Sprintf("service %s has no domain", quote(s.Service)), "at least one domain")
	}
}

func (d *serviceDecoder) domain(name *yaml.Node, o object, s settings) {
	d.block(asChild(o), &s)
	s.Key.Domain = name.Value
	rangeAt := read(o, "tenant_range", &s.Ranges, parseRanges)
	if rangeAt == nil {
		rangeAt = name
	}
	if !o.has("sub_domains") {
		d.cluster(clusterAt{at: name, rangeAt: rangeAt}, balancer.Worker, s)
		return
	}
	subs := o.section("sub_domains")
	n := 0
	for sub, so := range subs.named("services.<service>.domains.<domain>.sub_domains.<sub_domain>") {
		n++
		subSettings := s
		d.block(asChild(so), &subSettings)
		d.cluster(clusterAt{at: sub, rangeAt: rangeAt}, sub.Value, subSettings)
	}
	if n == 0 && !subs.inherits {
		d.problem(subs.node, fmt.Sprintf("sub_domains of domain %s is empty", quote(name.Value)), "at least one, or no sub_domains at all for one called worker")
	}
}

func parseRanges(s string) (tenant.Ranges, error) {
	r, err := tenant.ParseRanges(s)
	if err == nil {
		return r, nil
	}
	text := strings.TrimPrefix(err.Error(), fmt.Sprintf("cannot parse tenant_range %q: ", s))
	if !strings.Contains(text, "; expected ") {
		text += `; expected "*", or ids and intervals such as 1-100,200, each id once`
	}
	return r, errors.New(text)
}

func (d *serviceDecoder) cluster(c clusterAt, subDomain string, s settings) {
	c.ClusterConfig, c.hostsAt, c.signature, c.elastic = s.ClusterConfig, s.hostsAt, s.signature, s.elastic
	c.Key.SubDomain = subDomain
	if len(c.Hosts) == 0 {
		d.problem(c.at, fmt.Sprintf("%s has no hosts", c.Key), "hosts on the sub-domain, its domain or its service")
	}
	d.clusters = append(d.clusters, c)
}

// asChild makes o inherit what it does not have.
func asChild(o object) object {
	o.inherits = true
	return o
}

// block decodes the inherited keys of one level into s, which holds those of
// the level above.
func (d *serviceDecoder) block(o object, s *settings) {
	if o.has("hosts") {
		s.hostsAt = readList(o, "hosts", &s.Hosts, parsePattern)
	}
	d.balance(o, &s.ClusterConfig)
	d.health(o.section("health"), &s.Health)
	retry := o.section("retry")
	read(retry, "attempts", &s.Retry.Attempts, parseNumber(1, 10))
	read(retry, "budget", &s.Retry.Budget, parsePercent)
	read(o, "member_scheme", &s.MemberScheme, parseChoice(balancer.SchemeSame, balancer.SchemeHTTP, balancer.SchemeHTTPS))
	tls := o.section("member_tls")
	readFile(tls, "ca_file", &s.MemberTLS.CAFile, checkCertificates)
	read(tls, "server_name", &s.MemberTLS.ServerName, parseHost)
	read(tls, "insecure", &s.MemberTLS.Insecure, parseBool)
	readFile(o.section("require_signature"), "public_key_file", &s.signature, checkDomainKey)
	limits := o.section("limits")
	read(limits, "body", &s.BodyLimit, parseSize)
	readTenantLimits(limits, &s.TenantLimits)
	read(limits, "dry_run", &s.DryRun, parseBool)
	rewrite := o.section("rewrite")
	read(rewrite, "location", &s.RewriteLocation, parseBool)
	read(rewrite, "cookies", &s.RewriteCookies, parseBool)
	if at := readList(o, "listeners", &s.Listeners, parseText); at != nil {
		d.checkListeners(s.Listeners, at)
	}
	readList(o, "allow_from", &s.AllowFrom, parsePrefix)
	d.affinity(o.section("affinity"), &s.Affinity)
	d.elasticBlock(o, &s.elastic)
}

func (d *serviceDecoder) checkListeners(names []string, at []*yaml.Node) {
	for i, name := range names {
		if slices.Contains(d.listeners, name) {
			continue
		}
		expected := fmt.Sprintf("one of %q", d.listeners)
		if near := nearest(name, d.listeners); near != "" {
			expected = quote(near)
		}
		d.problem(at[i], "listener "+quote(name)+" does not exist", expected)
	}
}
