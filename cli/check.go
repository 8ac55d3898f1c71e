package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"jetway/config"
)

func checkCommand() *cobra.Command {
	var file string
	var show, strict bool
	a := against{client: &client{}}
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and show what is routed where",
		Long: `Checks the configuration file and everything that it names: certificates, keys
and the tenants file. For each host pattern it prints which tenants go where and
which go nowhere. Problems go to stderr, one per line, as

  file:line:column: what is wrong; what was expected

With -o json it prints a report instead, with errors and warnings by file, line,
column and key, also where the file is bad.

With --against live it tells instead what the file would change of the Jetway
that runs: hosts, tenants that go to another domain, sessions that break. Nothing
is changed.

Exit codes: 0 it is good, 1 it is not, or more tenants would move than
--max-moved-tenants allows, 2 the command line is wrong.`,
		Example: `  jetway check
  jetway check -c /etc/jetway/loadbalancer.conf -W
  jetway check --print > effective.conf
  jetway check -o json | jq -r '.errors[] | "\(.line): \(.key)"'
  jetway check -c new.conf --against live --max-moved-tenants 100 && mv new.conf loadbalancer.conf`,
		Args: noCommand,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.check(c); err != nil {
				return err
			}
			json := a.output == outputJSON
			switch {
			case json && show:
				return &usageError{errors.New("--print prints YAML; expected it without -o json"), c.CommandPath()}
			case json && a.what == "":
				return reportCheck(file, strict, c.OutOrStdout())
			case a.what == "":
				return check(file, show, strict, c.OutOrStdout(), c.ErrOrStderr())
			}
			if err := a.checkFile(file, strict, c.OutOrStdout(), c.ErrOrStderr()); err != nil {
				return err
			}
			a.client.file = file
			cfg, err := config.Load(file)
			if err != nil {
				return err
			}
			return a.run(c, cfg)
		},
	}
	configFlag(c, &file)
	c.Flags().BoolVar(&show, "print", false, "print the effective configuration: defaults filled in, secrets masked, routes as comments")
	a.flags(c)
	c.Flags().BoolVarP(&strict, "warnings-fatal", "W", false, "fail on warnings too")
	return c
}

// examine reads a file as "run" would and starts nothing. With an error there
// is a Config where the file itself is good.
func examine(file string) (*config.Config, error) {
	cfg, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	_, err = newBalancer(cfg, cfg.Name, newWatcher(statFile), zerolog.Nop(), newLogging(io.Discard, zerolog.ErrorLevel))
	return cfg, err
}

func check(file string, show, strict bool, stdout, stderr io.Writer) error {
	cfg, err := examine(file)
	if cfg == nil {
		fmt.Fprintln(stderr, err)
		return errSaid
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintf(stderr, "%s (warning)\n", w)
	}
	if err != nil {
		return err
	}
	if show {
		var routes bytes.Buffer
		cfg.Routes(&routes)
		stdout.Write(cfg.Print())
		fmt.Fprintln(stdout)
		for lines := bufio.NewScanner(&routes); lines.Scan(); {
			fmt.Fprintf(stdout, "# %s\n", lines.Text())
		}
	} else {
		cfg.Routes(stdout)
	}
	if n := len(cfg.Warnings); strict && n > 0 {
		fmt.Fprintf(stderr, "%s: %d warnings, which -W makes fatal\n", file, n)
		return errSaid
	}
	if !show {
		fmt.Fprintf(stdout, "\n%s is good\n", file)
	}
	return nil
}
