package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"jetway/admin"
)

func handoverCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "handover",
		Short: "Give the public address and the clients to a warm peer",
		Long: `Gives the public address to a peer without a failed request: clients are told to
close their connections for a while (standby.handover_drain); then new ones
are kept waiting for less than a second, by dropping their first packet, which
clients repeat after one; once nobody is left the address moves, and the peer serves them.

It refuses where no peer is warm or none has the same configuration, and where
requests do not end within timeouts.drain; --force cuts those off. nftables drop
those packets; without the right to change them (CAP_NET_ADMIN) the queues of
the listening sockets are filled instead, which has nearly the same effect.

Run it before maintenance of the active load balancer. This one is fit for the
address again three seconds later, and takes it back only if it has to.`,
		Example: `  jetway handover
  jetway handover --drain 30s`,
		Args: noCommand,
	}
	var o admin.HandoverOrder
	var drain, wait time.Duration
	var output outputFormat
	c.Flags().BoolVar(&o.Force, "force", false, "cut off what is still in flight in the end")
	c.Flags().DurationVar(&drain, "drain", 0, "how long clients are told to close (default: standby.handover_drain)")
	c.Flags().DurationVar(&wait, "wait", 0, "how long requests in flight may take then (default: timeouts.drain)")
	cl := clientFlags(c)
	outputFlag(c, &output)
	c.RunE = func(c *cobra.Command, _ []string) error {
		o.Drain, o.Wait = drain.Seconds(), wait.Seconds()
		cl.http.Timeout = 0 // it takes as long as clients do
		var r admin.HandoverResult
		if err := cl.send(c, "/api/v1/standby/handover", o, &r); err != nil {
			return fmt.Errorf("not handed over: %w", err)
		}
		if output == outputJSON {
			return printJSON(c.OutOrStdout(), r)
		}
		to := r.Peer
		if to == "" {
			to = "a peer that has not said so yet"
		}
		fmt.Fprintf(c.OutOrStdout(), "handed over to %s in %.1f s, new connections waited %.2f s, %d cut off\n", printable(to), r.Took, r.Pause, r.Cut)
		for _, remark := range r.Remarks {
			fmt.Fprintln(c.OutOrStdout(), printable(remark))
		}
		return nil
	}
	return c
}

// send posts a JSON body and decodes the answer.
func (cl *client) send(c *cobra.Command, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	status, answer, err := cl.request(c.Context(), http.MethodPost, path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	var said admin.Failure
	if json.Unmarshal(answer, &said) == nil && said.Error != "" {
		return refusal(status, answer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("cannot understand the answer of %s, is it Jetway's admin API? (status %d)", cl.base, status)
	}
	return nil
}

func notifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "notify TYPE NAME STATE [PRIORITY]",
		Short: "Tell a running Jetway what keepalived says of the address",
		Long: `Tells a running Jetway whether it has the public address, as keepalived calls it
("notify" in the configuration that "jetway keepalived" prints). Where Jetway
does not run there is nobody to tell, and that is no error: it looks for the
address itself when it starts.`,
		Example: "  jetway notify INSTANCE jetway MASTER 100",
		Args:    cobra.RangeArgs(3, 4),
	}
	cl := clientFlags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		cl.http.Timeout = 2 * time.Second // keepalived must not pile these up
		var h admin.Health
		err := cl.send(c, "/api/v1/standby/notify", map[string]string{"state": args[2]}, &h)
		if err != nil {
			fmt.Fprintf(c.ErrOrStderr(), "jetway: cannot tell: %v\n", err)
		}
		return nil
	}
	return c
}
