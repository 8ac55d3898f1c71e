package demo

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// worker is the sample application and its agent in one process, as the
// scaling driver "process" starts it.
type worker struct {
	app
	id, installation string
	join             []string
	boot             time.Duration
	withParent       bool
}

func workerCommand() *cobra.Command {
	var w worker
	cmd := &cobra.Command{
		Use:    "worker",
		Short:  "Run the sample application together with its agent",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE:   func(cmd *cobra.Command, _ []string) error { return w.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&w.id, "id", "worker", "id to join with")
	f.StringVar(&w.domain, "domain", "", "domain to join")
	f.StringVar(&w.subDomain, "sub-domain", "worker", "sub-domain to join")
	f.StringVar(&w.installation, "installation", "", "installation to join")
	f.StringArrayVar(&w.join, "join", nil, "`host:port` of a load balancer's gossip, repeatable")
	f.IntSliceVar(&w.ports, "port", []int{0}, "`port` of 127.0.0.1 to listen on, 0: any")
	f.DurationVar(&w.boot, "boot", 0, "how long to take before it joins")
	f.BoolVar(&w.withParent, "with-parent", false, "end when the process that started it ends")
	return cmd
}

// run serves before it announces itself, and until the agent has drained and
// left.
func (w *worker) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if w.withParent {
		go endWithParent()
	}
	w.name = w.id
	listeners, err := w.listen()
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- w.serve(ctx, listeners) }()
	time.Sleep(w.boot)
	port := listeners[0].Addr().(*net.TCPAddr).Port
	args := []string{"member", "--id", w.id, "--domain", w.domain, "--sub-domain", w.subDomain, "--http", strconv.Itoa(port),
		"--drain-wait", "500ms"}
	if w.installation != "" {
		args = append(args, "--installation", w.installation)
	}
	for _, j := range w.join {
		args = append(args, "--join", j)
	}
	root := cmd.Root()
	root.SetArgs(args)
	err = root.ExecuteContext(ctx)
	stop()
	return errors.Join(err, <-served)
}

// endWithParent ends this process when the one that started it is gone.
func endWithParent() {
	parent := os.Getppid()
	for range time.Tick(200 * time.Millisecond) {
		if os.Getppid() != parent {
			os.Exit(1)
		}
	}
}
