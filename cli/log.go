package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
)

// logFlags say how a command that keeps running logs.
type logFlags struct{ format, level string }

func (f *logFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.format, "log-format", "", "json or console (default: console on a terminal)")
	c.Flags().StringVar(&f.level, "log-level", "info", "debug, info, warn or error")
}

// logger returns a logger that writes to w.
func (f *logFlags) logger(c *cobra.Command, w io.Writer) (zerolog.Logger, error) {
	level, err := zerolog.ParseLevel(f.level)
	if err != nil || level < zerolog.DebugLevel || level > zerolog.ErrorLevel {
		return zerolog.Nop(), &usageError{fmt.Errorf("unknown --log-level %q; expected debug, info, warn or error", f.level), c.CommandPath()}
	}
	switch {
	case f.format == "console", f.format == "" && isTerminal(w):
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05.000", NoColor: !isTerminal(w) || os.Getenv("NO_COLOR") != ""}
	case f.format != "" && f.format != "json":
		return zerolog.Nop(), &usageError{fmt.Errorf("unknown --log-format %q; expected json or console", f.format), c.CommandPath()}
	}
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z07:00"
	zerolog.DurationFieldUnit = time.Second
	return zerolog.New(w).Level(level).With().Timestamp().Logger(), nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
