// Package demo is `jetway demo`: a whole installation on loopback, for a first
// look and as a check that the built program does its job.
//
// It starts its own binary again as separate processes: two load balancers
// (`jetway run`) and, for each member, a sample application (`jetway demo app`)
// with the agent beside it (`jetway member`), so that members really gossip
// and can really be killed. Each child watches a pipe from the demo and ends
// with it; on Linux the kernel ends it too, should the demo be killed.
//
// The package owns the processes and the temporary directory with their
// configuration and logs. It speaks to the load balancers only as anybody
// could: by HTTP on their listeners and on their admin address.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// readyWithin bounds how long all processes may take until every load
// balancer knows every member.
const readyWithin = 20 * time.Second

type options struct {
	check bool
	sabot string // what --break names
}

// Command returns `jetway demo`.
func Command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show two load balancers with gossiping members on this machine",
		Long: `Start two load balancers and four sample members on loopback, show what is
there and how it changes, until Ctrl-C. Nothing else needs to be installed. One
more domain has no member: on Linux the load balancers start and stop its
members themselves, by the requests that there are.

With --check, drive requests through it instead, kill, add and drain members,
have some started and stopped by load, print what was expected and what was
seen, and exit 0 if all was as expected. With --break, what scales is left out.`,
		Example: "  jetway demo\n  jetway demo --check",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&o.check, "check", false, "drive requests through the demo and exit 0 or 1")
	cmd.Flags().StringVar(&o.sabot, "break", "", "with --check: break something, to see the check fail (routing)")
	cmd.AddCommand(appCommand(), childCommand(), workerCommand())
	return cmd
}

func (o options) validate() error {
	if o.sabot == "" {
		return nil
	}
	if !o.check {
		return errors.New("--break is only for --check")
	}
	if o.sabot != "routing" {
		return fmt.Errorf("cannot break %q: expected routing", o.sabot)
	}
	return nil
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	if err := o.validate(); err != nil {
		return err
	}
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := endWithGoRun(ctx)
	defer cancel()

	started := time.Now()
	dir, err := os.MkdirTemp("", "jetway-demo-")
	if err != nil {
		return fmt.Errorf("cannot make a directory for the demo: %w", err)
	}
	defer os.RemoveAll(dir)
	t, err := newTopology(dir, o.sabot == "routing")
	if err != nil {
		return err
	}
	defer t.ports.releaseAll()
	ps, err := newProcesses(dir)
	if err != nil {
		return err
	}
	defer ps.stopAll()

	c := newClient()
	if err := startAll(ctx, t, ps, c); err != nil {
		return errors.Join(err, ps.logTails())
	}
	if o.check {
		t.print(out, ps)
		return runChecks(ctx, &checks{t: t, ps: ps, c: c, out: out, started: started, whole: o.sabot == ""})
	}
	t.print(out, ps)
	t.printCurl(out)
	watch(ctx, t, ps, c, out)
	fmt.Fprintln(out, "\nstopping")
	return nil
}

// startAll starts the load balancers and the first members and waits until
// both load balancers know all of them.
func startAll(ctx context.Context, t *topology, ps *processes, c *client) error {
	for i := range t.balancers {
		if err := t.startBalancer(ps, &t.balancers[i]); err != nil {
			return err
		}
	}
	for i := range t.members {
		if err := t.startMember(ps, &t.members[i]); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for i := range t.balancers {
		b := &t.balancers[i]
		if err := until(ctx, func() error {
			if err := ps.failed(); err != nil {
				return stopWaiting{err}
			}
			return c.knows(b, t.memberNames())
		}); err != nil {
			return fmt.Errorf("%s did not get to know all members: %w", b.Name, err)
		}
	}
	return nil
}

// stopWaiting ends until early: it cannot come right any more.
type stopWaiting struct{ error }

// until calls f again and again until it returns nil, or ctx ends.
func until(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		var final stopWaiting
		if errors.As(err, &final) {
			return final.error
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// endWithGoRun ends the demo when it was started by `go run` and that was
// killed: nothing else would tell us, and nobody would find the process.
func endWithGoRun(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	exe, err := os.Executable()
	if err != nil || !strings.Contains(filepath.ToSlash(exe), "/go-build") {
		return ctx, cancel
	}
	parent := os.Getppid()
	go func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if os.Getppid() != parent {
					cancel()
					return
				}
			}
		}
	}()
	return ctx, cancel
}
