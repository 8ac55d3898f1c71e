package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"jetway/balancer"
	"jetway/discovery"
)

// portMappingsMax bounds the port mappings of a member.
const portMappingsMax = 100

// gossip decodes the gossip section, if there is one.
func (d *decoder) gossip(membership object, c *Config, claims *claims) {
	if !membership.has("gossip") {
		return
	}
	g := new(discovery.GossipConfig)
	o := membership.section("gossip")
	bind := read(o, "bind", &g.Bind, parseIPPort)
	advertise := read(o, "advertise", &g.Advertise, parseIPPort)
	joins := readList(o, "join", &g.Join, parseDial)
	readFile(o, "key_file", &g.KeyFile, checkGossipKey)
	read(o, "insecure", &g.Insecure, parseBool)
	readList(o, "allowed_cidrs", &g.AllowedCIDRs, parsePrefix)
	read(o, "failed_grace", &g.FailedGrace, parseWait)
	g.StateDir, g.DNS = c.StateDir, c.DNS
	c.Gossip = g

	if a, err := netip.ParseAddrPort(g.Advertise); advertise != nil && err == nil && (a.Addr().IsUnspecified() || a.Port() == 0) {
		d.problem(advertise, quote(g.Advertise)+" cannot be reached by others", "the address and port that others dial")
	}
	if bind == nil {
		return
	}
	claims.add(d, bind, g.Bind)
	if loopback(g.Bind) {
		return
	}
	if g.KeyFile == "" && !g.Insecure {
		d.problem(bind, "gossip beyond loopback has no key: anyone who reaches the port could take traffic", "key_file (see jetway keygen gossip), or insecure: true")
	}
	others := len(joins)
	for _, own := range []string{g.Bind, g.Advertise} {
		if others == len(joins) && slices.Contains(g.Join, own) {
			others-- // itself, as in a list that all load balancers share
		}
	}
	if others < 2 {
		d.warn(bind, fmt.Sprintf("gossip knows %d other addresses to join", others), "at least two in join, so that a restart finds the pool while one of them is down")
	}
}

// dns decodes how names are looked up.
func (d *decoder) dns(o object, c *Config) {
	readList(o, "servers", &c.DNS.Servers, parseIPPort)
	read(o, "interval", &c.DNS.Interval, parseInterval)
	read(o, "timeout", &c.DNS.Timeout, parseWait)
}

// parseInterval reads a time between two runs of the same.
func parseInterval(s string) (time.Duration, error) {
	t, err := parseDuration(s)
	if err == nil && t < time.Second {
		err = errors.New("a duration of at least 1s")
	}
	return t, err
}

// exec decodes the commands that print members.
func (d *decoder) exec(membership object, c *Config) {
	names := make(map[string]*yaml.Node)
	for _, o := range membership.sections("exec") {
		e := discovery.ExecConfig{Dir: d.dir}
		at := read(o, "name", &e.Name, parseName)
		readTexts(o, "command", &e.Command)
		read(o, "interval", &e.Interval, parseInterval)
		read(o, "timeout", &e.Timeout, parseWait)
		if at == nil {
			at = o.node
		}
		if e.Name == "" && len(e.Command) > 0 {
			e.Name, _ = parseName(filepath.Base(e.Command[0]))
			if e.Name == "" {
				d.problem(o.node, "the program's name is none for the command", "name")
				continue
			}
		}
		if f := names[e.Name]; f != nil {
			d.problem(at, fmt.Sprintf("command %s stands twice, first at line %d column %d", quote(e.Name), f.Line, f.Column), "a name of its own")
			continue
		}
		names[e.Name] = at
		c.Exec = append(c.Exec, e)
	}
	if n := len(c.Exec); n > execsMax {
		d.problem(membership.node, fmt.Sprintf("there are %d commands in exec", n), fmt.Sprintf("at most %d", execsMax))
	}
}

// readTexts sets *p to the elements of a list in which the same may stand
// twice, such as the arguments of a command.
func readTexts(o object, name string, p *[]string) {
	nodes, k, _ := o.elements(name)
	*p = nil
	for _, n := range nodes {
		if v, ok := o.d.scalar(n, name, strings.TrimPrefix(k.kind, "list of ")); ok {
			*p = append(*p, v.text)
		}
	}
	if len(*p) > 0 && (*p)[0] == "" {
		o.d.problem(nodes[0], quote(name)+" begins with an empty text", "the program to run")
	}
}

// execsMax bounds the commands that print members.
const execsMax = 16

// memberAt is a static member and where it stands.
type memberAt struct {
	balancer.Member
	at *yaml.Node
}

