package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"jetway/balancer"
	"jetway/proxy"
	"jetway/tenant"
)

// mask stands where a secret was.
const mask = "******"

// Print returns the configuration in force: defaults filled in, inheritance
// resolved, secrets from the environment masked. Parse reads it back to the
// same values, the masked ones apart.
func (c *Config) Print() []byte {
	p := printer{&yaml.Node{Kind: yaml.MappingNode}, c.masked}
	c.printLoadbalancer(p.section("loadbalancer"))
	if c.Gossip != nil || len(c.Static) > 0 || len(c.Exec) > 0 {
		c.printMembership(p.section("membership"))
	}
	if c.Standby != nil {
		c.printStandby(p.section("standby"))
	}
	c.printTenants(p.section("tenants"))
	c.printServices(p.section("services"))
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(p.node); err != nil {
		panic("BUG: a tree of plain nodes cannot be printed: " + err.Error())
	}
	return b.Bytes()
}

// printer appends keys to a section.
type printer struct {
	node   *yaml.Node
	masked map[string]bool
}

func (p printer) add(name string, n *yaml.Node) {
	p.node.Content = append(p.node.Content, textNode(name), n)
}

func (p printer) section(name string) printer {
	s := printer{&yaml.Node{Kind: yaml.MappingNode}, p.masked}
	p.add(name, s.node)
	return s
}

// sections adds a list of n sections.
func (p printer) sections(name string, n int, each func(i int, s printer)) {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range n {
		s := printer{&yaml.Node{Kind: yaml.MappingNode}, p.masked}
		each(i, s)
		list.Content = append(list.Content, s.node)
	}
	if n == 0 {
		list.Style = yaml.FlowStyle
	}
	p.add(name, list)
}

// text adds a value that Parse takes as text.
func (p printer) text(name, v string) {
	if v != "" && secret(name) && p.masked[v] {
		v = mask
	}
	p.add(name, textNode(escape(v)))
}

// plain adds a value of another kind, which needs no quotes.
func (p printer) plain(name string, v any) {
	p.add(name, &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(v)})
}

func (p printer) texts(name string, vs []string) {
	list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, v := range vs {
		list.Content = append(list.Content, textNode(escape(v)))
	}
	p.add(name, list)
}

func (p printer) prefixes(name string, ps []netip.Prefix) {
	texts := make([]string, 0, len(ps))
	for _, x := range ps {
		texts = append(texts, x.String())
	}
	p.texts(name, texts)
}

// port adds a port unless there is none.
func (p printer) port(name string, port uint16) {
	if port > 0 {
		p.plain(name, port)
	}
}

func textNode(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}

func (c *Config) printLoadbalancer(p printer) {
	p.text("name", c.Name)
	p.text("installation", c.Installation)
	p.text("state_dir", c.StateDir)
	p.sections("listeners", len(c.Proxy.Listeners), func(i int, s printer) {
		l := c.Proxy.Listeners[i]
		s.text("name", l.Name)
		s.text("address", l.Address)
		s.port("public_port", l.PublicPort)
		if l.TLS != nil {
			printTLS(s.section("tls"), l.TLS)
		}
		s.plain("proxy_protocol", l.ProxyProtocol)
	})
	c.printAdmin(p)
	p.plain("session_timeout", formatDuration(c.SessionTimeout))
	p.plain("fail_over", c.FailOver)
	p.text("autoscaler_task_interval", formatDuration(c.scaling.interval))
	p.text("server_startup_delay", formatDuration(c.scaling.startup))
	p.section("autoscale").plain("max_members", c.scaling.maxMembers)
	t, s := c.Proxy.Timeouts, p.section("timeouts")
	s.plain("header", formatDuration(t.Header))
	s.plain("body_min_rate", formatSize(t.BodyMinRate))
	s.plain("idle", formatDuration(t.Idle))
	s.plain("connect", formatDuration(t.Connect))
	s.plain("response_header", formatDuration(t.ResponseHeader))
	s.plain("response_idle", formatDuration(t.ResponseIdle))
	s.plain("total", formatDuration(t.Total))
	s.plain("upgrade_idle", formatDuration(t.UpgradeIdle))
	s.plain("drain", formatDuration(t.Drain))
	l := p.section("limits")
	l.plain("header_bytes", formatSize(int64(c.Proxy.Limits.HeaderBytes)))
	l.plain("header_fields", c.Proxy.Limits.HeaderFields)
	l.plain("connections", c.Proxy.Limits.Connections)
	l.plain("connections_per_source", c.Proxy.Limits.ConnectionsPerSource)
	l.plain("requests_per_connection", c.Proxy.Limits.RequestsPerConnection)
	l.plain("upgrades", c.Proxy.Limits.Upgrades)
	l.plain("sessions", c.SessionsMax)
	c.printAccessLog(p.section("access_log"))
	p.prefixes("trusted_proxies", c.Proxy.TrustedProxies)
}

