package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"jetway/config"
	"jetway/tenant"
	"jetway/tenant/directory"
)

// tenantsCommand returns "tenants", which edits the embedded directory.
func tenantsCommand() *cobra.Command {
	c := group("tenants", "Show tenants, and edit the embedded directory",
		tenantsTop(), tenantsShow(), tenantsAdd(), tenantsSet(), tenantsRemove(), tenantsImport(), tenantsList())
	c.Long = `"top" and "show" ask a running Jetway, whatever its directory. The others edit the
tenant directory that Jetway keeps itself, tenants.directory.embedded
of the configuration. It need not run; one that does takes changes within two
seconds. Each load balancer has a directory of its own.

Exit codes: 0 it worked, 1 it did not, 2 the command line is wrong.`
	c.Example = "  jetway tenants top\n  jetway tenants show acme.com"
	return c
}

// openBook finds the directory that a configuration names.
func openBook(file string) (*directory.Book, error) {
	cfg, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	e := cfg.Tenants.Directory.Embedded
	if e == nil {
		return nil, fmt.Errorf("%s has no embedded directory; expected tenants: {directory: {embedded: {}}}", file)
	}
	return directory.OpenBook(e.File)
}

// withBook makes do the action of c.
func withBook(c *cobra.Command, args cobra.PositionalArgs, do func(ctx context.Context, b *directory.Book, args []string) error) *cobra.Command {
	var file string
	configFlag(c, &file)
	c.Args = args
	c.RunE = func(c *cobra.Command, args []string) error {
		b, err := openBook(file)
		if err != nil {
			return err
		}
		err = do(c.Context(), b, args)
		return errors.Join(err, b.Close())
	}
	return c
}

func oneTenant(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("expected the name of one tenant")
	}
	if !tenant.ValidName(strings.ToLower(args[0])) {
		return fmt.Errorf("%q is not a tenant name; expected letters, digits, dots, hyphens and underscores", args[0])
	}
	return nil
}

func tenantsAdd() *cobra.Command {
	var id int64
	var plan string
	var inactive bool
	c := &cobra.Command{Use: "add NAME", Short: "Add a tenant", Long: "Adds a tenant and prints its id: the next free one, unless one is given.",
		Example: "  jetway tenants add acme.com\n  jetway tenants add acme.com --id 42 --plan gold"}
	c.Flags().Int64Var(&id, "id", 0, "its `number`")
	c.Flags().StringVar(&plan, "plan", "", "`name` of its plan")
	c.Flags().BoolVar(&inactive, "inactive", false, "switched off: its requests are refused")
	return withBook(c, oneTenant, func(ctx context.Context, b *directory.Book, args []string) error {
		got, err := b.Add(ctx, tenant.Entry{Name: args[0], ID: tenant.ID(id), Plan: plan, Inactive: inactive})
		if err == nil {
			fmt.Fprintln(c.OutOrStdout(), got)
		}
		return err
	})
}

func tenantsSet() *cobra.Command {
	var id int64
	var plan string
	var active bool
	c := &cobra.Command{Use: "set NAME", Short: "Change a tenant", Long: "Changes what is given and leaves the rest.",
		Example: "  jetway tenants set acme.com --active=false\n  jetway tenants set acme.com --plan gold"}
	c.Flags().Int64Var(&id, "id", 0, "its `number`")
	c.Flags().StringVar(&plan, "plan", "", "`name` of its plan")
	c.Flags().BoolVar(&active, "active", true, "whether its requests are served")
	return withBook(c, func(c *cobra.Command, args []string) error {
		if !c.Flags().Changed("id") && !c.Flags().Changed("plan") && !c.Flags().Changed("active") {
			return errors.New("nothing to change; expected --id, --plan or --active")
		}
		return oneTenant(c, args)
	}, func(ctx context.Context, b *directory.Book, args []string) error {
		return b.Set(ctx, args[0], func(e *tenant.Entry) {
			if c.Flags().Changed("id") {
				e.ID = tenant.ID(id)
			}
			if c.Flags().Changed("plan") {
				e.Plan = plan
			}
			if c.Flags().Changed("active") {
				e.Inactive = !active
			}
		})
	})
}

func tenantsRemove() *cobra.Command {
	c := &cobra.Command{Use: "remove NAME", Short: "Remove a tenant", Long: "Removes a tenant. Its id is given to no other one.",
		Example: "  jetway tenants remove acme.com"}
	return withBook(c, oneTenant, func(ctx context.Context, b *directory.Book, args []string) error {
		return b.Remove(ctx, args[0])
	})
}

func tenantsImport() *cobra.Command {
	c := &cobra.Command{Use: "import FILE", Short: "Add or replace many tenants",
		Long: `Adds the tenants of a file, .csv or .yaml as tenants.directory.file has it, and
replaces those of the same name: all of them, or none if something is wrong.`,
		Example: "  jetway tenants import tenants.csv"}
	one := func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return errors.New("expected one file")
		}
		return nil
	}
	return withBook(c, one, func(ctx context.Context, b *directory.Book, args []string) error {
		entries, err := config.LoadTenants(args[0])
		if err != nil {
			return err
		}
		if _, err := tenant.NewList(entries, nil); err != nil {
			return fmt.Errorf("cannot import %q: %w", args[0], err)
		}
		if err := b.Import(ctx, entries); err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "%d tenants\n", len(entries))
		return nil
	})
}

func tenantsList() *cobra.Command {
	var output outputFormat
	c := &cobra.Command{Use: "list", Short: "Show the tenants", Long: "Shows the tenants in the order of their ids; as JSON, one a line.", Example: "  jetway tenants list -o json"}
	outputFlag(c, &output)
	return withBook(c, noCommand, func(ctx context.Context, b *directory.Book, _ []string) error {
		if output == outputJSON {
			enc := json.NewEncoder(c.OutOrStdout()) // one a line: there may be many
			return errors.Join(b.Each(ctx, func(e tenant.Entry) bool {
				return enc.Encode(map[string]any{"name": e.Name, "id": e.ID, "active": !e.Inactive, "plan": e.Plan}) == nil
			}))
		}
		t := newTable(c.OutOrStdout(), "ID", "NAME", "ACTIVE", "PLAN")
		if err := b.Each(ctx, func(e tenant.Entry) bool {
			t.row(e.ID, e.Name, !e.Inactive, e.Plan)
			return true
		}); err != nil {
			return err
		}
		return t.flush()
	})
}
