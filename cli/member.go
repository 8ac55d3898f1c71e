package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"jetway/config"
	"jetway/discovery"
)

// agentFlags are what "jetway member" is told beside the member itself.
type agentFlags struct {
	memberFlags
	sign         signFlags
	gossip       discovery.GossipConfig
	check        string
	installation string
	drainWait    time.Duration
}

func memberCommand() *cobra.Command {
	var f agentFlags
	var logs logFlags
	c := &cobra.Command{
		Use:   "member",
		Short: "Announce an application to the load balancers, from beside it",
		Long: `Joins the gossip pool and announces the application that runs beside it, until
SIGTERM or SIGINT: then it says that the member drains, waits until requests in
flight are done (--drain-wait), and leaves. A second signal ends it at once.

With --check the member is announced only once the application works, and says
that it drains while it does not. SIGUSR1 lets it say that it drains, SIGUSR2
that it takes requests again.

A file (--file) can say all that flags say. It is read again when it changes and
on SIGHUP: weight, state, ports and all else that is announced changes without a
restart; what concerns gossip itself does not.

Where the load balancers require signatures, give the key of the domain
(--sign-key-file), and signatures are made and renewed; or a signature that
"jetway sign" made where the key is kept.

Exit codes: 0 after leaving, 1 it could not start, 2 the command line is wrong or
a second signal came.`,
		Example: `  jetway member --domain as.shared.domain --http 9763 --join 127.0.0.1:7946
  jetway member --domain as.shared.domain --sub-domain mgt,worker --https 9443 --map 8243=9444 \
      --check http:///health --sign-key-file domain.key \
      --bind 10.0.0.21:7946 --join 10.0.0.4:7946 --join 10.0.0.5:7946 --key-file gossip.key
  jetway member --file member.yaml`,
		Args: noCommand,
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		files := newWatcher(statFile)
		files.loading([]string{f.file})
		cfg, err := f.config(c, os.Hostname)
		if err != nil {
			return err
		}
		files.found(cfg.Files)
		log, err := logs.logger(c, c.ErrOrStderr())
		if err != nil {
			return err
		}
		r := memberRun{cfg: cfg, files: files, log: log, load: func() (*config.Member, error) { return f.config(c, os.Hostname) }}
		return r.run(c.Context())
	}
	f.add(c)
	logs.add(c)
	return c
}

func (f *agentFlags) add(c *cobra.Command) {
	f.memberFlags.add(c)
	fs := c.Flags()
	fs.StringVar(&f.check, "check", "", "check the application at a `URL` without host, tcp: or http:///path; a port may stand in it, as in http://:8080/health")
	fs.StringVar(&f.sign.KeyFile, "sign-key-file", "", "`file` with the private key of the domain, as \"jetway keygen domain\" makes it")
	fs.DurationVar(&f.sign.Valid, "sign-valid", 24*time.Hour, "how long each signature is good; it is renewed after two thirds")
	fs.StringVar(&f.sign.Signature, "signature", "", "what \"jetway sign\" printed")
	fs.StringVar(&f.sign.SignatureFile, "signature-file", "", "`file` that holds it")
	fs.StringVar(&f.gossip.Bind, "bind", "", "`ip:port` for gossip (default 0.0.0.0:7946, or 127.0.0.1 and any port if all of --join is on loopback)")
	fs.StringVar(&f.gossip.Advertise, "advertise", "", "`ip:port` that others reach gossip at (default: --bind)")
	fs.StringArrayVar(&f.gossip.Join, "join", nil, "`host:port` of a load balancer or anybody else in the pool, repeatable")
	fs.StringVar(&f.gossip.KeyFile, "key-file", "", "`file` with the key of the pool, as \"jetway keygen gossip\" makes it")
	fs.BoolVar(&f.gossip.Insecure, "insecure", false, "allow gossip beyond loopback without a key")
	fs.StringVar(&f.gossip.StateDir, "state-dir", "", "`directory` for what is kept over restarts: addresses of the pool, rotated keys")
	fs.StringVar(&f.installation, "installation", "", "only the load balancers of this installation shall see it (default: all)")
	fs.DurationVar(&f.drainWait, "drain-wait", 5*time.Second, "how long to stay after saying that it drains")
}

