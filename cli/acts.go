package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jetway/admin"
)

// escape makes a segment of a path of a name.
func escape(name string) string {
	if strings.Trim(name, ".") == "" { // they would lead elsewhere
		return strings.ReplaceAll(name, ".", "%2E")
	}
	return url.PathEscape(name)
}

// withQuery joins a path and a query, which may be empty.
func withQuery(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// actOn makes the action of c: do verb to members; query says how.
func actOn(c *cobra.Command, verb string, members func(args []string) []string, query func(args []string) url.Values) *cobra.Command {
	var output outputFormat
	var dry bool
	cl := clientFlags(c)
	outputFlag(c, &output)
	c.Flags().BoolVar(&dry, "dry-run", false, "say whom it would be done to, and do nothing")
	c.RunE = func(c *cobra.Command, args []string) error {
		q := url.Values{}
		if query != nil {
			q = query(args)
		}
		if dry {
			q.Set("dry_run", "1")
		}
		for _, id := range members(args) {
			var v admin.Change
			body, err := cl.ask(c.Context(), http.MethodPost, withQuery("/api/v1/members/"+escape(id)+"/"+verb, q), &v)
			if err != nil {
				return err
			}
			if output == outputJSON {
				if _, err := c.OutOrStdout().Write(body); err != nil {
					return err
				}
				continue
			}
			printChange(c.OutOrStdout(), &v)
		}
		return nil
	}
	return c
}

func printChange(w io.Writer, v *admin.Change) {
	for _, m := range v.Members {
		state := m.State
		if m.EjectedUntil != nil {
			state += " until " + m.EjectedUntil.Local().Format(time.TimeOnly)
		}
		would := ""
		if v.DryRun {
			would = ", nothing was changed"
		}
		fmt.Fprintf(w, "%s is %s, weight %d, %d requests in flight%s\n", printable(m.Domain+"/"+m.ID), state, m.Weight, m.InFlight, would)
	}
}

func allOf(args []string) []string { return args }

func weightCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "weight MEMBER WEIGHT",
		Short: "Change a member's share of the load",
		Long: `Puts another weight of a member in force, from 1 to 1000, here and until Jetway
restarts; 0 is the one that the member announces.`,
		Example: "  jetway weight w1 10\n  jetway weight as.shared.domain/w1 0",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 || args[0] == "" {
				return errors.New("expected a member and a weight")
			}
			if n, err := strconv.Atoi(args[1]); err != nil || n < 0 || n > 1000 {
				return fmt.Errorf("%q is no weight; expected 1 to 1000, or 0 for the announced one", args[1])
			}
			return nil
		},
	}
	return actOn(c, "weight", func(args []string) []string { return args[:1] },
		func(args []string) url.Values { return url.Values{"weight": {args[1]}} })
}

func ejectCommand() *cobra.Command {
	var span time.Duration
	c := &cobra.Command{
		Use:   "eject MEMBER...",
		Short: "Set members aside for a time",
		Long: `Sets members aside for a time: they get no requests, and sessions move to others.
To let sessions end in peace, "drain" instead.`,
		Example: "  jetway eject w1 --for 10m",
		Args:    someMember,
	}
	c.Flags().DurationVar(&span, "for", 5*time.Minute, "how `long`, at most 24h")
	return actOn(c, "eject", allOf, func([]string) url.Values { return url.Values{"for": {span.String()}} })
}

func restoreCommand() *cobra.Command {
	return actOn(&cobra.Command{
		Use:     "restore MEMBER...",
		Short:   "End the ejection of members",
		Long:    `Ends the ejection of members, whoever made it. What was drained stays drained.`,
		Example: "  jetway restore w1",
		Args:    someMember,
	}, "restore", allOf, nil)
}

func scaleCommand() *cobra.Command {
	var release bool
	c := &cobra.Command{
		Use:   "scale DOMAIN[/SUB-DOMAIN] [SIZE]",
		Short: "Show or set the size of a domain",
		Long: `Sets how many members a domain has, whatever its load, until --release. Without
SIZE it shows the domains that scale, and the newest decisions.`,
		Example: "  jetway scale\n  jetway scale as.shared.domain 4\n  jetway scale as.shared.domain/mgt --release",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 2 || release && len(args) != 1 {
				return errors.New("expected a domain and a size, or a domain and --release")
			}
			if len(args) == 1 && !release {
				return errors.New("which size? expected a number, or --release")
			}
			if len(args) > 0 && (args[0] == "" || strings.HasPrefix(args[0], "/") || strings.HasSuffix(args[0], "/")) {
				return fmt.Errorf("%q is no domain; expected DOMAIN or DOMAIN/SUB-DOMAIN", args[0])
			}
			if len(args) == 2 {
				if n, err := strconv.Atoi(args[1]); err != nil || n < 0 {
					return fmt.Errorf("%q is no size; expected a number of members", args[1])
				}
			}
			return nil
		},
	}
	var output outputFormat
	cl := clientFlags(c)
	outputFlag(c, &output)
	c.Flags().BoolVar(&release, "release", false, "let load decide again")
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cl.showScale(c, output)
		}
		domain, sub, both := strings.Cut(args[0], "/")
		if !both {
			sub = "worker"
		}
		q := url.Values{"release": {"1"}}
		if !release {
			q = url.Values{"size": {args[1]}}
		}
		body, err := cl.call(c.Context(), http.MethodPost, "/api/v1/domains/"+escape(domain)+"/"+escape(sub)+"/scale?"+q.Encode())
		if err != nil {
			return err
		}
		if output == outputJSON {
			_, err = c.OutOrStdout().Write(body)
			return err
		}
		if release {
			fmt.Fprintf(c.OutOrStdout(), "%s/%s follows its load again\n", domain, sub)
		} else {
			fmt.Fprintf(c.OutOrStdout(), "%s/%s shall have %s members\n", domain, sub, args[1])
		}
		return nil
	}
	return c
}

