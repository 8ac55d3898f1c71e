package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"jetway/admin"
	"jetway/standby"
)

// healthWait is how long Jetway may take to say how it is.
const healthWait = time.Second

func healthCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "health",
		Short: "Tell whether a running Jetway may hold the public address",
		Long: `Asks a running Jetway whether it may hold the public address: it serves, warm or
cold. It must not while it starts, stops, hands over, has no listener or does
not answer in time.

With --require-warm it must also know what its peers know, as a planned
hand-over wants it.`,
		Example: `  jetway health && echo ready
  jetway health --require-warm -o json`,
		Args: noCommand,
	}
	var output outputFormat
	var requireWarm bool
	var wait time.Duration
	outputFlag(c, &output)
	c.Flags().BoolVar(&requireWarm, "require-warm", false, "a cold one is not fit either")
	c.Flags().DurationVar(&wait, "timeout", healthWait, "how long it may take to answer")
	cl := clientFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(c.Context(), wait)
		defer cancel()
		h, err := cl.health(ctx)
		if err != nil {
			return fmt.Errorf("not ready: %w", err)
		}
		if requireWarm && h.OK && !h.Warm {
			h.OK, h.Reason = false, "cold: "+h.Cold
		}
		if output == outputJSON {
			enc := json.NewEncoder(c.OutOrStdout())
			enc.SetIndent("", "  ")
			if err := enc.Encode(h); err != nil {
				return err
			}
		}
		if !h.OK {
			return fmt.Errorf("not ready: %s", h.Reason)
		}
		if output != outputJSON {
			fmt.Fprintln(c.OutOrStdout(), describeHealth(&h))
		}
		return nil
	}
	return c
}

func describeHealth(h *admin.Health) string {
	text := "ready"
	if !h.Standby {
		return text
	}
	if h.Warm {
		text += ", warm"
	} else {
		text += ", cold: " + h.Cold
	}
	if h.Behind != "" {
		text += ", " + printable(h.Behind)
	}
	if h.Told && h.Active {
		text += ", active"
	} else if h.Told {
		text += ", standby"
	}
	return text + fmt.Sprintf(", %d peers", h.Peers)
}

// health asks for the health, which comes with any status.
func (cl *client) health(ctx context.Context) (h admin.Health, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cl.base+"/api/v1/health", nil)
	if err != nil {
		return h, fmt.Errorf("cannot ask %s: %w", cl.base, err)
	}
	cl.sign(req)
	resp, err := cl.http.Do(req)
	if err != nil {
		return h, cl.unreachable(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerMax))
	if err != nil {
		return h, fmt.Errorf("cannot read the answer of %s: %w", cl.base, err)
	}
	if err := json.Unmarshal(body, &h); err != nil || h.State == "" {
		return h, fmt.Errorf("cannot understand the answer of %s, is it Jetway's admin API?", cl.base)
	}
	return h, nil
}

func peersCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "peers",
		Short: "Show the other load balancers of the installation",
		Long: `Shows the other load balancers of the installation: who is connected, warm,
active and acting, the version of its configuration and whether it is the same,
newer or older (by when the file was written, or "jetway apply" put it in force),
how late it learns from this one (LAG) and this one from it, and how much of what
both know differs (DIVERGENT, in shards).`,
		Example: "  jetway peers",
		Args:    noCommand,
	}
	var output outputFormat
	outputFlag(c, &output)
	cl := clientFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		var v struct {
			Peers []standby.PeerView `json:"peers"`
		}
		body, err := cl.ask(c.Context(), http.MethodGet, "/api/v1/peers", &v)
		if err != nil {
			return err
		}
		if output == outputJSON {
			_, err := c.OutOrStdout().Write(body)
			return err
		}
		t := newTable(c.OutOrStdout(), "NAME", "NODE", "ADDRESS", "CONNECTED", "ROLE", "WARM", "VERSION", "CONFIG", "LAG", "LAG FROM", "DIVERGENT")
		for i := range v.Peers {
			p := &v.Peers[i]
			t.row(printable(p.Name), printable(p.Node), printable(p.Address), p.Connected, peerRole(p), p.Warm, printable(p.Config), printable(p.ConfigState),
				seconds(p.Lag), seconds(p.LagFrom), p.Divergence)
		}
		return t.flush()
	}
	return c
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond / 10)
}

func peerRole(p *standby.PeerView) string {
	role := "standby"
	switch {
	case !p.Connected:
		return "gone"
	case p.Active:
		role = "active"
	case !p.Told:
		role = "peer"
	}
	if p.Acting {
		role += ", acting"
	}
	return role
}
