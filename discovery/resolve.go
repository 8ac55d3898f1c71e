package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// DNSConfig says who is asked about names and how often.
type DNSConfig struct {
	Servers  []string      // ip:port, asked in turn; empty: those of the system
	Interval time.Duration // between two questions for one name; default 10s
	Timeout  time.Duration // of one question; default 2s
}

const (
	dnsServersMax   = 16
	dnsInterval     = 10 * time.Second
	dnsTimeout      = 2 * time.Second
	addressesMax    = 256 // of one name; the rest is left out
	lookupsTogether = 16
)

// resolver asks DNS for addresses. Safe for concurrent use.
type resolver struct {
	cfg    DNSConfig
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

func newResolver(cfg DNSConfig) *resolver {
	if cfg.Interval <= 0 {
		cfg.Interval = dnsInterval
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = dnsTimeout
	}
	r := &net.Resolver{}
	if len(cfg.Servers) > 0 {
		var turn atomic.Uint32
		r.PreferGo = true // the system's own would not ask them
		r.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, cfg.Servers[int(turn.Add(1))%len(cfg.Servers)])
		}
	}
	return &resolver{cfg: cfg, lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
		if len(cfg.Servers) > 0 && strings.Contains(host, ".") && !strings.HasSuffix(host, ".") {
			host += "." // the search list is the system's
		}
		return r.LookupNetIP(ctx, "ip", host)
	}}
}

// addresses returns the addresses of a name (A and AAAA), sorted, without
// those that are of no machine: some resolvers answer 0.0.0.0 for names that
// they block, which would be this machine.
func (r *resolver) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	found, err := r.lookup(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("cannot resolve %q: %w", clip(host), shortDNS(err))
	}
	for i, a := range found {
		found[i] = a.Unmap().WithZone("")
	}
	found = slices.DeleteFunc(found, func(a netip.Addr) bool {
		return !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
	})
	if len(found) == 0 {
		return nil, fmt.Errorf("cannot resolve %q: the answer has no usable address", clip(host))
	}
	slices.SortFunc(found, netip.Addr.Compare)
	found = slices.Compact(found)
	return found[:min(len(found), addressesMax)], nil
}

// shortDNS leaves out what changes from one question to the next, so that the
// same trouble has the same text.
func shortDNS(err error) error {
	var dns *net.DNSError
	switch {
	case !errors.As(err, &dns):
		return err
	case dns.IsNotFound:
		return errors.New("no such host")
	case dns.IsTimeout:
		return errors.New("no answer in time")
	}
	return errors.New(dns.Err)
}
