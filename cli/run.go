package cli

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"jetway/admin"
	"jetway/autoscale"
	"jetway/balancer"
	"jetway/config"
	"jetway/discovery"
	"jetway/discovery/probe"
	"jetway/proxy"
)

// runCommand returns "run", which the root command does as well.
func runCommand(use string) *cobra.Command {
	var file string
	var logs logFlags
	c := &cobra.Command{
		Use:   use,
		Short: "Run the load balancer",
		Long: `Runs the load balancer in the foreground and logs to stderr.

Signals: SIGHUP loads the configuration again, as a change of the file does;
SIGUSR1 opens log files again, after a rotation;
SIGTERM and SIGINT stop: nothing new is accepted, and requests in flight get
timeouts.drain to finish; a second one ends the process at once.

Exit codes: 0 after a clean stop, 1 it could not start or requests were cut off
when stopping, 2 the command line is wrong or a second signal came.`,
		Example: `  jetway run
  jetway run -c /etc/jetway/loadbalancer.conf --log-format json`,
		Args: noCommand,
		RunE: func(c *cobra.Command, _ []string) error {
			logging, err := logs.logging(c, c.ErrOrStderr())
			if err != nil {
				return err
			}
			return run(c.Context(), file, logging)
		},
	}
	configFlag(c, &file)
	logs.add(c)
	return c
}

func run(ctx context.Context, file string, logging *logging) error {
	log := logging.logger()
	files := newWatcher(statFile)
	files.loading([]string{file})
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	logWarnings(cfg, log)
	node, err := nodeName(cfg.Name, cfg.StateDir)
	if err != nil {
		return err
	}
	lb, err := newBalancer(cfg, node, files, log, logging)
	if err != nil {
		return err
	}
	ctx, stop := untilSignal(ctx, log, lb.reloader.hangup)
	defer stop()
	if err := lb.run(ctx); err != nil {
		log.Error().Err(err).Msg("stopped with an error") // where everything else was said, too
		return errSaid
	}
	log.Info().Msg("stopped")
	return nil
}

// loadBalancer is one load balancer with all its parts.
type loadBalancer struct {
	log      zerolog.Logger
	logging  *logging
	started  time.Time
	node     string
	router   *balancer.Router
	server   *proxy.Server
	members  *discovery.Set
	names    *discovery.Names
	execs    *discovery.Execs
	gossip   *discovery.Gossip // nil: not configured
	admin    *admin.Server
	prober   *probe.Prober
	reloader *reloader
	tenants  *tenants
	peers    *peers // nil: there is no standby section
	sessions *sessions
	scaler   *autoscale.Scaler
	panics   *prometheus.CounterVec

	gossiped atomic.Int64 // unix nanoseconds of the newest list by gossip, 0: none yet
	ready    atomic.Bool
	draining atomic.Bool
}

// newBalancer builds all parts and joins them. Nothing is started, bound or
// written.
func newBalancer(cfg *config.Config, node string, files *watcher, log zerolog.Logger, logging *logging) (*loadBalancer, error) {
	lb := &loadBalancer{log: log, logging: logging, started: time.Now(), node: node, reloader: newReloader(cfg, files, log),
		panics: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "jetway_part_panics_total",
			Help: "Parts of the program that ended in a panic."}, []string{"part"})}
	lb.tenants = newTenants(log)
	book, err := lb.tenants.prepare(cfg)
	if err != nil {
		return nil, err
	}
	routing, err := lb.tenants.routing(cfg, book)
	if err != nil {
		return nil, err
	}
	if lb.sessions, err = newSessions(cfg, node, log); err != nil {
		return nil, err
	}
	if err := lb.sessions.seal(cfg, &routing); err != nil {
		return nil, err
	}
	if lb.router, err = balancer.NewRouter(routing, balancer.Options{Transport: proxy.NewPools().Open, Tell: logVerdicts(log), Changed: lb.checksChanged, Sessions: lb.sessions.store}); err != nil {
		return nil, err
	}
	lb.prober = probe.New(probe.Options{Checks: func() []*balancer.Check { return lb.router.Table().Checks() }, TLS: proxy.MemberTLS}, log)
	lb.tenants.admission = lb.router.Admission()
	lb.tenants.commit(book)
	if lb.server, err = proxy.New(cfg.Proxy, lb.router, log); err != nil {
		return nil, err
	}
	if err := lb.newMembership(cfg); err != nil {
		return nil, err
	}
	if cfg.Standby != nil {
		if lb.peers, err = newPeers(cfg, lb, log); err != nil {
			return nil, err
		}
	}
	if err := lb.newScaler(cfg); err != nil {
		return nil, err
	}
	if lb.admin, err = admin.New(cfg.Admin.Listener(), lb.sources(cfg), log); err != nil {
		return nil, err
	}
	lb.reloader.admin, lb.reloader.audit = lb.admin, logging.audit
	return lb, nil
}

