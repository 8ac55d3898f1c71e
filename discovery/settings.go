package discovery

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/rs/zerolog"
)

const seedsMax = 64 // well-known addresses

// settings is a GossipConfig that was checked.
type settings struct {
	bind      netip.AddrPort
	advertise netip.AddrPort // zero: what bind turns out to be
	seeds     []string
	keys      *keyring // nil: no encryption
	loopback  bool     // nobody on another machine can take part
	allowed   []netip.Prefix
	stateDir  string
	resolver  *resolver
	transport memberlist.Transport // nil: the network; tests have others
	slower    time.Duration        // factor of gossip's pace in tests that have more nodes than cores; 0: none
}

// checkConfig parses a configuration and reads its key file.
func checkConfig(cfg GossipConfig, log zerolog.Logger) (settings, error) {
	s := settings{allowed: cfg.AllowedCIDRs, stateDir: cfg.StateDir, resolver: newResolver(cfg.DNS)}
	var err error
	if s.bind, err = parseAddress(cfg.Bind); err != nil {
		return s, fmt.Errorf("cannot use gossip bind %q: expected ip:port", clip(cfg.Bind))
	}
	s.loopback = s.bind.Addr().IsLoopback()
	if cfg.Advertise != "" {
		s.advertise, err = parseAddress(cfg.Advertise)
		if err != nil || s.advertise.Addr().IsUnspecified() || (s.advertise.Port() == 0 && s.bind.Port() != 0) {
			return s, fmt.Errorf("cannot use gossip advertise %q: expected ip:port that others can reach", clip(cfg.Advertise))
		}
		s.loopback = s.loopback && s.advertise.Addr().IsLoopback()
	}
	if n := len(cfg.DNS.Servers); n > dnsServersMax {
		return s, fmt.Errorf("cannot use %d DNS servers: expected at most %d", n, dnsServersMax)
	}
	if err := checkSeeds(cfg.Join); err != nil {
		return s, err
	}
	s.seeds = cfg.Join
	if cfg.KeyFile == "" {
		if !s.loopback && !cfg.Insecure {
			return s, fmt.Errorf("cannot gossip on %q without a key: expected key_file, or insecure: true", cfg.Bind)
		}
		return s, nil
	}
	s.keys, err = newKeyring(cfg.KeyFile, cfg.StateDir, log)
	return s, err
}

// parseAddress takes ip:port, and :port for all addresses.
func parseAddress(s string) (netip.AddrPort, error) {
	if strings.HasPrefix(s, ":") {
		s = "0.0.0.0" + s
	}
	a, err := netip.ParseAddrPort(s)
	if err == nil && a.Addr().Zone() != "" {
		err = errors.New("zone")
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), err
}

func checkSeeds(join []string) error {
	if len(join) > seedsMax {
		return fmt.Errorf("cannot use %d gossip addresses to join: expected at most %d", len(join), seedsMax)
	}
	for _, seed := range join {
		if err := checkSeed(seed); err != nil {
			return err
		}
	}
	return nil
}

// checkSeed takes host:port with an IP address or a DNS name.
func checkSeed(seed string) error {
	host, port, err := net.SplitHostPort(seed)
	if err == nil {
		_, ok := parseNumber(port, 1, 65535)
		_, notIP := netip.ParseAddr(host)
		if ok && (notIP == nil || isDomain(strings.TrimSuffix(host, "."))) {
			return nil
		}
	}
	return fmt.Errorf("cannot use gossip address %q to join: expected host:port", clip(seed))
}

// networks is what memberlist is told of allowed_cidrs: those and ourselves,
// as a node that refuses its own address falls over.
func (s settings) networks() ([]net.IPNet, error) {
	if len(s.allowed) == 0 {
		return nil, nil
	}
	var nets []net.IPNet
	add := func(p netip.Prefix) {
		nets = append(nets, net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
	}
	for _, p := range s.allowed {
		add(p)
	}
	for _, own := range []netip.AddrPort{s.bind, s.advertise} {
		if own.IsValid() && !own.Addr().IsUnspecified() {
			add(netip.PrefixFrom(own.Addr(), own.Addr().BitLen()))
		}
	}
	if s.bind.Addr().IsUnspecified() && !s.advertise.IsValid() {
		own, err := net.InterfaceAddrs() // memberlist will choose one of them
		if err != nil {
			return nil, fmt.Errorf("cannot list own addresses: %w", err)
		}
		for _, a := range own {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				add(netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
			}
		}
	}
	return nets, nil
}
