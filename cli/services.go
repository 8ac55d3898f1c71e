package cli

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jetway/admin"
)

// show makes the action of c: ask for path, print as JSON or as print does.
func show[T any](c *cobra.Command, path func(args []string) string, print func(c *cobra.Command, v *T) error) *cobra.Command {
	var output outputFormat
	cl := clientFlags(c)
	outputFlag(c, &output)
	c.RunE = func(c *cobra.Command, args []string) error {
		var v T
		body, err := cl.ask(c.Context(), http.MethodGet, path(args), &v)
		if err != nil {
			return err
		}
		if output == outputJSON {
			_, err := c.OutOrStdout().Write(body)
			return err
		}
		return print(c, &v)
	}
	return c
}

// at is the path of an endpoint that depends on no argument.
func at(path string) func([]string) string { return func([]string) string { return path } }

func servicesCommand() *cobra.Command {
	return show(&cobra.Command{
		Use:     "services",
		Short:   "Show services and their domains",
		Long:    `Shows every domain of every service: hosts, tenants, members, load, and how long requests took.`,
		Example: "  jetway services\n  jetway services -o json | jq -r '.domains[] | select(.up == 0) | .domain'",
		Args:    noCommand,
	}, at("/api/v1/domains"), func(c *cobra.Command, v *admin.ClusterList) error {
		t := newTable(c.OutOrStdout(), "SERVICE", "DOMAIN", "SUB-DOMAIN", "TENANTS", "HOSTS", "UP", "IN FLIGHT", "P50", "P99", "5XX")
		for _, d := range v.Domains {
			t.row(d.Service, d.Domain, d.SubDomain, d.TenantRange, strings.Join(d.Hosts, " "), fmt.Sprintf("%d/%d", d.Up, d.Members), d.InFlight,
				atMost(d.P50), atMost(d.P99), d.Responses["5xx"])
		}
		return t.flush()
	})
}

// atMost prints the bound of a bucket of times.
func atMost(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return "<" + time.Duration(seconds*float64(time.Second)).String()
}

func sessionsCommand() *cobra.Command {
	c := show(&cobra.Command{
		Use:   "sessions",
		Short: "Count learned sessions",
		Long: `Counts the sessions that a running Jetway learned, in all and by member. Those of
affinity mode cookie are not kept anywhere and are not counted; "jetway sessions
find" tells about one of any mode.`,
		Example: "  jetway sessions\n  jetway sessions find http://as.example.com/ --cookie -",
		Args:    noCommand,
	}, at("/api/v1/sessions"), func(c *cobra.Command, v *admin.Sessions) error {
		w := c.OutOrStdout()
		fmt.Fprintf(w, "sessions   %d of at most %d, of %d tenants\n", v.Sessions, v.Max, v.Tenants)
		fmt.Fprintf(w, "so far     learned %d, expired %d, deleted %d, displaced %d, refused %d, from peers %d\n\n",
			v.Learned, v.Expired, v.Deleted, v.Evicted, v.Refused, v.FromPeers)
		t := newTable(w, "DOMAIN", "MEMBER", "SESSIONS")
		for _, m := range v.Members {
			t.row(m.Domain, m.Member, m.Sessions)
		}
		return t.flush()
	})
	c.AddCommand(sessionsFind())
	return c
}

func tenantsTop() *cobra.Command {
	var n int
	c := &cobra.Command{
		Use:   "top",
		Short: "Show the busiest tenants of a running Jetway",
		Long: `Shows who sent most requests since the start, and how the directory is doing.
With peers, INSTALLATION is here and at all of them together, as far as each
tells: of its 100 busiest tenants. IN FLIGHT counts tenants with limits.`,
		Example: "  jetway tenants top -n 50",
		Args:    noCommand,
	}
	c.Flags().IntVarP(&n, "number", "n", 20, "how `many`, at most 1000")
	return show(c, func([]string) string { return fmt.Sprintf("/api/v1/tenants?top=%d", n) }, func(c *cobra.Command, v *admin.Tenants) error {
		w := c.OutOrStdout()
		state := "up"
		if !v.Up {
			state = "DOWN: " + v.LastError
		}
		fmt.Fprintf(w, "directory  %s, %s; %d tenants known\n\n", v.Kind, printable(state), v.Known)
		head := []any{"TENANT", "ID", "REQUESTS", "OVER LIMIT"}
		if v.Installation {
			head = append(head, "INSTALLATION", "OVER LIMIT", "IN FLIGHT")
		}
		t := newTable(w, head...)
		for _, u := range v.Top {
			row := []any{u.Name, u.ID, u.Requests, u.Refused}
			if v.Installation && u.All != nil {
				row = append(row, u.All.Requests, u.All.Refused, u.All.InFlight)
			}
			t.row(row...)
		}
		t.row("all others", "", v.Others.Requests, v.Others.Refused)
		return t.flush()
	})
}

func tenantsShow() *cobra.Command {
	return show(&cobra.Command{
		Use:     "show NAME",
		Short:   "Show one tenant and where its requests go",
		Long:    `Asks a running Jetway for a tenant as a request of it would: id, plan, and the domain for each host.`,
		Example: "  jetway tenants show acme.com",
		Args:    oneTenant,
	}, func(args []string) string { return "/api/v1/tenants/" + escape(args[0]) }, func(c *cobra.Command, v *admin.TenantView) error {
		w := c.OutOrStdout()
		fmt.Fprintf(w, "%s  %s", v.Name, v.State)
		if v.ID != 0 {
			fmt.Fprintf(w, ", id %d", v.ID)
		}
		if v.Plan != "" {
			fmt.Fprintf(w, ", plan %s", printable(v.Plan))
		}
		fmt.Fprint(w, "\n\n")
		t := newTable(w, "SERVICE", "HOST", "DOMAIN", "SUB-DOMAIN")
		for _, d := range v.Domains {
			domain := d.Domain
			if domain == "" {
				domain = "none: 404"
			}
			t.row(d.Service, d.Host, domain, d.SubDomain)
		}
		return t.flush()
	})
}
