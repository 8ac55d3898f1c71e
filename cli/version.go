package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"jetway/admin"
)

func versionCommand() *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "version",
		Short: "Show which program this is",
		Long: `Shows the version of this program, the commit it was built from, and the Go
version that built it. "jetway status" tells which one runs.`,
		Example: "  jetway version\n  jetway version -o json",
		Args:    noCommand,
		RunE: func(c *cobra.Command, _ []string) error {
			b := thisBuild()
			if output == outputJSON {
				return printJSON(c.OutOrStdout(), admin.Version{Schema: admin.SchemaVersion, Build: b})
			}
			_, err := io.WriteString(c.OutOrStdout(), versionText(b))
			return err
		},
	}
	outputFlag(c, &output)
	return c
}

// versionText is what "version" and --version print.
func versionText(b admin.Build) string {
	commit := b.Commit
	if commit == "" {
		commit = "unknown"
	}
	if b.Built != "" {
		commit += " of " + b.Built
	}
	return fmt.Sprintf("jetway %s\ncommit %s\n%s %s/%s\n", b.Version, commit, b.Go, runtime.GOOS, runtime.GOARCH)
}

// thisBuild reads what the Go command wrote into the program.
func thisBuild() admin.Build {
	b := admin.Build{Version: "devel", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Commit = s.Value + b.Commit
		case s.Key == "vcs.modified" && s.Value == "true":
			b.Commit += "+changes"
		case s.Key == "vcs.time":
			b.Built = s.Value
		}
	}
	return b
}
