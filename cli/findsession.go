package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jetway/admin"
	"jetway/balancer"
	"jetway/tenant"
)

// findSession tells what is known of the session that a question is about.
func (lb *loadBalancer) findSession(q admin.Question) (admin.SessionView, error) {
	asked, err := arrival(q)
	if err != nil {
		return admin.SessionView{}, err
	}
	now := time.Now()
	f, err := lb.server.FindSession(asked)
	if err != nil {
		return admin.SessionView{}, err
	}
	v := admin.SessionView{Verdict: f.Verdict.String(), Mode: string(balancer.AffinityNone), Cookies: f.Cookies, Learned: f.Learned,
		Timeout: f.Timeout.Seconds(), Left: max(f.Left, 0).Truncate(100 * time.Millisecond).Seconds()}
	d := f.Decision
	if f.Status != 0 {
		v.Refused = &admin.ExplainedAnswer{Status: f.Status, Reason: f.Reason, Text: f.Text}
	}
	if d.Host != nil {
		v.Service, v.SubDomain = d.Host.Service, d.Host.SubDomain
		v.Tenant = string(d.Tenant.Name())
	}
	if o := d.Tenant.Outcome; d.Host != nil && (o == tenant.Known || o == tenant.Inactive) {
		v.TenantID = int64(d.Tenant.ID)
	}
	if d.Cluster == nil {
		return v, nil
	}
	v.Domain = d.Cluster.Config.Key.Domain
	if a := &d.Cluster.Config.Affinity; a.On() {
		v.Mode = string(a.Mode)
	}
	if f.Learned {
		v.From = "peer"
		if f.Own {
			v.From = "here"
		}
	}
	if !f.Issued.IsZero() {
		v.Age = max(now.Sub(f.Issued), 0).Truncate(100 * time.Millisecond).Seconds()
	}
	if u := f.Upstream; u != nil {
		s := u.Status(now.UnixNano())
		v.Member = &admin.SessionMember{Domain: s.Member.Domain, ID: s.Member.ID, State: string(s.State), Reason: s.Reason, Serves: f.Serves}
	}
	return v, nil
}

// cookiesMax bounds what is read of standard input.
const cookiesMax = 16 << 10

func sessionsFind() *cobra.Command {
	var cookies []string
	var listener, from string
	var output outputFormat
	c := &cobra.Command{
		Use:   "find URL",
		Short: "Find one session by its cookie",
		Long: `Tells which member a client's session is bound to, whether that serves it, and
how long the session lives. A session belongs to a domain and a tenant, which the
URL decides, so give one that the client asks for. Nothing is sent or refreshed,
and no cookie stands in the answer or in any log.

What stands on a command line is seen by everybody on this machine: with
--cookie - a line such as "JSESSIONID=5F2A; a=b" is read from standard input.
In URLs with ;jsessionid= no cookie is needed.`,
		Example: `  jetway sessions find http://as.example.com/t/acme.com/ --cookie JSESSIONID=5F2A
  jetway sessions find https://as.example.com/ --cookie - < cookie.txt
  jetway sessions find "http://as.example.com/cart;jsessionid=5F2A" -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("whose session? expected URL, such as http://as.example.com/")
			}
			return nil
		},
	}
	cl := clientFlags(c)
	outputFlag(c, &output)
	c.Flags().StringArrayVar(&cookies, "cookie", nil, "a cookie, `name=value`; may be repeated; -: all of them from standard input")
	c.Flags().StringVar(&listener, "listener", "", "`name` of the listener it comes in on (default: by scheme and port of the URL)")
	c.Flags().StringVar(&from, "client", "", "`address` it comes from (default 127.0.0.1)")
	c.RunE = func(c *cobra.Command, args []string) error {
		for i, text := range cookies {
			if text != "-" {
				continue
			}
			line, err := bufio.NewReader(io.LimitReader(c.InOrStdin(), cookiesMax)).ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("cannot read cookies from standard input: %w", err)
			}
			cookies[i] = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "Cookie:"))
		}
		f := explainFlags{cookies: cookies, listener: listener, client: from}
		q, err := f.question("GET", args[0])
		if err != nil {
			return &usageError{err, c.CommandPath()}
		}
		var v admin.SessionView
		if err := cl.send(c, "/api/v1/sessions/find", q, &v); err != nil {
			return err
		}
		if output == outputJSON {
			body, err := json.MarshalIndent(v, "", "  ")
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(append(body, '\n'))
			return err
		}
		printSession(c.OutOrStdout(), &v)
		return nil
	}
	return c
}

func printSession(w io.Writer, v *admin.SessionView) {
	say := func(what, format string, args ...any) {
		fmt.Fprintf(w, "%-9s %s\n", what, printable(fmt.Sprintf(format, args...)))
	}
	if r := v.Refused; r != nil {
		say("session", "none: such a request is answered %d %s: %s", r.Status, r.Reason, r.Text)
		return
	}
	whose := "no tenant"
	switch {
	case v.TenantID != 0:
		whose = fmt.Sprintf("tenant %s, id %d", v.Tenant, v.TenantID)
	case v.Tenant != "":
		whose = "tenant " + v.Tenant + ", which has no id"
	}
	say("domain", "%s, sub-domain %s of service %s, for %s", v.Domain, v.SubDomain, v.Service, whose)
	say("affinity", "%s", affinityLine(v))
	switch v.Verdict {
	case "none":
		say("session", "none")
	case "void":
		say("session", "none: what was sent is not known here, stale, or another tenant's")
	default:
		say("session", "%s%s", v.Verdict, lifeLine(v))
	}
	switch m := v.Member; {
	case m != nil && m.Serves:
		say("member", "%s/%s, %s", m.Domain, m.ID, m.State)
	case m != nil:
		say("member", "%s/%s is %s (%s): the next request goes to another one", m.Domain, m.ID, m.State, m.Reason)
	case v.Verdict == "broken":
		say("member", "gone: the next request goes to another one")
	}
}

func affinityLine(v *admin.SessionView) string {
	switch {
	case v.Mode == "source":
		return "source: by where clients come from, without a session"
	case v.Mode == string(balancer.AffinityCookie) && len(v.Cookies) == 0:
		return "cookie: none is set while there is no choice of members"
	case len(v.Cookies) == 0:
		return v.Mode
	}
	return v.Mode + ", by cookie " + strings.Join(v.Cookies, " or ")
}

func lifeLine(v *admin.SessionView) string {
	line := ""
	if v.Learned {
		line = ", learned here"
		if v.From == "peer" {
			line = ", learned from a peer"
		}
	}
	if v.Timeout > 0 {
		line += fmt.Sprintf(", ends in %s if nobody asks for it", lasting(v.Left))
	}
	if v.Age > 0 {
		line += ", cookie issued " + lasting(v.Age) + " ago"
	}
	return line
}

func lasting(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Truncate(100 * time.Millisecond).String()
}