func printTLS(p printer, t *proxy.TLSConfig) {
	p.sections("certificates", len(t.Certificates), func(i int, s printer) {
		s.text("cert_file", t.Certificates[i].CertFile)
		s.text("key_file", t.Certificates[i].KeyFile)
	})
	p.text("client_ca_file", t.ClientCAFile)
	p.plain("require_client_cert", t.RequireClientCert)
	p.text("ticket_key_file", t.TicketKeyFile)
	p.plain("strict_sni", t.StrictSNI)
}

func (c *Config) printMembership(p printer) {
	if g := c.Gossip; g != nil {
		s := p.section("gossip")
		s.text("bind", g.Bind)
		s.text("advertise", g.Advertise)
		s.texts("join", g.Join)
		s.text("key_file", g.KeyFile)
		s.plain("insecure", g.Insecure)
		s.prefixes("allowed_cidrs", g.AllowedCIDRs)
		s.plain("failed_grace", formatDuration(g.FailedGrace))
	}
	p.sections("exec", len(c.Exec), func(i int, s printer) {
		s.text("name", c.Exec[i].Name)
		s.texts("command", c.Exec[i].Command)
		s.plain("interval", formatDuration(c.Exec[i].Interval))
		s.plain("timeout", formatDuration(c.Exec[i].Timeout))
	})
	dns := p.section("dns")
	dns.texts("servers", c.DNS.Servers)
	dns.plain("interval", formatDuration(c.DNS.Interval))
	dns.plain("timeout", formatDuration(c.DNS.Timeout))
	p.sections("static", len(c.Static), func(i int, s printer) {
		m := c.Static[i]
		s.text("id", m.ID)
		s.text("domain", m.Domain)
		s.text("sub_domain", strings.Join(m.SubDomains, ","))
		s.text("host", m.Host)
		s.port("http", m.HTTP)
		s.port("https", m.HTTPS)
		ports := s.section("port_mapping")
		for _, mapping := range m.Ports {
			ports.plain(strconv.Itoa(int(mapping.From)), mapping.To)
		}
		s.plain("weight", m.Weight)
		s.text("zone", m.Zone)
		state := "up"
		if m.Draining {
			state = "draining"
		}
		s.text("state", state)
	})
}

func (c *Config) printTenants(p printer) {
	t := c.Tenants
	printRules(p, t.Identify)
	p.text("super", t.Super)
	unknown := "default"
	if t.RefuseUnknown {
		unknown = "refuse"
	}
	p.text("unknown", unknown)
	if t.Directory.Kind() != "none" {
		c.printDirectory(p.section("directory"))
	}
	if len(t.Plans) > 0 {
		printPlans(p.section("plans"), t.Plans)
	}
	h := p.section("headers")
	h.text("id", c.Proxy.TenantHeaders.ID)
	h.text("name", c.Proxy.TenantHeaders.Name)
}

func printRules(p printer, rules []tenant.Rule) {
	p.sections("identify", len(rules), func(i int, s printer) {
		r := rules[i]
		for _, kind := range [...]struct{ name, value string }{{"path", r.Path}, {"host", r.Host}, {"header", r.Header}, {"cookie", r.Cookie}, {"query", r.Query}} {
			if kind.value != "" {
				s.text(kind.name, kind.value)
			}
		}
	})
}

