package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"jetway/admin"
	"jetway/discovery"
)

func gossipCommand() *cobra.Command {
	keys := group("keys", "Show and rotate the keys of the gossip pool",
		keysListCommand(), keysChangeCommand("install"), keysChangeCommand("use"), keysChangeCommand("remove"))
	keys.Long = `Shows and rotates the keys of the whole gossip pool while it runs: every Jetway,
"jetway member" and stock agent in it. A rotation has three steps, each of which
proves by asking every node that it is done:

  jetway keygen gossip --out new.key
  jetway gossip keys install new.key   # everybody understands it
  jetway gossip keys use new.key       # everybody encrypts with it
  jetway gossip keys remove old.key    # nobody understands the old one any more

Then put the new key into the key files, which are read at a start: Jetway and
"jetway member" with a state_dir remember it, stock agents only with -keyring-file.
Leave a day between use and remove if nodes are down: they need the old key, or
the new one in their files.`
	keys.Example = "  jetway gossip keys list"
	c := group("gossip", "Look after the gossip pool", keys)
	c.Example = "  jetway gossip keys list"
	return c
}

func keysListCommand() *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use: "list", Short: "Show which node has which key",
		Long: `Asks every node of the pool for its keys and shows them by fingerprint, the first
16 hex digits of the SHA-256 of a key.`,
		Example: "  jetway gossip keys list",
		Args:    noCommand,
	}
	outputFlag(c, &output)
	cl := clientFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		var v admin.GossipKeys
		body, err := cl.ask(c.Context(), http.MethodGet, "/api/v1/gossip/keys", &v)
		if err != nil {
			return err
		}
		if output == outputJSON {
			_, err := c.OutOrStdout().Write(body)
			return err
		}
		return printKeys(c.OutOrStdout(), v)
	}
	return c
}

func keysChangeCommand(verb string) *cobra.Command {
	about := map[string][2]string{
		"install": {"Let every node understand a further key", "Gives the key in FILE to every node and proves that all have it. Nobody encrypts\nwith it yet. It travels encrypted with the key in use."},
		"use":     {"Let every node encrypt with a key", "Lets every node encrypt with a key that was installed. Refused where a node does\nnot have it or does not answer, unless --force is given."},
		"remove":  {"Take a key away from every node", "Takes a key away from every node, and proves that nobody has it any more. Refused\nwhile a node encrypts with it."},
	}[verb]
	what := "FILE|FINGERPRINT"
	if verb == "install" {
		what = "FILE"
	}
	var force bool
	c := &cobra.Command{Use: verb + " " + what, Short: about[0], Long: about[1], Example: "  jetway gossip keys " + verb + " gossip.key"}
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("which key? expected one %s", what)
		}
		return nil
	}
	if verb != "install" {
		c.Flags().BoolVar(&force, "force", false, "although not every node confirmed what is needed")
	}
	var output outputFormat
	cl := clientFlags(c)
	outputFlag(c, &output)
	c.RunE = func(c *cobra.Command, args []string) error {
		order, err := keyOrder(verb, args[0])
		if err != nil {
			return err
		}
		order.Force = force
		var v admin.GossipKeys
		if err := cl.send(c, "/api/v1/gossip/keys/"+verb, order, &v); err != nil {
			return err
		}
		if output == outputJSON {
			return printJSON(c.OutOrStdout(), v)
		}
		return printKeys(c.OutOrStdout(), v)
	}
	return c
}

// keyOrder takes the first key of a file, or a fingerprint.
func keyOrder(verb, which string) (admin.KeyOrder, error) {
	text, err := os.ReadFile(which)
	if errors.Is(err, os.ErrNotExist) && verb != "install" && strings.Trim(which, "0123456789abcdef") == "" {
		return admin.KeyOrder{Fingerprint: which}, nil
	}
	if err != nil {
		return admin.KeyOrder{}, fmt.Errorf("cannot read gossip key: %w", err)
	}
	keys, err := discovery.ParseKeys(text)
	if err != nil {
		return admin.KeyOrder{}, fmt.Errorf("cannot use gossip key %q: it %w", which, err)
	}
	if verb == "install" {
		return admin.KeyOrder{Key: discovery.EncodeKey(keys[0])}, nil
	}
	return admin.KeyOrder{Fingerprint: discovery.Fingerprint(keys[0])}, nil
}

func printKeys(w io.Writer, v admin.GossipKeys) error {
	t := newTable(w, "KEY", "NODES", "ENCRYPTING", "HERE", "LACKING")
	for _, k := range v.Keys {
		here := ""
		if k.InUse {
			here = "in use"
		}
		t.row(k.Fingerprint, fmt.Sprintf("%d/%d", k.Nodes, v.Nodes), k.Encrypting, here, printable(strings.Join(k.Lacking, " ")))
	}
	if err := t.flush(); err != nil {
		return err
	}
	note := func(names []string, what string) {
		if len(names) > 0 {
			fmt.Fprintf(w, "%s: %s\n", what, printable(strings.Join(names, " ")))
		}
	}
	note(v.Silent, "did not answer")
	note(v.Down, "down, and may come back with whatever key they had")
	for node, text := range v.Refusals {
		fmt.Fprintf(w, "%s: %s\n", printable(node), printable(text))
	}
	return nil
}

// gossipKeys carries out what the admin API is asked.
func (lb *loadBalancer) gossipKeys(ctx context.Context, o admin.KeyOrder) (admin.GossipKeys, error) {
	if lb.gossip == nil {
		return admin.GossipKeys{}, errors.New("there is no gossip: membership.gossip is not configured")
	}
	var report discovery.KeyReport
	var err error
	switch o.Verb {
	case "install":
		var keys [][]byte
		if keys, err = discovery.ParseKeys([]byte(o.Key)); err != nil {
			return admin.GossipKeys{}, fmt.Errorf("the key %w", err)
		}
		report, err = lb.gossip.InstallKey(ctx, keys[0])
	case "use":
		report, err = lb.gossip.UseKey(ctx, o.Fingerprint, o.Force)
	case "remove":
		report, err = lb.gossip.RemoveKey(ctx, o.Fingerprint, o.Force)
	default:
		report, err = lb.gossip.Keys(ctx)
	}
	v := admin.GossipKeys{Nodes: report.Nodes, Silent: report.Silent, Down: report.Down, Refusals: report.Refusals}
	for _, k := range report.Keys {
		v.Keys = append(v.Keys, admin.GossipKey(k))
	}
	return v, err
}