// config reads the file and the flags; discovery checks what remains.
func (f *agentFlags) config(c *cobra.Command, hostname func() (string, error)) (*config.Member, error) {
	cfg, err := f.memberFlags.load(c, hostname)
	if err != nil {
		return nil, err
	}
	given := func(name string, set func()) {
		if c.Flags().Changed(name) || f.file == "" {
			set()
		}
	}
	g := &cfg.Gossip
	given("bind", func() { g.Bind = f.gossip.Bind })
	given("advertise", func() { g.Advertise = f.gossip.Advertise })
	given("join", func() { g.Join = f.gossip.Join })
	given("key-file", func() { g.KeyFile = f.gossip.KeyFile })
	given("insecure", func() { g.Insecure = f.gossip.Insecure })
	given("state-dir", func() { g.StateDir = f.gossip.StateDir })
	given("installation", func() { cfg.Installation = f.installation })
	given("drain-wait", func() { cfg.DrainWait = max(0, f.drainWait) })
	if err = f.sign.overlay(c, &cfg.Announcement.Signing); err == nil && f.check != "" {
		cfg.Announcement.Check, err = parseCheck(f.check, cfg.Announcement.Check)
	}
	if err != nil {
		return nil, &usageError{err, c.CommandPath()}
	}
	if g.Bind == "" {
		g.Bind = defaultBind(g.Join)
	}
	return cfg, nil
}

// parseCheck takes tcp:, tcp://:9763, http:///health and http://:9763/health.
func parseCheck(text string, c discovery.LocalCheck) (discovery.LocalCheck, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "tcp" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" && u.Scheme == "tcp" || u.Opaque != "" {
		return c, fmt.Errorf("cannot use --check %q: expected tcp:, tcp://:9763, http:///path or http://:9763/path", text)
	}
	c.Type, c.Path = u.Scheme, u.RequestURI()
	if c.Type == "tcp" {
		c.Path = ""
	}
	if h := u.Hostname(); h != "" {
		c.Host = h
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return c, fmt.Errorf("cannot use --check %q: expected a port from 1 to 65535", text)
		}
		c.Port = uint16(n)
	}
	return c, nil
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

// memberRun is one run of "jetway member".
type memberRun struct {
	cfg   *config.Member
	files *watcher
	log   zerolog.Logger
	load  func() (*config.Member, error)
}

func (m *memberRun) run(ctx context.Context) error {
	m.warn(m.cfg)
	agent, err := discovery.NewAgent(m.cfg.AgentConfig, m.log)
	if err != nil {
		return err
	}
	hangup := make(chan struct{}, 1)
	ctx, stop := untilSignal(ctx, m.log, hangup)
	defer stop()
	told := make(chan os.Signal, 4)
	signal.Notify(told, drainSignals()...)
	defer signal.Stop(told)
	go m.attend(ctx, agent, hangup, told)
	go func() {
		if addr, err := agent.Addr(ctx); err == nil {
			m.log.Info().Str("node", m.cfg.Node).Str("domain", m.cfg.Announcement.Member.Domain).Stringer("gossip", addr).Msg("gossip is up")
		}
	}()
	if err := agent.Run(ctx); err != nil {
		return err
	}
	m.log.Info().Msg("left")
	return nil
}

// attend changes what is announced by signals and by the file, until ctx ends.
func (m *memberRun) attend(ctx context.Context, agent *discovery.Agent, hangup <-chan struct{}, told <-chan os.Signal) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-told:
			drain := s == drainSignals()[0]
			m.log.Info().Stringer("signal", s).Bool("drain", drain).Msg("told by signal")
			agent.Drain(drain)
		case <-hangup:
			m.reload(agent, "SIGHUP")
		case <-tick.C:
			if len(m.cfg.Files) > 0 && m.files.poll(m.cfg.Files) {
				m.reload(agent, "file changed")
			}
		}
	}
}

// reload reads the file again. On an error everything stays as it was.
func (m *memberRun) reload(agent *discovery.Agent, cause string) {
	m.files.loading(m.cfg.Files)
	next, err := m.load()
	if err == nil {
		m.files.found(next.Files)
		if next.Node != m.cfg.Node || next.Installation != m.cfg.Installation || fmt.Sprint(next.Gossip) != fmt.Sprint(m.cfg.Gossip) {
			err = errors.New("node, installation, state_dir and gossip cannot change while it runs; restart it, or take the change back")
		} else {
			err = agent.Announce(next.Announcement)
		}
	}
	if err != nil {
		m.log.Error().Str("cause", cause).Err(err).Msg("member file not taken, what was announced stays")
		return
	}
	m.cfg = next
	m.warn(next)
	m.log.Info().Str("cause", cause).Msg("member file read again")
}

func (m *memberRun) warn(cfg *config.Member) {
	for _, w := range cfg.Warnings {
		m.log.Warn().Str("warning", w.String()).Msg("member file")
	}
}
