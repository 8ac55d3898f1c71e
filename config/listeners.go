package config

import (
	"fmt"
	"net/netip"

	"gopkg.in/yaml.v3"

	"jetway/proxy"
)

// listener decodes one address on which clients are accepted. names holds the
// listeners in front of it.
func (d *decoder) listener(o object, c *Config, claims *claims, names map[string]*yaml.Node) {
	var l proxy.ListenerConfig
	at := read(o, "address", &l.Address, parseListen)
	if at != nil {
		claims.add(d, at, l.Address)
		_, port, _ := hostPort(l.Address)
		l.PublicPort = uint16(port)
	}
	read(o, "public_port", &l.PublicPort, parsePort)
	if named := read(o, "name", &l.Name, parseName); named != nil {
		at = named
	} else {
		l.Name = l.Address
	}
	if o.has("tls") {
		l.TLS = new(proxy.TLSConfig)
		for _, s := range o.section("tls").sections("certificates") {
			l.TLS.Certificates = append(l.TLS.Certificates, d.certificate(s))
		}
		d.serverTLS(o.section("tls"), l.TLS)
	}
	read(o, "proxy_protocol", &l.ProxyProtocol, parseBool)
	if at != nil {
		if first := names[l.Name]; first != nil {
			d.problem(at, fmt.Sprintf("listener name %s stands twice, first at line %d column %d", quote(l.Name), first.Line, first.Column), "a name of its own")
		} else {
			names[l.Name] = at
		}
	}
	c.Proxy.Listeners = append(c.Proxy.Listeners, l)
}

// serverTLS decodes what a TLS listener has beside its certificates.
func (d *decoder) serverTLS(o object, t *proxy.TLSConfig) {
	readFile(o, "client_ca_file", &t.ClientCAFile, checkCertificates)
	if at := read(o, "require_client_cert", &t.RequireClientCert, parseBool); t.RequireClientCert && t.ClientCAFile == "" {
		d.problem(at, "require_client_cert needs client_ca_file", "who signs client certificates")
	}
	readFile(o, "ticket_key_file", &t.TicketKeyFile, proxy.CheckTicketKeys)
	read(o, "strict_sni", &t.StrictSNI, parseBool)
}

// certificate decodes a pair of files. The pair is checked where the
// certificate stands, the key file alone where it stands.
func (d *decoder) certificate(o object) proxy.Certificate {
	var c proxy.Certificate
	cert := readFile(o, "cert_file", &c.CertFile, nil)
	readFile(o, "key_file", &c.KeyFile, checkReadable)
	if cert != nil {
		d.files = append(d.files, fileUse{cert, c.CertFile, func(path string) error { return checkPair(path, c.KeyFile) }})
	}
	return c
}

// claims are the TCP addresses that this configuration listens on.
type claims []claim

type claim struct {
	address string
	at      *yaml.Node
}

// add reports an address that cannot be listened on because of one before.
func (cs *claims) add(d *decoder, at *yaml.Node, address string) {
	for _, c := range *cs {
		if collide(c.address, address) {
			d.problem(at, fmt.Sprintf("address %s is taken by %s at line %d column %d", quote(address), quote(c.address), c.at.Line, c.at.Column), "an address of its own")
			return
		}
	}
	*cs = append(*cs, claim{address, at})
}

// collide reports whether the second of two listen addresses cannot be had.
func collide(a, b string) bool {
	hostA, portA, _ := hostPort(a)
	hostB, portB, _ := hostPort(b)
	if portA != portB || portA == 0 {
		return false
	}
	return hostA == hostB || covers(hostA, hostB) || covers(hostB, hostA)
}

// covers reports whether wide stands for every local address of other's family.
func covers(wide, other string) bool {
	if wide == "" || wide == "::" {
		return true
	}
	a, err := netip.ParseAddr(other)
	return wide == "0.0.0.0" && (other == "" || err != nil || a.Is4())
}

// loopback reports whether a listen address is reachable from this host only.
func loopback(address string) bool {
	host, _, _ := hostPort(address)
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}
