package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"jetway/admin"
	"jetway/standby"
)

func applyCommand() *cobra.Command {
	var dry bool
	var others []string
	c := &cobra.Command{
		Use:   "apply",
		Short: "Put a configuration in force on all load balancers, or on none",
		Long: `Checks a configuration file on every load balancer of the installation, each with
its own certificates, keys and environment, and puts it in force on all of them
if all of them take it: it replaces the file with which each was started. If one
refuses, nothing changes anywhere; if one fails later, the others go back.

The others are found through the Jetway that --admin names, which knows its
peers, or are named with --also. Where one cannot be reached nothing is changed.
What differs between load balancers, such as loadbalancer.name, comes from their
environment: name: ${JETWAY_NAME}.`,
		Example: `  jetway apply -c new.conf --admin 127.0.0.1:9280
  jetway apply -c new.conf --dry-run -o json
  jetway apply -c new.conf --admin https://lb1:9280 --also https://lb2:9280 --ca ops.pem --token-file ops.token`,
		Args: noCommand,
	}
	var output outputFormat
	cl := clientFlags(c)
	outputFlag(c, &output)
	c.Flags().BoolVar(&dry, "dry-run", false, "only check on all of them")
	c.Flags().StringSliceVar(&others, "also", nil, "`addresses` of the admin APIs of the others, instead of asking for them")
	c.RunE = func(c *cobra.Command, _ []string) error {
		text, err := os.ReadFile(cl.file)
		if err != nil {
			return fmt.Errorf("cannot read configuration %q: %w", cl.file, err)
		}
		all, err := cl.installation(c.Context(), others)
		if err != nil {
			return err
		}
		a := applying{targets: all, text: string(text)}
		ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = a.run(ctx, dry)
		return errors.Join(a.print(c.OutOrStdout(), output), err)
	}
	return c
}

// appliedView is what "apply" says of one load balancer with -o json.
type appliedView struct {
	Admin   string `json:"admin"`
	Before  string `json:"before"` // versions, empty: it did not say
	Version string `json:"version"`
	Result  string `json:"result"`
}

// print tells what became of every load balancer, also where it went wrong.
func (a *applying) print(w io.Writer, output outputFormat) error {
	if output == outputJSON {
		v := struct {
			Schema        int           `json:"schema_version"`
			LoadBalancers []appliedView `json:"load_balancers"`
		}{Schema: admin.SchemaVersion}
		for _, t := range a.targets {
			v.LoadBalancers = append(v.LoadBalancers, appliedView{t.client.base, t.Before, t.Version, t.result})
		}
		return printJSON(w, v)
	}
	table := newTable(w, "LOAD BALANCER", "BEFORE", "VERSION", "RESULT")
	for _, t := range a.targets {
		table.row(t.client.base, t.Before, t.Version, t.result)
	}
	return table.flush()
}

// installation returns clients for all load balancers, the one asked first.
func (cl *client) installation(ctx context.Context, others []string) ([]*applyTarget, error) {
	if others == nil {
		var list struct {
			Peers []standby.PeerView `json:"peers"`
		}
		if _, err := cl.ask(ctx, http.MethodGet, "/api/v1/peers", &list); err != nil {
			return nil, err
		}
		for _, p := range list.Peers {
			address, err := adminOf(&p)
			if err != nil {
				return nil, err
			}
			if base, err := cl.baseOf(address); err == nil && base == cl.base {
				return nil, fmt.Errorf("peer %q says that its admin API is at %s, which is the one that was asked; name all that there are with --also", p.Name, p.Admin)
			}
			others = append(others, address)
		}
	}
	all := []*applyTarget{{client: cl}}
	for _, address := range others {
		base, err := cl.baseOf(address)
		if err != nil {
			return nil, fmt.Errorf("cannot use admin address %q: %w", address, err)
		}
		if slices.ContainsFunc(all, func(t *applyTarget) bool { return t.client.base == base }) {
			continue
		}
		other := *cl
		other.base = base
		all = append(all, &applyTarget{client: &other})
	}
	return all, nil
}

