// Package cli holds the commands of jetway and is the one place where the
// parts of the load balancer are built, joined, started and stopped.
//
// root.go joins the commands; run.go builds a load balancer and app.go starts
// and stops it; reload.go and watch.go change it while it runs. The commands
// for operators (status.go, change.go) only speak to the admin API of one that
// runs. Nothing here is remembered between two runs of the program, except
// the node id that identity.go keeps in state_dir.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"jetway/cli/demo"
)

// What the process exits with.
const (
	exitOK      = 0
	exitFailure = 1 // it did not work: a bad configuration, nobody there, a drain that ran out of time
	exitUsage   = 2 // the command line is wrong, or a second signal ended the process at once
)

// usageError is a mistake in the command line itself.
type usageError struct {
	err     error
	command string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// errSaid ends a command with exitFailure after it said itself what is wrong.
var errSaid = errors.New("failed")

// Execute runs the command that args, without the program's name, ask for and
// returns the exit code.
func Execute(args []string) int { return execute(args, os.Stdout, os.Stderr) }

func execute(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "jetway: %s\nSee \"%s --help\".\n", err, usage.command)
		return exitUsage
	case !errors.Is(err, errSaid):
		fmt.Fprintf(stderr, "jetway: %s\n", err)
	}
	return exitFailure
}

// flagError says what a flag wants, where the library quotes the function that
// did not understand it. Flags of our own types say so themselves.
func flagError(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	wants, known := map[string]string{"int": "a whole number", "int64": "a whole number", "uint64": "a whole number from 0", "uint16": "a whole number from 0 to 65535",
		"float64": "a number", "bool": "true or false", "duration": "a duration such as 500ms, 30s or 5m"}[invalid.GetFlag().Value.Type()]
	if !known {
		return err
	}
	return fmt.Errorf("--%s is %q, expected %s", invalid.GetFlag().Name, invalid.GetValue(), wants)
}

func newRoot() *cobra.Command {
	root := runCommand("jetway")
	root.Short = "Tenant-aware HTTP load balancer"
	root.Long = `Jetway balances HTTP requests over members that announce themselves by gossip,
by host name, sub-domain and tenant. Without a command it does what "run" does.

Exit codes: 0 it worked, 1 it did not, 2 the command line is wrong or a second
signal ended the process at once.`
	root.Version = versionText(thisBuild())
	root.SetVersionTemplate("{{.Version}}")
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return &usageError{flagError(err), c.CommandPath()} })
	root.AddCommand(
		runCommand("run"), checkCommand(), demo.Command(), memberCommand(), keygenCommand(), signCommand(), gossipCommand(),
		statusCommand(), membersCommand(), tenantsCommand(), drainCommand(true), drainCommand(false), reloadCommand(), servicesCommand(), sessionsCommand(), weightCommand(), ejectCommand(), restoreCommand(),
		scaleCommand(), eventsCommand(), applyCommand(), logLevelCommand(), healthCommand(),
		peersCommand(), handoverCommand(), notifyCommand(), guardCommand(), keepalivedCommand(),
		explainCommand(),
		versionCommand())
	tellUsage(root)
	return root
}

// tellUsage makes usage errors of what the checks of positional arguments find.
func tellUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &usageError{err, c.CommandPath()}
			}
			return nil
		}
	}
	for _, child := range c.Commands() {
		tellUsage(child)
	}
}

// noCommand refuses positional arguments, which are mistyped commands where a
// command has sub-commands.
func noCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !c.HasSubCommands() {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	hint := ""
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Errorf("unknown command %q%s", args[0], hint)
}

// group returns a command that only holds others.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: noCommand}
	c.RunE = func(c *cobra.Command, _ []string) error {
		var names []string
		for _, child := range children {
			names = append(names, child.Name())
		}
		return &usageError{fmt.Errorf("%s what? expected %s", use, strings.Join(names, " or ")), c.CommandPath()}
	}
	c.AddCommand(children...)
	return c
}

// configFlag adds -c, which all commands spell alike.
func configFlag(c *cobra.Command, into *string) {
	c.Flags().StringVarP(into, "config", "c", "./loadbalancer.conf", "configuration `file`")
}