// static decodes the members that do not gossip.
func (d *decoder) static(membership object, c *Config) []memberAt {
	type identity struct{ domain, id string }
	first := make(map[identity]*yaml.Node)
	var members []memberAt
	for _, o := range membership.sections("static") {
		before := len(d.problems)
		m := d.member(o)
		c.Static = append(c.Static, m)
		if len(d.problems) > before {
			continue // what it is remains open
		}
		if f := first[identity{m.Domain, m.ID}]; f != nil {
			d.problem(o.node, fmt.Sprintf("member %s of domain %s stands twice, first at line %d column %d", quote(m.ID), quote(m.Domain), f.Line, f.Column), "an id of its own")
			continue
		}
		first[identity{m.Domain, m.ID}] = o.node
		members = append(members, memberAt{m, o.node})
	}
	return members
}

func (d *decoder) member(o object) balancer.Member {
	before := len(d.problems)
	m := balancer.Member{Source: balancer.SourceStatic}
	read(o, "id", &m.ID, parseName)
	read(o, "domain", &m.Domain, parseName)
	read(o, "sub_domain", &m.SubDomains, parseSubDomains)
	read(o, "host", &m.Host, parseHost)
	read(o, "http", &m.HTTP, parsePort)
	read(o, "https", &m.HTTPS, parsePort)
	read(o, "weight", &m.Weight, parseNumber(1, balancer.MaxWeight))
	read(o, "zone", &m.Zone, parseText)
	readState(o, &m)
	if o.has("port_mapping") {
		m.Ports = d.portMappings(o)
	}
	if !o.has("http") && !o.has("https") && len(m.Ports) == 0 && !o.inherits && len(d.problems) == before {
		d.problem(o.node, "the member has no port", "http, https or port_mapping")
	}
	if m.ID == "" && !o.has("id") && m.Host != "" {
		m.ID = m.Address(firstPort(m))
	}
	return m
}

// readState reads whether a member drains.
func readState(o object, m *balancer.Member) {
	var state string
	read(o, "state", &state, parseChoice("up", "draining"))
	m.Draining = state == "draining"
}

func firstPort(m balancer.Member) uint16 {
	switch {
	case m.HTTP > 0:
		return m.HTTP
	case m.HTTPS > 0:
		return m.HTTPS
	case len(m.Ports) > 0:
		return m.Ports[0].To
	}
	return 0
}

func parseSubDomains(s string) ([]string, error) {
	var names []string
	for part := range strings.SplitSeq(s, ",") {
		name, err := parseName(strings.TrimSpace(part))
		if err != nil || slices.Contains(names, name) {
			return nil, errors.New(`one or several different sub-domain names, such as "mgt,worker"`)
		}
		names = append(names, name)
	}
	return names, nil
}

// portMappings decodes "public port: port of the member" pairs.
func (d *decoder) portMappings(member object) []balancer.PortMapping {
	n, k := member.find("port_mapping")
	o := d.open(n, k.path, "the section port_mapping")
	var ports []balancer.PortMapping
	for key, v := range o.entries() {
		from, err := parsePort(key.Value)
		if err != nil {
			d.problem(key, quote(key.Value)+" is no public port", err.Error())
		}
		text, ok := d.scalar(v, "port_mapping", "port")
		if !ok || err != nil {
			continue
		}
		to, err := parsePort(text.text)
		if err != nil {
			d.problem(v, quote(text.text)+` is wrong for "port_mapping"`, err.Error())
			continue
		}
		ports = append(ports, balancer.PortMapping{From: from, To: to})
	}
	if len(ports) > portMappingsMax {
		d.problem(n, fmt.Sprintf("the member has %d port mappings", len(ports)), fmt.Sprintf("at most %d", portMappingsMax))
	}
	slices.SortFunc(ports, func(a, b balancer.PortMapping) int { return int(a.From) - int(b.From) })
	return ports
}

// checkMembers warns of clusters that can have no member and of members that
// no service wants.
func (d *decoder) checkMembers(c *Config, clusters []clusterAt, members []memberAt) {
	wanted, served := make(map[balancer.Key]bool), make(map[balancer.Key]bool)
	for _, cl := range clusters {
		wanted[cl.Key] = true
	}
	for _, m := range members {
		for _, s := range m.SubDomains {
			key := balancer.Key{Domain: m.Domain, SubDomain: s}
			served[key] = true
			if !wanted[key] {
				d.warn(m.at, fmt.Sprintf("member %s serves %s, which no service has", quote(m.ID), key), "a domain and sub-domain of services")
			}
		}
	}
	for _, cl := range clusters {
		if c.Gossip == nil && len(c.Exec) == 0 && !served[cl.Key] {
			d.warn(cl.at, fmt.Sprintf("%s can have no member: there is no gossip and no static member for it", cl.Key), "a static member, or membership.gossip")
		}
	}
}
