package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"jetway/admin"
	"jetway/config"
)

// explainFlags are those of "explain".
type explainFlags struct {
	fields, cookies  []string
	listener, client string
	offline          bool
	output           outputFormat
}

func explainCommand() *cobra.Command {
	var f explainFlags
	c := &cobra.Command{
		Use:   "explain METHOD URL",
		Short: "Tell what would become of a request, and why",
		Long: `Prints the whole decision about a request: the host pattern that matches, whose
request it is and how that is known, the range and domain, its session, every
member with its score or the reason why it is out, the choice, and the head that
the member would get. Nothing is sent and nothing is counted.

It asks a running Jetway, which decides as for any request. With --offline it is
decided by the configuration file alone: static members only, unchecked; the
tenant directory is asked all the same.`,
		Example: `  jetway explain GET http://as.example.com/t/acme.com/cart
  jetway explain GET https://as.example.com/ --cookie JSESSIONID=5F2A -H "Accept: text/html"
  jetway explain POST /t/acme.com/ -H "Host: as.example.com" --client 10.0.0.9 --listener http
  jetway explain GET http://as.example.com/ --offline -c new.conf -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("which request? expected METHOD URL, such as GET http://as.example.com/")
			}
			return nil
		},
	}
	cl := clientFlags(c)
	c.Flags().StringArrayVarP(&f.fields, "header", "H", nil, "a header field, \"`Name: value`\"; may be repeated")
	c.Flags().StringArrayVar(&f.cookies, "cookie", nil, "a cookie, `name=value`; may be repeated")
	c.Flags().StringVar(&f.listener, "listener", "", "`name` of the listener it comes in on (default: by scheme and port of the URL)")
	c.Flags().StringVar(&f.client, "client", "", "`address` it comes from (default 127.0.0.1)")
	c.Flags().BoolVar(&f.offline, "offline", false, "decide by the configuration file alone, without a running Jetway")
	outputFlag(c, &f.output)
	locate := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		if f.offline {
			return nil
		}
		return locate(c, args)
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		q, err := f.question(args[0], args[1])
		if err != nil {
			return &usageError{err, c.CommandPath()}
		}
		var e admin.Explanation
		if f.offline {
			e, err = explainOffline(cl.file, q)
		} else {
			err = cl.send(c, "/api/v1/explain", q, &e)
		}
		if err != nil {
			return err
		}
		if f.output == outputJSON {
			return printJSON(c.OutOrStdout(), e)
		}
		return printExplanation(c.OutOrStdout(), &e)
	}
	return c
}

// question is what the flags ask.
func (f *explainFlags) question(method, url string) (admin.Question, error) {
	q := admin.Question{Method: method, URL: url, Listener: f.listener, Client: f.client}
	for _, h := range f.fields {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return q, fmt.Errorf("cannot use header %q: expected \"Name: value\"", h)
		}
		q.Fields = append(q.Fields, [2]string{name, strings.TrimSpace(value)})
	}
	for _, c := range f.cookies {
		if !strings.Contains(c, "=") {
			return q, fmt.Errorf("cannot use cookie %q: expected name=value", c)
		}
	}
	if len(f.cookies) > 0 {
		q.Fields = append(q.Fields, [2]string{"Cookie", strings.Join(f.cookies, "; ")})
	}
	return q, nil
}

// explainOffline builds what "run" would, without starting it, and asks that.
func explainOffline(file string, q admin.Question) (admin.Explanation, error) {
	cfg, err := config.Load(file)
	if err != nil {
		return admin.Explanation{}, err
	}
	if e := cfg.Tenants.Directory.Embedded; e != nil {
		if _, err := os.Stat(e.File); err != nil { // asking would make it, perhaps as another user than Jetway's
			return admin.Explanation{}, fmt.Errorf("cannot ask the embedded tenant directory: %w", err)
		}
	}
	lb, err := newBalancer(cfg, cfg.Name, newWatcher(statFile), zerolog.Nop(), newLogging(io.Discard, zerolog.ErrorLevel))
	if err != nil {
		return admin.Explanation{}, err
	}
	defer lb.tenants.current().close()
	lb.reloader.static(cfg.Static)
	e, err := lb.explain(q)
	e.Schema = admin.SchemaVersion
	return e, err
}

func printExplanation(w io.Writer, e *admin.Explanation) error {
	var b bytes.Buffer
	say := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "%-11s %s\n", what, printable(fmt.Sprintf(format, args...)))
	}
	say("request", "%s %s", e.Question.Method, e.Question.URL)
	trusted := ""
	if e.Arrival.Trusted {
		trusted = ", through a trusted proxy"
	}
	say("arrival", "listener %s, public port %d, from %s%s", e.Arrival.Listener, e.Arrival.PublicPort, e.Arrival.Client, trusted)
	if !e.Live {
		say("", "offline: by the file alone; members are static ones, and nobody checked them")
	}
	sayRoute(say, e)
	if a := e.Answer; a != nil {
		retry := ""
		if a.RetryAfter > 0 {
			retry = fmt.Sprintf(", Retry-After %d", a.RetryAfter)
		}
		say("answer", "%d %s: %s%s", a.Status, a.Reason, a.Text, retry)
	}
	if h := e.Held; h != nil {
		say("held", "behind %d others until a member is there, which is started if need be; after %s: 503", h.Before, h.Most)
	}
	if len(e.Candidates) > 0 {
		fmt.Fprintln(&b)
		if err := candidateTable(&b, e); err != nil {
			return err
		}
		fmt.Fprintln(&b)
	} else if e.Domain != nil {
		say("members", "none")
	}
	if c := e.Choice; c != nil {
		scheme, among := "http", ""
		if c.TLS {
			scheme = "https"
		}
		if len(c.Among) > 0 {
			among = ": " + strings.Join(c.Among, ", ")
		}
		say("choice", "%s at %s://%s, %s%s", c.ID, scheme, c.Address, c.Why, among)
	}
	for i, line := range e.Head {
		what := ""
		if i == 0 {
			what = "head"
		}
		say(what, "%s", line)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// sayRoute prints the way from host to domain.
func sayRoute(say func(what, format string, args ...any), e *admin.Explanation) {
	if h := e.Host; h != nil {
		reach := ""
		if h.OutOfReach {
			reach = ", out of reach there and from there (listeners, allow_from)"
		}
		say("host", "%s matches %q of service %s, sub-domain %s%s", h.Name, h.Pattern, h.Service, h.SubDomain, reach)
	}
	if t := e.Tenant; t != nil {
		say("tenant", "%s", tenantLine(t))
	}
	if d := e.Domain; d != nil {
		say("domain", "%s, whose tenant_range holds %s", d.Name, d.Range)
	}
	if l := e.Limits; l != nil {
		dry := ""
		if l.DryRun {
			dry = ", counted only (dry_run)"
		}
		say("limits", "%g requests per second (burst %d), %d in flight, bodies of %d bytes (0: no limit): %s%s",
			l.Rate, l.Burst, l.InFlight, l.Body, l.Verdict, dry)
	}
	if s := e.Session; s != nil {
		member := ""
		if s.Member != "" {
			member = ", of member " + s.Member
		}
		say("session", "affinity %s: %s%s", s.Mode, s.Verdict, member)
	}
}

func tenantLine(t *admin.ExplainedTenant) string {
	line := t.Outcome
	if t.Name != "" {
		line += " " + t.Name
	}
	if t.ID != 0 {
		line += fmt.Sprintf(", id %d", t.ID)
	}
	switch {
	case t.Rule != "":
		line += ", named by " + t.Rule
	case t.Outcome == "none":
		line = "none is named"
	}
	if t.From != "" {
		line += "; directory " + t.From
	}
	switch {
	case t.Told:
		line += ", as a peer's directory said"
	case t.Kept:
		line += ", the last good answer: it could not be asked since"
	case t.AskedBy:
		line += ", asked just now"
	case t.Age != "" && strings.HasPrefix(t.From, "file "):
		line += ", read " + t.Age + " ago"
	case t.Age != "":
		line += ", answered " + t.Age + " ago"
	}
	if t.Refresh {
		line += ", due to be asked again"
	}
	return line
}

func candidateTable(w io.Writer, e *admin.Explanation) error {
	order := "highest score wins"
	if e.Domain.LowerWins {
		order = "lowest score wins"
	}
	fmt.Fprintf(w, "members by %s; %s\n", printable(e.Domain.Balance), order)
	t := newTable(w, "", "MEMBER", "ADDRESS", "STATE", "GRADE", "SCORE", "IN FLIGHT", "WEIGHT", "WHY")
	for _, c := range e.Candidates {
		mark, score, address := "", "-", c.Address
		if c.Chosen {
			mark = "*"
		}
		if c.Score != nil {
			score = fmt.Sprintf("%.4g", *c.Score)
		}
		if address == "" {
			address = "-"
		}
		t.row(mark, c.ID, address, c.State, c.Grade, score, c.InFlight, c.Weight, c.Reason)
	}
	return t.flush()
}
