package proxy

import (
	"net/netip"
	"time"
)

// Config is what the data path takes from loadbalancer.conf. Routing and
// members come through the Router instead.
type Config struct {
	Listeners     []ListenerConfig
	Timeouts      Timeouts
	Limits        Limits
	TenantHeaders TenantHeaders
	// TrustedProxies are addresses whose forwarding fields are believed and
	// passed on; everybody else's are replaced.
	TrustedProxies []netip.Prefix
	AccessLog      AccessLogConfig
}

// ListenerConfig is one address on which clients are accepted.
type ListenerConfig struct {
	Name       string
	Address    string     // host:port as net.Listen takes it
	PublicPort uint16     // the port that clients dial; 0: the port of Address
	TLS        *TLSConfig // nil: in the clear
	// ProxyProtocol: each connection begins with a PROXY protocol header,
	// version 1 or 2, that names the client.
	ProxyProtocol bool
	// FreeBind: Address may be one that this host does not have yet.
	FreeBind bool
}

// TLSConfig is the server side of TLS of one listener.
type TLSConfig struct {
	Certificates []Certificate // the first is the default, others are chosen by SNI
	// ClientCAFile names who signs client certificates; the subject is passed
	// on as X-Client-Cert-Subject. Empty: none are asked for.
	ClientCAFile string
	// RequireClientCert refuses clients without a certificate.
	RequireClientCert bool
	// TicketKeyFile holds keys for session tickets, base64 of 32 bytes a line,
	// the first one in use; peers that share it resume each other's sessions.
	// Empty: keys of this process, renewed daily.
	TicketKeyFile string
	// StrictSNI answers 421 where Host is not the name the TLS session is for.
	StrictSNI bool
}

// Certificate is a pair of PEM files.
type Certificate struct{ CertFile, KeyFile string }

// Timeouts bound every wait. 0 means no limit, except where a default is named
// by config; every duration is as long as one wait may take.
type Timeouts struct {
	Header         time.Duration // whole request head, from its first byte
	BodyMinRate    int64         // bytes per second a request body must keep, measured over its whole life after a grace
	Idle           time.Duration // kept-alive client connection between requests
	Connect        time.Duration // TCP (and TLS) connection to a member
	ResponseHeader time.Duration // from the request's last byte to the response head
	ResponseIdle   time.Duration // without progress while a response body streams
	Total          time.Duration // the whole request; 0: none
	UpgradeIdle    time.Duration // tunnel without a byte in either direction
	Drain          time.Duration // how long requests in flight may take on stop
}

// Limits bound what clients may take. 0 is none, except where said otherwise.
type Limits struct {
	Connections           int // client connections in all; 0: what the descriptor limit allows
	ConnectionsPerSource  int // per IPv4 address or IPv6 /64
	HeaderBytes           int // whole request head in bytes
	HeaderFields          int // header lines
	Upgrades              int // upgraded connections in all
	RequestsPerConnection int // after them the connection is closed
}

// TenantHeaders are the header names that tell members the tenant; the
// client's own fields of these names are removed. Empty: not sent.
type TenantHeaders struct {
	ID, Name string
	// Naming are fields in which trusted proxies name the tenant; those of
	// everybody else are removed, like forwarding fields.
	Naming []string
}