// baseOf is baseURL for another load balancer, whose admin API is spoken to as
// the first one's.
func (cl *client) baseOf(address string) (string, error) {
	base, err := baseURL(address)
	if strings.HasPrefix(cl.base, "https://") && !strings.Contains(address, "://") {
		base = strings.Replace(base, "http://", "https://", 1)
	}
	return base, err
}

// adminOf returns where a peer's admin API is found from here.
func adminOf(p *standby.PeerView) (string, error) {
	if p.Admin == "" || !p.Connected {
		return "", fmt.Errorf("peer %q is not connected, so that its version cannot be changed with the others; wait for it, or name all that there are with --also", p.Name)
	}
	host, port, err := net.SplitHostPort(p.Admin)
	if err != nil {
		return "", fmt.Errorf("cannot use admin address %q of peer %q: %w", p.Admin, p.Name, err)
	}
	from, _, err := net.SplitHostPort(p.Address) // where it speaks to the other one
	if err != nil {
		from = ""
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && ip.IsUnspecified() && from != "":
		return net.JoinHostPort(from, port), nil
	case err == nil && ip.IsLoopback() && !admin.LoopbackAddress(net.JoinHostPort(from, "0")):
		return "", fmt.Errorf("peer %q has its admin API at %s, where only its own machine reaches it; give it an admin.address and admin.tls, or name all that there are with --also", p.Name, p.Admin)
	}
	return p.Admin, nil
}

// applyTarget is one load balancer that a file is put in force on.
type applyTarget struct {
	admin.Prepared
	client *client
	result string
}

// applying is one file on its way to all load balancers.
type applying struct {
	targets []*applyTarget
	text    string
}

// run prepares on all, then commits on all; what is done is taken back where
// one fails. The end of ctx stops it while nothing is changed: once one has
// the file the others get it too.
func (a *applying) run(ctx context.Context, dry bool) error {
	whole := context.WithoutCancel(ctx)
	for _, t := range a.targets {
		err := t.order(ctx, "prepare", admin.ConfigFile{Text: a.text})
		if ctx.Err() != nil {
			t.result = ""
			a.takeBack(whole, "not changed")
			return errors.New("interrupted, nothing was changed")
		}
		if err != nil {
			t.result = "refused"
			a.takeBack(whole, "not changed")
			return fmt.Errorf("%s does not take it, nothing was changed:\n%w", t.client.base, err)
		}
		t.result = "checked"
	}
	if dry {
		a.takeBack(whole, "good, not changed")
		return nil
	}
	epoch := uint64(max(0, time.Now().UnixMilli()))
	for _, t := range a.targets { // newer than all, whatever the clocks say
		epoch = max(epoch, t.Epoch+1)
	}
	for _, t := range a.targets {
		if err := t.order(whole, "commit", admin.ConfigOrder{ID: t.ID, Epoch: epoch}); err != nil {
			t.result = "failed"
			return errors.Join(fmt.Errorf("%s failed, the others go back:\n%w", t.client.base, err), a.takeBack(whole, "as before"))
		}
		if t.result = "applied"; !t.Changed {
			t.result = "as it was"
		}
	}
	return nil
}

// takeBack undoes what was committed and forgets what was prepared.
func (a *applying) takeBack(ctx context.Context, said string) error {
	var errs []error
	for _, t := range a.targets {
		if t.ID == "" {
			if t.result == "" {
				t.result = said
			}
			continue
		}
		var done admin.Done
		err := t.post(ctx, "/api/v1/config/rollback", admin.ConfigOrder{ID: t.ID}, &done)
		switch {
		case err != nil:
			t.result = "NOT taken back"
			errs = append(errs, fmt.Errorf("%s has another version now:\n%w", t.client.base, err))
		case t.result != "failed":
			t.result = said
		}
	}
	return errors.Join(errs...)
}

// order sends one step and keeps the answer.
func (t *applyTarget) order(ctx context.Context, step string, body any) error {
	id := t.ID
	err := t.post(ctx, "/api/v1/config/"+step, body, &t.Prepared)
	if t.ID == "" {
		t.ID = id
	}
	return err
}

func (t *applyTarget) post(ctx context.Context, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	answer, err := t.client.callWith(ctx, http.MethodPost, path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("cannot understand the answer of %s: %w", t.client.base, err)
	}
	return nil
}