func (cl *client) showScale(c *cobra.Command, output outputFormat) error {
	var v struct {
		Domains []struct {
			Domain    string   `json:"domain"`
			SubDomain string   `json:"sub_domain"`
			Policy    string   `json:"policy"`
			Min       int      `json:"min"`
			Max       int      `json:"max"`
			Ready     int      `json:"ready"`
			Booting   int      `json:"booting"`
			Stopping  int      `json:"stopping"`
			Want      int      `json:"want"`
			Demand    float64  `json:"demand"`
			Reason    string   `json:"reason"`
			Hold      string   `json:"hold"`
			Lost      []string `json:"lost"`
		} `json:"domains"`
		Decisions []struct {
			Time      time.Time `json:"time"`
			Domain    string    `json:"domain"`
			SubDomain string    `json:"sub_domain"`
			Want      int       `json:"want"`
			Result    string    `json:"result"`
			Formula   string    `json:"formula"`
		} `json:"decisions"`
	}
	body, err := cl.ask(c.Context(), http.MethodGet, "/api/v1/autoscale", &v)
	if err != nil {
		return err
	}
	w := c.OutOrStdout()
	if output == outputJSON {
		_, err := w.Write(body)
		return err
	}
	t := newTable(w, "DOMAIN", "SUB-DOMAIN", "POLICY", "MIN", "MAX", "READY", "BOOTING", "STOPPING", "WANT", "DEMAND", "REMARK")
	for _, d := range v.Domains {
		remark := strings.TrimSpace(d.Hold + " " + d.Reason)
		if len(d.Lost) > 0 {
			remark = "lost: " + strings.Join(d.Lost, ", ") + "; " + remark
		}
		t.row(d.Domain, d.SubDomain, d.Policy, d.Min, d.Max, d.Ready, d.Booting, d.Stopping, d.Want, fmt.Sprintf("%.1f", d.Demand), remark)
	}
	if err := t.flush(); err != nil || len(v.Decisions) == 0 {
		return err
	}
	fmt.Fprintln(w)
	t = newTable(w, "TIME", "DOMAIN", "SUB-DOMAIN", "WANT", "RESULT", "FORMULA")
	for _, d := range v.Decisions[:min(len(v.Decisions), 20)] {
		t.row(d.Time.Local().Format(time.TimeOnly), d.Domain, d.SubDomain, d.Want, d.Result, d.Formula)
	}
	return t.flush()
}

func logLevelCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "log-level [LEVEL]",
		Short:   "Show or change what a running Jetway logs",
		Long:    `Shows from which level on a running Jetway logs, or changes it until it restarts: debug, info, warn or error.`,
		Example: "  jetway log-level\n  jetway log-level debug",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return errors.New("expected one level")
			}
			if len(args) == 1 {
				_, err := parseLevel(args[0])
				return err
			}
			return nil
		},
	}
	var output outputFormat
	cl := clientFlags(c)
	outputFlag(c, &output)
	c.RunE = func(c *cobra.Command, args []string) error {
		var v admin.LogLevel
		method, body := http.MethodGet, io.Reader(nil)
		if len(args) == 1 {
			text, err := json.Marshal(admin.LogLevel{Level: args[0]})
			if err != nil {
				return err
			}
			method, body = http.MethodPost, bytes.NewReader(text)
		}
		text, err := cl.callWith(c.Context(), method, "/api/v1/log-level", body)
		if err != nil {
			return err
		}
		if output == outputJSON {
			_, err := c.OutOrStdout().Write(text)
			return err
		}
		if err := json.Unmarshal(text, &v); err != nil {
			return fmt.Errorf("cannot understand the answer of %s: %w", cl.base, err)
		}
		fmt.Fprintln(c.OutOrStdout(), printable(v.Level))
		return nil
	}
	return c
}
