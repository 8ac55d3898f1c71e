package balancer

import (
	"net"
	"slices"
	"strconv"
)

// Worker is the sub-domain of a domain that declares none, and of a member
// that names none.
const Worker = "worker"

// Member is one application instance as described by gossip or configuration.
// It is a value: nobody changes one after it was published.
type Member struct {
	ID         string   // unique within its domain
	Domain     string   // cluster domain
	SubDomains []string // parts of the domain it serves; never empty once published
	Host       string   // IP address or DNS name, without port
	HTTP       uint16   // port for clear requests, 0: none
	HTTPS      uint16   // port for TLS requests, 0: none
	Ports      []PortMapping
	Weight     int    // share of the load relative to the others, 1..1000
	Zone       string // free text, shown to operators
	Draining   bool   // announced itself as draining
	Suspect    bool   // gossip lost it: only used where nobody better is left
	Signed     bool   // its announcement carries a valid signature of its domain's key
	Source     string // who says so: Source* below
	HostName   string // DNS name that Host was resolved from; empty: Host is all that is known
}

// The sources of members. An operator wrote or wired up all but gossip, where
// anyone with the pool's key may speak.
const (
	SourceStatic = "static"
	SourceExec   = "exec"
	SourceGossip = "gossip"
)

// Vouched reports whether somebody with the right to do so says that the
// member serves its domain: the operator, or the holder of the domain's key.
func (m *Member) Vouched() bool { return m.Signed || m.Source != SourceGossip }

// Name returns what the member's certificate is made out to: its DNS name,
// where it has one, else its address.
func (m *Member) Name() string {
	if m.HostName != "" {
		return m.HostName
	}
	return m.Host
}

// PortMapping sends what came in on public port From to the member's port To.
type PortMapping struct{ From, To uint16 }

// MaxWeight bounds Member.Weight.
const MaxWeight = 1000

// Key names a cluster.
type Key struct{ Domain, SubDomain string }

// String prints "domain/sub-domain".
func (k Key) String() string { return k.Domain + "/" + k.SubDomain }

// Address returns host:port as the member is dialled.
func (m *Member) Address(port uint16) string {
	return net.JoinHostPort(m.Host, strconv.Itoa(int(port)))
}

// mapped returns the member's port for a public port, 0 where none is mapped.
func (m *Member) mapped(public uint16) uint16 {
	i := slices.IndexFunc(m.Ports, func(p PortMapping) bool { return p.From == public })
	if i < 0 {
		return 0
	}
	return m.Ports[i].To
}