// run starts all parts and stops them in order once ctx ends.
func (lb *loadBalancer) run(ctx context.Context) error {
	cfg := lb.reloader.current.Load()
	lb.reloader.static(cfg.Static)
	lb.execs.Configure(cfg.Exec)
	lb.sessions.restore()
	useAudit, _, err := lb.logging.audit.Prepare(cfg.Admin.AuditLog)
	if err != nil {
		return err
	}
	useAudit()
	if err := lb.server.Listen(); err != nil {
		return err
	}
	if err := lb.admin.Listen(); err != nil {
		return err
	}
	if lb.peers != nil {
		if err := lb.peers.mesh.Listen(); err != nil {
			return err
		}
	}
	lb.logStart(cfg)
	parts := []part{
		{"audit log", stageLogs, lb.logging.Run},
		{"admin", stageAdmin, lb.admin.Run},
		{"listeners", stageTraffic, lb.server.Run},
		{"readiness", stageWork, lb.settle},
		{"tenants", stageWork, lb.tenants.Run},
		{"sessions", stageWork, lb.sessions.Run},
		{"checks", stageWork, lb.prober.Run},
		{"reload", stageWork, lb.reloader.Run},
		{"names", stageWork, lb.names.Run},
		{"exec", stageWork, lb.execs.Run},
		{"scaling", stageWork, lb.scaler.Run},
		{"logs", stageWork, lb.reopen},
	}
	if lb.gossip != nil {
		parts = append(parts, part{"gossip", stageGossip, lb.gossip.Run})
	}
	if lb.peers != nil {
		parts = append(parts, part{"peers", stageWork, lb.peers.run}, part{"ready connections", stageWork, lb.server.KeepReady})
	}
	stopping := func() {
		lb.draining.Store(true)
		if lb.peers != nil {
			lb.peers.resign()
		}
	}
	return runParts(ctx, parts, stopping, func(part string) { lb.panics.WithLabelValues(part).Inc() }, lb.log)
}

const (
	settleMost  = 3 * time.Second        // a pool that cannot be joined keeps nobody waiting longer
	settleQuiet = 200 * time.Millisecond // no new list for so long after joining
	settleStep  = 20 * time.Millisecond
)

// settle waits until it is known who the members are, and says so.
func (lb *loadBalancer) settle(ctx context.Context) error {
	deadline := time.NewTimer(settleMost)
	defer deadline.Stop()
	step := time.NewTicker(settleStep)
	defer step.Stop()
	var joined time.Time
	for waiting := lb.gossip != nil || !lb.execs.Settled() || !lb.checked(); waiting; {
		select {
		case <-ctx.Done():
			return nil
		case <-deadline.C:
			waiting = false
		case now := <-step.C:
			if joined.IsZero() && (lb.gossip == nil || lb.joined()) {
				joined = now
			}
			last := time.Unix(0, lb.gossiped.Load())
			quiet := lb.gossip == nil || now.Sub(joined) >= settleQuiet && now.Sub(last) >= settleQuiet
			waiting = joined.IsZero() || !quiet || !lb.execs.Settled() || !lb.checked()
		}
	}
	t := lb.router.Table()
	lb.ready.Store(true)
	lb.log.Info().Int("members", len(t.Upstreams())).Int("unused_members", len(t.Orphans())).Msg("ready")
	<-ctx.Done()
	return nil
}

// joined reports whether gossip has told whom it knows, and whether it knows
// somebody where it was told of others.
func (lb *loadBalancer) joined() bool {
	alone := len(lb.reloader.current.Load().Gossip.Join) == 0
	return lb.gossiped.Load() != 0 && (alone || lb.gossip.Status().Joined)
}

func (lb *loadBalancer) state() (admin.State, string) {
	switch {
	case lb.draining.Load():
		return admin.Draining, "draining: this Jetway is stopping"
	case !lb.ready.Load():
		return admin.Starting, "waiting for the first list of members"
	}
	return admin.Ready, ""
}

// reserved reports whether an address is one that Jetway itself listens on: a
// member there would be Jetway forwarding to itself.
func (lb *loadBalancer) reserved(host string, port uint16) bool {
	addrs := lb.server.Addresses()
	if a := lb.admin.Address(); a != nil {
		addrs = append(slices.Clone(addrs), a)
	}
	for _, a := range addrs {
		ap, err := netip.ParseAddrPort(a.String())
		if err == nil && ap.Port() == port && (ap.Addr().Unmap().String() == host || ap.Addr().IsUnspecified() && isOwn(host)) {
			return true
		}
	}
	return false
}

func isOwn(host string) bool {
	ip := net.ParseIP(host)
	addrs, err := net.InterfaceAddrs()
	if ip == nil || err != nil {
		return false
	}
	return ip.IsLoopback() || slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}

func (lb *loadBalancer) logStart(cfg *config.Config) {
	listeners := lb.server.Addresses()
	texts := make([]string, len(listeners))
	for i, a := range listeners {
		texts[i] = a.String()
	}
	e := lb.log.Info().Str("version", thisBuild().Version).Str("file", cfg.File).Str("name", cfg.Name).
		Int("pid", os.Getpid()).Strs("listeners", texts).Int("clusters", len(cfg.Clusters))
	if a := lb.admin.Address(); a != nil {
		e = e.Stringer("admin", a)
	}
	if cfg.Gossip != nil {
		e = e.Str("gossip", cfg.Gossip.Bind).Str("node", lb.node)
	}
	e.Msg("jetway started")
}
