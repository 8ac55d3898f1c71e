package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"jetway/admin"
	"jetway/config"
	"jetway/tenant"
)

// against are the flags of "check" that compare.
type against struct {
	what   string // "live", or another file; empty: nothing
	most   int    // -1: any number
	output outputFormat
	client *client
}

func (a *against) flags(c *cobra.Command) {
	c.Flags().StringVar(&a.what, "against", "", "tell what the file would change: of the Jetway that runs (`live`), or of another file")
	c.Flags().IntVar(&a.most, "max-moved-tenants", -1, "with --against: fail if more than `N` tenants would go to another domain")
	c.Flags().StringVar(&a.client.address, "admin", "", "with --against live: `address` of the admin API (default: that of the file)")
	a.client.trustFlags(c, "with --against live: ")
	outputFlag(c, &a.output)
}

// run compares the file with what is running and prints it.
func (a *against) run(c *cobra.Command, next *config.Config) error {
	before, err := a.before(c)
	if err != nil {
		return err
	}
	after, err := a.after(next, before)
	if err != nil {
		return err
	}
	d := compare(before, after)
	if a.what == "live" {
		if err := d.count(c, a.client); err != nil {
			return err
		}
	}
	if next.Tenants.Directory.File == "" && before.list.Len() > 0 {
		d.Remarks = append(d.Remarks, "ids of tenants are taken as the running Jetway knows them; the directory of the file was not asked")
	}
	if err := a.print(c.OutOrStdout(), d); err != nil {
		return err
	}
	if a.most >= 0 && d.Moved > a.most {
		fmt.Fprintf(c.ErrOrStderr(), "%s: %d tenants would move, more than --max-moved-tenants %d allows\n", next.File, d.Moved, a.most)
		return errSaid
	}
	return nil
}

// before is what is compared with.
func (a *against) before(c *cobra.Command) (*side, error) {
	if a.what != "live" {
		cfg, err := config.Load(a.what)
		if err != nil {
			return nil, err
		}
		list, err := cfg.List(&tenant.Plans{})
		if err != nil {
			return nil, err
		}
		return newSide(cfg, list)
	}
	if err := a.client.locate(c.ErrOrStderr()); err != nil {
		return nil, err
	}
	var v admin.ConfigView
	if _, err := a.client.ask(c.Context(), http.MethodGet, "/api/v1/config", &v); err != nil {
		return nil, err
	}
	cfg, err := config.ParseEffective("live", []byte(v.YAML))
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration of the running Jetway, is it of another version? %w", err)
	}
	text, err := a.client.call(c.Context(), http.MethodGet, "/api/v1/tenants/known")
	if err != nil {
		return nil, err
	}
	entries, err := tenant.ReadCSV(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("cannot read the tenants that the running Jetway knows: %w", err)
	}
	list, err := tenant.NewList(entries, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot use the tenants that the running Jetway knows: %w", err)
	}
	return newSide(cfg, list)
}

// after is the file. Where its directory has to be asked, what is known by now
// stands for it.
func (a *against) after(next *config.Config, before *side) (*side, error) {
	list, err := next.List(&tenant.Plans{})
	if err != nil {
		return nil, err
	}
	if list == nil && next.Tenants.Directory.Kind() != "none" {
		list = before.list
	}
	return newSide(next, list)
}

func (a *against) print(w io.Writer, d *Difference) error {
	if a.output == outputJSON {
		return printJSON(w, d)
	}
	var b bytes.Buffer
	say := func(format string, args ...any) { fmt.Fprintln(&b, printable(fmt.Sprintf(format, args...))) }
	for _, h := range d.Hosts {
		switch {
		case h.Before == "":
			say("host %s comes, to %s", h.Pattern, h.After)
		case h.After == "":
			say("host %s goes; it was that of %s", h.Pattern, h.Before)
		default:
			say("host %s goes from %s to %s", h.Pattern, h.Before, h.After)
		}
	}
	say("%d of %d known tenants move", d.Moved, d.Known)
	for _, m := range d.Moves {
		who := m.Who
		if m.Count > 0 {
			who = fmt.Sprintf("%d tenants (%s)", m.Count, fewOf(m.Tenants))
		}
		say("  %s: %s -> %s, for %s", who, m.Before, m.After, fewOf(m.Hosts))
	}
	for _, m := range d.Members {
		say("member %s", m)
	}
	for _, s := range d.Sessions {
		say("sessions break: %s", s)
	}
	d.sayLearned(say)
	for _, r := range d.Remarks {
		say("%s", r)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// fewOf names the first of many.
func fewOf(list []string) string {
	const few = 3
	text := strings.Join(list[:min(few, len(list))], ", ")
	if len(list) > few {
		text += ", ..."
	}
	return text
}

// checkFile checks the file before it is compared. Where it is bad, programs
// find the report of that in place of the comparison.
func (a *against) checkFile(file string, strict bool, stdout, stderr io.Writer) error {
	err := check(file, false, strict, io.Discard, stderr)
	if err != nil && a.output == outputJSON {
		return reportCheck(file, strict, stdout)
	}
	return err
}

// check refuses flags that say nothing together.
func (a *against) check(c *cobra.Command) error {
	for _, name := range []string{"max-moved-tenants", "admin", "token-file", "ca", "cert", "key"} {
		if a.what == "" && c.Flags().Changed(name) {
			return &usageError{errors.New("--" + name + " belongs to --against live"), c.CommandPath()}
		}
	}
	return nil
}
