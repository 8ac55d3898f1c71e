package config

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"

	"jetway/standby"
)

// standby decodes how this Jetway keeps in step with its peers, if it has any.
func (d *decoder) standby(root object, c *Config, claims *claims) {
	if !root.has("standby") {
		return
	}
	s := new(standby.Config)
	c.Standby = s
	o := root.section("standby")
	listen := read(o, "listen", &s.Listen, parseIPPort)
	advertise := read(o, "advertise", &s.Advertise, parseIPPort)
	readList(o, "peers", &s.Peers, parseDial)
	key := readFile(o, "key_file", &s.KeyFile, checkPeerKey)
	read(o, "priority", &s.Priority, parseNumber(1, 254))
	read(o, "snapshot_rate", &s.SnapshotRate, func(text string) (int64, error) {
		n, err := parseSize(text)
		if err == nil && n < 64<<10 {
			err = errors.New("a size of at least 64KiB")
		}
		return n, err
	})
	read(o, "handover_drain", &s.HandoverDrain, parseDuration)
	readFile(o, "track_file", &s.TrackFile, nil)
	virtual := read(o, "virtual_address", &s.VirtualAddress, parseAddressPrefix)
	read(o, "interface", &s.Interface, parseInterface)
	read(o, "virtual_router_id", &s.VirtualRouterID, parseNumber(1, 255))
	if o.has("tls") {
		t := o.section("tls")
		certificate := d.certificate(t)
		s.TLS.CertFile, s.TLS.KeyFile = certificate.CertFile, certificate.KeyFile
		readFile(t, "ca_file", &s.TLS.CAFile, checkCertificates)
	}
	switch {
	case key != nil && o.has("tls"):
		d.problem(key, "key_file and tls are both given", "one of them: peers know each other by a shared key or by certificates")
	case key == nil && !o.has("tls") && !o.inherits:
		d.problem(o.node, "standby has no key: peers must know each other", "key_file (see jetway keygen peer), or tls")
	}
	if listen != nil {
		claims.add(d, listen, s.Listen)
	}
	told := s.Listen
	at := listen
	if advertise != nil {
		told, at = s.Advertise, advertise
	}
	if a, err := netip.ParseAddrPort(told); at != nil && err == nil && (a.Addr().IsUnspecified() || a.Port() == 0) && c.Gossip != nil {
		d.problem(at, quote(told)+" cannot be reached by peers that hear of it by gossip", "the address and port that peers dial, in listen or advertise")
	}
	if c.Gossip == nil && len(s.Peers) == 0 && listen != nil {
		d.warn(listen, "standby knows no peer: there is no gossip, and peers is empty", "the other load balancers in peers, unless they all dial this one")
	}
	if virtual != nil && s.Interface == "" {
		d.problem(virtual, "virtual_address has no interface", "interface, that carries it")
	}
}

// freeBind marks the listeners on the virtual address: they are bound before
// this host has it.
func (c *Config) freeBind() {
	if c.Standby == nil || !c.Standby.VirtualAddress.IsValid() {
		return
	}
	for i := range c.Proxy.Listeners {
		l := &c.Proxy.Listeners[i]
		host, _, _ := hostPort(l.Address)
		a, err := netip.ParseAddr(host)
		l.FreeBind = err == nil && a.Unmap() == c.Standby.VirtualAddress.Addr()
	}
}

// parseAddressPrefix reads an address with the length of its network.
func parseAddressPrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() || p.Addr().IsUnspecified() || p.Addr().IsMulticast() {
		return p, errors.New("an address with the length of its network, such as 10.0.0.9/24")
	}
	return p, nil
}

// parseInterface takes what Linux takes as the name of a network interface.
func parseInterface(s string) (string, error) {
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/ :\"'\\{}#!") {
		return "", errors.New("the name of a network interface, such as eth0")
	}
	for _, r := range s {
		if r < '!' || r > '~' {
			return "", errors.New("the name of a network interface, such as eth0")
		}
	}
	return s, nil
}

func checkPeerKey(path string) error {
	data, err := readSmall(path)
	if err != nil {
		return err
	}
	if _, err := standby.ParseSecrets(string(data)); err != nil {
		return fmt.Errorf("%w", err)
	}
	return nil
}

func (c *Config) printStandby(p printer) {
	s := c.Standby
	p.text("listen", s.Listen)
	p.text("advertise", s.Advertise)
	p.texts("peers", s.Peers)
	if s.TLS.CertFile != "" {
		t := p.section("tls")
		t.text("cert_file", s.TLS.CertFile)
		t.text("key_file", s.TLS.KeyFile)
		t.text("ca_file", s.TLS.CAFile)
	} else {
		p.text("key_file", s.KeyFile)
	}
	p.plain("priority", s.Priority)
	p.plain("snapshot_rate", formatSize(s.SnapshotRate))
	p.plain("handover_drain", formatDuration(s.HandoverDrain))
	p.text("track_file", s.TrackFile)
	if s.VirtualAddress.IsValid() {
		p.text("virtual_address", s.VirtualAddress.String())
	}
	if s.Interface != "" {
		p.text("interface", s.Interface)
	}
	p.plain("virtual_router_id", s.VirtualRouterID)
}

// Shared returns what must be equal on all peers in a form of which a hash can
// be made: whose requests go where, under which limits. Names, addresses, files
// of this host and members are not part of it.
func (c *Config) Shared() []byte {
	other := *c
	other.Name, other.StateDir, other.Standby, other.Gossip = "", "", nil, nil
	other.Admin = Admin{}
	other.Proxy.Listeners = nil
	p := printer{&yaml.Node{Kind: yaml.MappingNode}, c.masked}
	other.printLoadbalancer(p.section("loadbalancer"))
	other.printTenants(p.section("tenants"))
	other.printServices(p.section("services"))
	text, err := yaml.Marshal(p.node)
	if err != nil {
		panic("BUG: a tree of plain nodes cannot be printed: " + err.Error())
	}
	if abs, err := filepath.Abs(c.File); err == nil { // the same files may lie elsewhere
		text = bytes.ReplaceAll(text, []byte(filepath.Dir(abs)+"/"), nil)
	}
	return text
}