func (c *Config) printDirectory(p printer) {
	d := &c.Tenants.Directory
	switch {
	case d.File != "":
		p.text("file", d.File)
	case d.SQL != nil:
		s := p.section("sql")
		s.text("driver", string(d.SQL.Driver))
		if c.Tenants.SecretFile != "" {
			s.text("dsn_file", c.Tenants.SecretFile)
		} else {
			s.add("dsn", textNode(mask)) // may hold a password wherever it came from
		}
		s.text("query", d.SQL.Query)
		s.plain("active", d.SQL.Active)
		s.plain("connections", d.SQL.Connections)
		s.plain("idle", formatDuration(d.SQL.IdleFor))
		s.plain("lifetime", formatDuration(d.SQL.Lifetime))
	case d.HTTP != nil:
		s := p.section("http")
		s.text("url", d.HTTP.URL)
		s.text("ca_file", d.HTTP.CAFile)
		if d.HTTP.Token != "" {
			s.add("token", textNode(mask))
		}
		s.text("token_file", c.Tenants.TokenFile)
	case d.Embedded != nil:
		p.section("embedded").text("file", d.Embedded.File)
	}
	p.text("max_shrink", formatPercent(d.MaxShrink))
	p.plain("ttl", formatDuration(d.Cache.TTL))
	p.plain("negative_ttl", formatDuration(d.Cache.NegativeTTL))
	p.plain("timeout", formatDuration(d.Cache.Timeout))
	p.plain("entries", d.Cache.Entries)
	p.plain("concurrency", d.Cache.Concurrency)
	p.plain("rate", d.Cache.Rate)
}

func printPlans(p printer, plans []tenant.Plan) {
	for _, plan := range plans {
		s := p.section(plan.Name)
		s.texts("tenants", plan.Tenants)
		if plan.Body != tenant.Inherit {
			s.text("body", formatSize(plan.Body))
		}
		if plan.InFlight != tenant.Inherit {
			s.plain("tenant_in_flight", plan.InFlight)
		}
		if plan.Rate != tenant.Inherit {
			s.plain("tenant_rate", formatRate(plan.Rate))
		}
		if plan.Burst != tenant.Inherit {
			s.plain("tenant_burst", plan.Burst)
		}
	}
}

// printServices relies on the clusters of a service, and those of a domain in
// it, standing together.
func (c *Config) printServices(p printer) {
	var domains, subs printer
	for i, cl := range c.Clusters {
		newService := i == 0 || c.Clusters[i-1].Service != cl.Service
		if newService {
			service := p.section(cl.Service)
			if own, ok := c.Tenants.Services[cl.Service]; ok {
				printRules(service, own)
			}
			domains = service.section("domains")
		}
		if newService || c.Clusters[i-1].Key.Domain != cl.Key.Domain {
			domain := domains.section(cl.Key.Domain)
			domain.text("tenant_range", cl.Ranges.String())
			subs = domain.section("sub_domains")
		}
		sub := subs.section(cl.Key.SubDomain)
		printCluster(sub, cl)
		sub.elastic(c.scaling.clusters[cl.Key])
		sub.section("require_signature").text("public_key_file", c.Signatures[cl.Key])
	}
}

func printCluster(p printer, c balancer.ClusterConfig) {
	p.texts("hosts", c.Hosts)
	printBalance(p, &c)
	printHealth(p.section("health"), &c.Health)
	retry := p.section("retry")
	retry.plain("attempts", c.Retry.Attempts)
	retry.text("budget", formatPercent(c.Retry.Budget))
	p.text("member_scheme", string(c.MemberScheme))
	tls := p.section("member_tls")
	tls.text("ca_file", c.MemberTLS.CAFile)
	tls.text("server_name", c.MemberTLS.ServerName)
	tls.plain("insecure", c.MemberTLS.Insecure)
	limits := p.section("limits")
	limits.text("body", formatSize(c.BodyLimit))
	limits.plain("tenant_in_flight", c.TenantLimits.InFlight)
	limits.plain("tenant_rate", formatRate(c.TenantLimits.Rate))
	limits.plain("tenant_burst", c.TenantLimits.Burst)
	limits.plain("dry_run", c.DryRun)
	rewrite := p.section("rewrite")
	rewrite.plain("location", c.RewriteLocation)
	rewrite.plain("cookies", c.RewriteCookies)
	p.texts("listeners", c.Listeners)
	p.prefixes("allow_from", c.AllowFrom)
	printAffinity(p.section("affinity"), &c.Affinity)
}
