package proxy

import "time"

// Config is what the data path takes from loadbalancer.conf. Routing and
// members come through the Router instead.
type Config struct {
	Listeners     []ListenerConfig
	Timeouts      Timeouts
	Limits        Limits
	TenantHeaders TenantHeaders
}

// ListenerConfig is one address on which clients are accepted.
type ListenerConfig struct {
	Name       string
	Address    string     // host:port as net.Listen takes it
	PublicPort uint16     // the port that clients dial; 0: the port of Address
	TLS        *TLSConfig // nil: in the clear
}

// TLSConfig is the server side of TLS of one listener.
type TLSConfig struct {
	Certificates []Certificate // the first is the default, others are chosen by SNI
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

// Limits bound what one client may send.
type Limits struct {
	HeaderBytes  int // whole request head in bytes
	HeaderFields int // header lines
}

// TenantHeaders are the header names that tell members the tenant; the
// client's own fields of these names are removed. Empty: not sent.
type TenantHeaders struct{ ID, Name string }
