package cli

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/spf13/cobra"
)

// drainCommand returns "drain", or "undrain" which ends it.
func drainCommand(drain bool) *cobra.Command {
	c := &cobra.Command{
		Use:   "drain MEMBER...",
		Short: "Keep new requests off members",
		Long: `Keeps new requests off members while those in flight finish. It lasts until
"undrain" or until Jetway restarts, also if the member leaves and comes back.
Where two domains have a member of the same id, say DOMAIN/ID.`,
		Example: `  jetway drain w1
  jetway drain as.shared.domain/w1`,
	}
	verb := "drain"
	if !drain {
		verb = "undrain"
		c.Use, c.Short = "undrain MEMBER...", "Give drained members requests again"
		c.Long = `Ends what "drain" began. A member that announced itself as draining stays so.`
		c.Example = "  jetway undrain w1"
	}
	c.Args = someMember
	return actOn(c, verb, allOf, nil)
}

func someMember(_ *cobra.Command, args []string) error {
	if len(args) == 0 || slices.Contains(args, "") {
		return errors.New("which member? expected ID or DOMAIN/ID, as \"jetway members\" shows them")
	}
	return nil
}

func reloadCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "reload",
		Short: "Let a running Jetway load its configuration again",
		Long: `Lets a running Jetway load its configuration again and waits for the result.
All of it is taken or nothing: with a bad file Jetway goes on as before, and the
problems are printed here. With --dry-run it only says whether it would be
taken, with the environment and the files that the running Jetway has.`,
		Example: "  jetway reload --dry-run && jetway reload",
		Args:    noCommand,
	}
	var output outputFormat
	cl := clientFlags(c)
	outputFlag(c, &output)
	var dry bool
	c.Flags().BoolVar(&dry, "dry-run", false, "say whether it would be taken, and change nothing")
	c.RunE = func(c *cobra.Command, _ []string) error {
		path, done, refused := "/api/v1/reload", "reloaded", "the configuration was not reloaded"
		if dry {
			path, done, refused = path+"?dry_run=1", "it would be taken; nothing was changed", "the configuration would not be taken"
		}
		body, err := cl.call(c.Context(), http.MethodPost, path)
		if err != nil {
			return fmt.Errorf("%s:\n%w", refused, err)
		}
		if output == outputJSON {
			_, err := c.OutOrStdout().Write(body)
			return err
		}
		fmt.Fprintln(c.OutOrStdout(), done)
		return nil
	}
	return c
}
