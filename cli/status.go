package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"jetway/admin"
)

func statusCommand() *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how a running Jetway is doing",
		Long:  `Shows the state, listeners, configuration and clusters of a running Jetway.`,
		Example: `  jetway status
  jetway status --admin 127.0.0.1:9281 -o json`,
		Args: noCommand,
	}
	cl := clientFlags(c)
	outputFlag(c, &output)
	c.RunE = func(c *cobra.Command, _ []string) error {
		var v admin.Overview
		body, err := cl.ask(c.Context(), http.MethodGet, "/api/v1/overview", &v)
		if err != nil {
			return err
		}
		if output == outputJSON {
			_, err := c.OutOrStdout().Write(body)
			return err
		}
		return printOverview(c.OutOrStdout(), &v, time.Now())
	}
	return c
}

func printOverview(w io.Writer, v *admin.Overview, now time.Time) error {
	state := string(v.State)
	if v.Reason != "" {
		state += ": " + v.Reason
	}
	loaded := "loaded"
	if !v.LastReload.OK {
		loaded = "NOT reloaded, the one before stays:"
	}
	fmt.Fprintf(w, "%s  jetway %s, pid %d, up %s\n", printable(v.Name), v.Build.Version, v.PID, now.Sub(v.Started).Round(time.Second))
	fmt.Fprintf(w, "state      %s; %d requests in flight\n", printable(state), v.InFlight)
	fmt.Fprintf(w, "listeners  %s\n", strings.Join(v.Listeners, "  "))
	fmt.Fprintf(w, "config     %s, version %s, %s %s\n", printable(v.Config), v.Version, loaded, v.LastReload.Time.Local().Format(time.DateTime))
	if v.LastReload.Error != "" {
		fmt.Fprintf(w, "           %s\n", strings.ReplaceAll(strings.TrimSpace(v.LastReload.Error), "\n", "\n           "))
	}
	for _, peer := range v.Differ {
		fmt.Fprintf(w, "           DIFFERS: %s\n", printable(peer))
	}
	for _, warning := range v.Warnings {
		fmt.Fprintf(w, "warning    %s\n", printable(warning))
	}
	if g := v.Gossip; g != nil {
		fmt.Fprintf(w, "gossip     %s\n", printable(gossipLine(g)))
	}
	fmt.Fprintln(w)
	t := newTable(w, "SERVICE", "DOMAIN", "SUB-DOMAIN", "TENANTS", "HOSTS", "UP", "IN FLIGHT", "2XX", "4XX", "5XX", "RETRIES")
	for _, c := range v.Clusters {
		t.row(c.Service, c.Domain, c.SubDomain, c.TenantRange, strings.Join(c.Hosts, " "), fmt.Sprintf("%d/%d", c.Up, c.Members),
			c.InFlight, c.Responses["2xx"], c.Responses["4xx"], c.Responses["5xx"], c.Retries)
	}
	return t.flush()
}

func gossipLine(g *admin.Gossip) string {
	if g.Address == "" {
		return "down; " + g.LastError
	}
	line := fmt.Sprintf("%s at %s, %s", g.Node, g.Address, counts(g.Nodes))
	if !g.Encrypted {
		line += ", not encrypted"
	}
	if g.LastError != "" {
		line += "; " + g.LastError
	}
	return line
}

// counts prints "alive 3, failed 1".
func counts(m map[string]int) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(out, ", ")
}

func membersCommand() *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "members",
		Short: "Show the members that a running Jetway knows",
		Long: `Shows every member, how it is doing, and who is left out and why.

  up        gets requests
  checking  new, its first check is under way
  suspect   gossip lost it; only used where nobody better is left
  ejected   refused connections or failed a moment ago; left alone for a while
  down      its checks are bad; left alone until they are good again
  draining  finishes its requests and gets no new ones
  unused    no service has its domain and sub-domain

SINCE is how long it has been in that state, WHY how it got there. CHECKS are its
health checks, one for each sub-domain: the type, whether it is good and for how
long, and what the newest one found where it is bad.`,
		Example: `  jetway members
  jetway members -o json | jq -r '.members[] | select(.state != "up") | .id'`,
		Args: noCommand,
	}
	cl := clientFlags(c)
	outputFlag(c, &output)
	c.RunE = func(c *cobra.Command, _ []string) error {
		var v admin.MemberList
		body, err := cl.ask(c.Context(), http.MethodGet, "/api/v1/members", &v)
		if err != nil {
			return err
		}
		if output == outputJSON {
			_, err := c.OutOrStdout().Write(body)
			return err
		}
		return printMembers(c.OutOrStdout(), &v, time.Now())
	}
	return c
}

func printMembers(w io.Writer, v *admin.MemberList, now time.Time) error {
	t := newTable(w, "DOMAIN", "SUB-DOMAIN", "MEMBER", "HOST", "HTTP", "HTTPS", "WEIGHT", "SOURCE", "STATE", "SINCE", "IN FLIGHT", "REQUESTS", "FAILURES", "CHECKS", "WHY")
	for i := range v.Members {
		m := &v.Members[i]
		t.row(m.Domain, strings.Join(m.SubDomains, ","), m.ID, m.Host, port(m.HTTP), port(m.HTTPS), m.Weight, m.Source,
			m.State, age(m.Since, now), m.InFlight, m.Requests, m.Failures, checksOf(m, now), cmp.Or(m.Reason, "-"))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if len(v.Rejected) > 0 {
		fmt.Fprintln(w)
		t = newTable(w, "LEFT OUT", "ADDRESS", "REASON")
		for _, r := range v.Rejected {
			t.row(r.Name, r.Address, r.Reason)
		}
		return t.flush()
	}
	return nil
}

// checksOf says how the checks of a member are and since when.
func checksOf(m *admin.MemberView, now time.Time) string {
	var out []string
	for i := range m.Checks {
		c := &m.Checks[i]
		text := c.Type
		if len(m.Checks) > 1 {
			text = c.SubDomain + " " + c.Type
		}
		switch {
		case c.At == nil:
			text += " not made yet"
		case c.OK:
			text += " good " + age(c.Since, now)
		default:
			text += " bad " + age(c.Since, now) + ": " + c.Result
		}
		out = append(out, text)
	}
	return cmp.Or(strings.Join(out, "; "), "-")
}

// age is how long ago a moment was, to the second.
func age(t *time.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	return max(0, now.Sub(*t)).Round(time.Second).String()
}

func port(p uint16) string {
	if p == 0 {
		return "-"
	}
	return fmt.Sprint(p)
}

// table prints rows in aligned columns.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer, heads ...any) *table {
	t := &table{tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)}
	t.row(heads...)
	return t
}

func (t *table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = printable(fmt.Sprint(c))
	}
	fmt.Fprintln(t.w, strings.Join(texts, "\t"))
}

func (t *table) flush() error { return t.w.Flush() }

// printable keeps what members call themselves from steering a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
