package cli

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"jetway/balancer"
	"jetway/discovery"
)

// memberFlags are what "jetway member" is told.
type memberFlags struct {
	id, domain, host, zone string
	subDomains, maps       []string
	http, https            uint16
	weight                 int
	gossip                 discovery.GossipConfig
	installation           string
	drainWait              time.Duration
}

func memberCommand() *cobra.Command {
	var f memberFlags
	var logs logFlags
	c := &cobra.Command{
		Use:   "member",
		Short: "Announce an application to the load balancers, from beside it",
		Long: `Joins the gossip pool and announces the application that runs beside it, until
SIGTERM or SIGINT: then it says that the member drains, waits until requests in
flight are done (--drain-wait), and leaves. A second signal ends it at once.

Exit codes: 0 after leaving, 1 it could not start, 2 the command line is wrong or
a second signal came.`,
		Example: `  jetway member --domain as.shared.domain --http 9763 --join 127.0.0.1:7946
  jetway member --domain as.shared.domain --sub-domain mgt --https 9443 --map 8243=9444 \
      --bind 10.0.0.21:7946 --join 10.0.0.4:7946 --join 10.0.0.5:7946 --key-file gossip.key`,
		Args: noCommand,
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := f.config(os.Hostname)
		if err != nil {
			return &usageError{err, c.CommandPath()}
		}
		log, err := logs.logger(c, c.ErrOrStderr())
		if err != nil {
			return err
		}
		return announce(c.Context(), cfg, log)
	}
	f.add(c)
	logs.add(c)
	return c
}

func (f *memberFlags) add(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVar(&f.domain, "domain", "", "domain that the member serves (required)")
	fs.StringSliceVar(&f.subDomains, "sub-domain", nil, "part of the domain that it serves, repeatable (default worker)")
	fs.Uint16Var(&f.http, "http", 0, "`port` of the application for HTTP")
	fs.Uint16Var(&f.https, "https", 0, "`port` of the application for HTTPS")
	fs.StringArrayVar(&f.maps, "map", nil, "`public=own` ports, as in 8280=9763: what comes in on the first goes to the second; repeatable")
	fs.StringVar(&f.host, "host", "", "`IP` address of the application (default: that of gossip)")
	fs.IntVar(&f.weight, "weight", 1, "share of the load relative to the others, 1 to 1000")
	fs.StringVar(&f.zone, "zone", "", "where the member is, shown to operators")
	fs.StringVar(&f.id, "id", "", "`name` that is unique in its domain and stays over restarts (default: host name and port)")
	fs.StringVar(&f.gossip.Bind, "bind", "", "`ip:port` for gossip (default 0.0.0.0:7946, or 127.0.0.1 and any port if all of --join is on loopback)")
	fs.StringVar(&f.gossip.Advertise, "advertise", "", "`ip:port` that others reach gossip at (default: --bind)")
	fs.StringArrayVar(&f.gossip.Join, "join", nil, "`host:port` of a load balancer or anybody else in the pool, repeatable")
	fs.StringVar(&f.gossip.KeyFile, "key-file", "", "`file` with the key of the pool, as \"jetway keygen gossip\" makes it")
	fs.BoolVar(&f.gossip.Insecure, "insecure", false, "allow gossip beyond loopback without a key")
	fs.StringVar(&f.installation, "installation", "", "only the load balancers of this installation shall see it (default: all)")
	fs.DurationVar(&f.drainWait, "drain-wait", 5*time.Second, "how long to stay after saying that it drains")
}

// config checks what the flags themselves say; discovery checks the rest.
func (f *memberFlags) config(hostname func() (string, error)) (discovery.AgentConfig, error) {
	m := balancer.Member{ID: f.id, Domain: f.domain, SubDomains: f.subDomains, Host: f.host, HTTP: f.http, HTTPS: f.https,
		Weight: f.weight, Zone: f.zone}
	cfg := discovery.AgentConfig{Gossip: f.gossip, Installation: f.installation, DrainWait: max(0, f.drainWait)}
	if f.domain == "" {
		return cfg, fmt.Errorf("--domain is missing")
	}
	for _, text := range f.maps {
		from, to, ok := strings.Cut(text, "=")
		p, err1 := strconv.ParseUint(from, 10, 16)
		q, err2 := strconv.ParseUint(to, 10, 16)
		if !ok || err1 != nil || err2 != nil || p == 0 || q == 0 {
			return cfg, fmt.Errorf("cannot use --map %q: expected public=own ports, as in 8280=9763", text)
		}
		m.Ports = append(m.Ports, balancer.PortMapping{From: uint16(p), To: uint16(q)})
	}
	var some uint16
	if len(m.Ports) > 0 {
		some = m.Ports[0].To
	}
	some = cmp.Or(m.HTTP, m.HTTPS, some)
	if some == 0 {
		return cfg, fmt.Errorf("no port is given: expected --http, --https or --map")
	}
	if f.id != "" {
		cfg.Node = f.id + "." + f.domain // unique in the pool, as the id is in its domain
	} else {
		name, err := hostname()
		if err != nil {
			return cfg, fmt.Errorf("cannot find the host name, give --id: %w", err)
		}
		cfg.Node = name + "-" + strconv.Itoa(int(some))
	}
	if cfg.Gossip.Bind == "" {
		cfg.Gossip.Bind = defaultBind(f.gossip.Join)
	}
	cfg.Member = m
	return cfg, nil
}

// defaultBind takes a free port where only this machine is meant, so that
// several members on it need no more flags.
func defaultBind(join []string) string {
	for _, j := range join {
		host, _, _ := net.SplitHostPort(j)
		if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
			return "0.0.0.0:7946"
		}
	}
	if len(join) == 0 {
		return "0.0.0.0:7946"
	}
	return "127.0.0.1:0"
}

func announce(ctx context.Context, cfg discovery.AgentConfig, log zerolog.Logger) error {
	agent, err := discovery.NewAgent(cfg, log)
	if err != nil {
		return err
	}
	ctx, stop := untilSignal(ctx, log, nil)
	defer stop()
	go func() {
		if addr, err := agent.Addr(ctx); err == nil {
			log.Info().Str("node", cfg.Node).Str("domain", cfg.Member.Domain).Stringer("gossip", addr).Msg("member announced")
		}
	}()
	if err := agent.Run(ctx); err != nil {
		return err
	}
	log.Info().Msg("left")
	return nil
}
