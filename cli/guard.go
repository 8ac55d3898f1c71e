package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"jetway/config"
)

const (
	guardEvery = 100 * time.Millisecond
	guardWait  = 200 * time.Millisecond // for an answer
	guardFall  = 2                      // bad answers in a row: one may be a stall of the host
	guardRise  = 3                      // good ones
)

func guardCommand() *cobra.Command {
	var file string
	var logs logFlags
	c := &cobra.Command{
		Use:   "guard [flags] [-- FLAGS OF RUN]",
		Short: "Run the load balancer under a parent that tells keepalived how it is",
		Long: `Starts "jetway run" with the same configuration and waits on it. Every 100 ms it
asks whether Jetway may hold the public address, as "jetway health" does, and
writes the answer into the file that keepalived tracks (standby.track_file): 0
fit, 1 not. It writes 1 at once when Jetway ends, after two answers that are
missing or bad, and from the start until three were good. Beside it, in
TRACK_FILE.cold, stands by how much the priority is lower while Jetway is cold or
a peer has a newer configuration.

Signals are passed on. It ends when Jetway does, with the same exit code; the
service manager starts it again. Run it where you would run "jetway run".`,
		Example: `  jetway guard -c /etc/jetway/loadbalancer.conf
  jetway guard -c /etc/jetway/loadbalancer.conf -- --log-format json`,
	}
	configFlag(c, &file)
	logs.add(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		log, err := logs.logger(c, c.ErrOrStderr())
		if err != nil {
			return err
		}
		cfg, err := config.Load(file)
		if err != nil {
			return err
		}
		if cfg.Standby == nil {
			return fmt.Errorf("%s has no standby section: there is nothing to guard, use \"jetway run\"", file)
		}
		cl := client{file: file, explicit: true}
		if err := cl.locate(c.ErrOrStderr()); err != nil {
			return err
		}
		g := &guard{track: trackFile(cfg), base: cl.base, log: log, http: http.Client{Timeout: guardWait, Transport: cl.http.Transport}}
		return g.run(append([]string{"run", "-c", file}, args...))
	}
	return c
}

// guard is the parent of a load balancer.
type guard struct {
	track string
	base  string // of the admin API
	http  http.Client
	log   zerolog.Logger

	fit, known bool // what stands in the track file
	bad, good  int  // answers in a row
	cold       string
}

// run starts Jetway and returns when it has ended.
func (g *guard) run(args []string) error {
	g.write(false)
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find my own binary: %w", err)
	}
	c := exec.Command(exe, args...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		return fmt.Errorf("cannot start Jetway: %w", err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	ended := make(chan error, 1)
	go func() {
		err := c.Wait()
		g.out() // before anything else: each millisecond counts
		ended <- err
	}()
	ctx, cancel := context.WithCancel(context.Background())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		g.watch(ctx)
	}()
	for {
		select {
		case s := <-signals:
			c.Process.Signal(s) // an error means that it has just ended
		case err := <-ended:
			cancel()
			<-watched
			g.out()
			return g.verdict(err)
		}
	}
}

// verdict turns the end of Jetway into ours.
func (g *guard) verdict(err error) error {
	var exit *exec.ExitError
	if err == nil {
		return nil
	}
	g.log.Error().Err(err).Msg("jetway ended")
	if errors.As(err, &exit) && exit.ExitCode() == exitUsage {
		return &usageError{err: errSaid, command: "jetway run"}
	}
	return errSaid
}

// out writes that Jetway must not hold the address, whatever stood there.
func (g *guard) out() {
	if err := writeTrack(g.track, trackOut); err != nil {
		g.log.Error().Err(err).Msg("keepalived cannot be told")
	}
}

// watch asks again and again how Jetway is.
func (g *guard) watch(ctx context.Context) {
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			g.look(ctx)
		}
	}
}

// look asks once. A clear no counts at once, silence after a while.
func (g *guard) look(ctx context.Context) {
	cl := client{base: g.base, http: g.http}
	h, err := cl.health(ctx)
	switch {
	case ctx.Err() != nil:
		return
	case err == nil && h.OK:
		g.bad = 0
		g.good++
	case err == nil:
		g.bad, g.good = guardFall, 0
	default:
		g.bad++
		g.good = 0
	}
	if err == nil {
		g.writeCold(h.Warm, h.Behind != "")
	}
	reason := ""
	if err != nil {
		reason = err.Error()
	} else {
		reason = h.Reason
	}
	switch {
	case g.bad >= guardFall && (g.fit || !g.known):
		g.write(false)
		g.log.Warn().Str("reason", firstLine(errors.New(reason))).Msg("not fit for the address")
	case g.good >= guardRise && !g.fit:
		g.write(true)
		g.log.Info().Msg("fit for the address")
	}
}

func (g *guard) write(fit bool) {
	text := trackOut
	if fit {
		text = trackFit
	}
	if err := writeTrack(g.track, text); err != nil {
		g.log.Error().Err(err).Msg("keepalived cannot be told")
		return
	}
	g.fit, g.known = fit, true
}

// writeCold keeps the second file, which lowers the priority of a cold Jetway,
// and of one whose configuration is older than a peer's.
func (g *guard) writeCold(warm, behind bool) {
	loss := 0
	if !warm {
		loss += coldLoss
	}
	if behind {
		loss += behindLoss
	}
	text := fmt.Sprintf("%d\n", loss)
	if text == g.cold {
		return
	}
	if err := writeTrack(coldFile(g.track), text); err != nil {
		g.log.Error().Err(err).Msg("keepalived cannot be told")
		return
	}
	g.cold = text
}
