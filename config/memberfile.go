package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"jetway/balancer"
	"jetway/discovery"
)

// Member is what the file of "jetway member" says, defaults filled in and file
// names made absolute. Node and Gossip.Bind may be empty.
type Member struct {
	discovery.AgentConfig
	Warnings []Problem
	Files    []string // that it is made of, itself first
}

// memberSchema lists every key of a member file.
func memberSchema() []key {
	return []key{
		{"domain", "name", required, "domain that the member serves"},
		{"sub_domain", "name or names", "worker", "one or several, separated by commas"},
		{"id", "name", noDefault, "unique in the domain, stays over restarts; absent: host name and port"},
		{"node", "name", noDefault, "name in the pool; absent: id and domain, or host name and port"},
		{"host", "IP address", noDefault, "of the application; absent: that of gossip"},
		{"http", "port", noDefault, "for requests in the clear"},
		{"https", "port", noDefault, "for requests over TLS"},
		{"port_mapping", "section", noDefault, "`public port: port of the member`"},
		{"weight", "number", "1", "share of the load relative to the others, 1 to 1000"},
		{"zone", "text", `""`, "shown to operators"},
		{"state", "up or draining", "up", "draining keeps new requests off"},
		{"installation", "name", noDefault, "only load balancers of this installation shall see it; absent: all"},
		{"drain_wait", "duration", "5s", "how long to stay after saying that it drains"},
		{"state_dir", "directory", `""`, "where addresses and rotated keys are kept over restarts"},
		{"check", "section", noDefault, "of the application, before it is announced and for as long as it is"},
		{"check.type", "tcp or http", required, "connect, or ask for a path"},
		{"check.port", "port", noDefault, "absent: the first of http, https and port_mapping"},
		{"check.host", "host", `""`, "empty: host, else 127.0.0.1"},
		{"check.path", "text", "/", "of http; an answer of 200 to 399 is good"},
		{"check.interval", "duration", "2s", "between two checks; above 0s"},
		{"check.timeout", "duration", "1s", "of one check; above 0s"},
		{"check.fall", "number", "3", "failures in a row until it drains, 1 to 100"},
		{"check.rise", "number", "2", "good ones in a row until it is up again, 1 to 100"},
		{"signature", "section", noDefault, "for domains that require one"},
		{"signature.key_file", "file", `""`, "private key of the domain; signatures are renewed by themselves"},
		{"signature.valid", "duration", "24h", "how long each is good; at least 1m"},
		{"signature.text", "text", `""`, "made by `jetway sign` elsewhere"},
		{"signature.file", "file", `""`, "holds such a text"},
		{"gossip", "section", noDefault, "the pool"},
		{"gossip.bind", "IP:port", noDefault, "absent: 0.0.0.0:7946, or loopback and any port if all of join is on loopback"},
		{"gossip.advertise", "IP:port", `""`, "what others are told"},
		{"gossip.join", "list of host:port", "[]", "load balancers or anybody else in the pool"},
		{"gossip.key_file", "file", `""`, "key of the pool"},
		{"gossip.insecure", "true or false", "false", "allow gossip beyond loopback without a key"},
		{"gossip.allowed_cidrs", "list of networks", "[]", "where gossip may come from; empty: everywhere"},
	}
}

// LoadMember reads and checks a member file.
func LoadMember(path string) (*Member, error) {
	data, err := readFileMax(path, sizeMax)
	if err != nil {
		return nil, fmt.Errorf("cannot read member file %q: %w", path, err)
	}
	d := newDecoder(path, os.LookupEnv, memberSchema())
	root, problems := parseTree(path, data, "at least domain and a port")
	d.problems = problems
	m := &Member{Files: []string{path}}
	if root != nil {
		d.memberFile(d.open(root, "", "the member file").strict(), m)
	}
	for _, f := range d.files {
		m.Files = append(m.Files, f.path)
		if err := f.check(f.path); err != nil {
			what, expected, _ := strings.Cut(err.Error(), "; expected ")
			d.problem(f.at, d.shown(f.path)+" "+what, expected)
		}
	}
	if len(d.problems) > 0 {
		return nil, d.problems.sorted()
	}
	m.Warnings = d.warnings.sorted()
	return m, nil
}

func (d *decoder) memberFile(o object, m *Member) {
	a := &m.Announcement
	a.Member = d.announced(o)
	read(o, "node", &m.Node, parseName)
	read(o, "installation", &m.Installation, parseName)
	read(o, "drain_wait", &m.DrainWait, parseDuration)
	g := &m.Gossip
	readFile(o, "state_dir", &g.StateDir, nil)
	if o.has("check") {
		check := o.section("check")
		c := &a.Check
		read(check, "type", &c.Type, parseChoice("tcp", "http"))
		read(check, "port", &c.Port, parsePort)
		read(check, "host", &c.Host, parseHost)
		read(check, "path", &c.Path, parseText)
		read(check, "interval", &c.Interval, parseWait)
		read(check, "timeout", &c.Timeout, parseWait)
		read(check, "fall", &c.Fall, parseNumber(1, 100))
		read(check, "rise", &c.Rise, parseNumber(1, 100))
	}
	d.signing(o.section("signature"), &a.Signing)
	gossip := o.section("gossip")
	read(gossip, "bind", &g.Bind, parseIPPort)
	read(gossip, "advertise", &g.Advertise, parseIPPort)
	readList(gossip, "join", &g.Join, parseDial)
	readFile(gossip, "key_file", &g.KeyFile, checkGossipKey)
	read(gossip, "insecure", &g.Insecure, parseBool)
	readList(gossip, "allowed_cidrs", &g.AllowedCIDRs, parsePrefix)
}

// announced decodes what the member says of itself.
func (d *decoder) announced(o object) balancer.Member {
	var m balancer.Member
	read(o, "domain", &m.Domain, parseName)
	read(o, "sub_domain", &m.SubDomains, parseSubDomains)
	read(o, "id", &m.ID, parseName)
	read(o, "host", &m.Host, parseHost)
	read(o, "http", &m.HTTP, parsePort)
	read(o, "https", &m.HTTPS, parsePort)
	read(o, "weight", &m.Weight, parseNumber(1, balancer.MaxWeight))
	read(o, "zone", &m.Zone, parseText)
	readState(o, &m)
	if o.has("port_mapping") {
		m.Ports = d.portMappings(o)
	}
	if !o.has("http") && !o.has("https") && len(m.Ports) == 0 && !o.inherits {
		d.problem(o.node, "the member has no port", "http, https or port_mapping")
	}
	return m
}

func (d *decoder) signing(o object, s *discovery.Signing) {
	at := make(map[string]*yaml.Node, 3)
	at["key_file"] = readFile(o, "key_file", &s.KeyFile, checkReadable)
	read(o, "valid", &s.Valid, func(text string) (time.Duration, error) {
		v, err := parseDuration(text)
		if err == nil && v < time.Minute {
			err = errors.New("a duration of at least 1m")
		}
		return v, err
	})
	at["text"] = read(o, "text", &s.Signature, parseText)
	at["file"] = readFile(o, "file", &s.SignatureFile, checkReadable)
	given := 0
	for _, name := range []string{"key_file", "text", "file"} {
		if at[name] == nil {
			continue
		}
		if given++; given == 2 {
			d.problem(at[name], "the signature comes from two places", "one of key_file, text and file")
		}
	}
}
