package discovery

import (
	"net/netip"
	"time"

	"jetway/balancer"
)

// GossipConfig configures one gossip pool, for Jetway itself and for the
// agent beside an application alike.
type GossipConfig struct {
	Bind         string         // ip:port to listen on, UDP and TCP
	Advertise    string         // ip:port that others are told; empty: Bind
	Join         []string       // well-known addresses, host:port
	KeyFile      string         // keys of the pool, one a line, see ReadKeys; empty: no encryption
	Insecure     bool           // allow no key although Bind is not loopback
	AllowedCIDRs []netip.Prefix // where members and gossip may come from; empty: everywhere
	FailedGrace  time.Duration  // how long a member stays that only gossip says failed; default 60s
	StateDir     string         // where addresses and rotated keys are kept over restarts; empty: nowhere
	DNS          DNSConfig      // for names in Join
}

// Publish takes the whole list of a source's members each time anything
// changed, so that a missed event cannot leave the receiver wrong for long.
// It must not block for long and must not keep the slice's backing for writing.
type Publish func(members []balancer.Member)
