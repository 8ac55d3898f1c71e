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
	level, w, err := f.apply(c, w)
	if err != nil {
		return zerolog.Nop(), err
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger(), nil
}

// logging is logger for a command that keeps events and an audit log, too.
func (f *logFlags) logging(c *cobra.Command, w io.Writer) (*logging, error) {
	level, w, err := f.apply(c, w)
	if err != nil {
		return nil, err
	}
	return newLogging(w, level), nil
}

// apply returns the level, and w in the form that was asked for.
func (f *logFlags) apply(c *cobra.Command, w io.Writer) (zerolog.Level, io.Writer, error) {
	level, err := parseLevel(f.level)
	if err != nil {
		return 0, nil, &usageError{fmt.Errorf("--log-level: %w", err), c.CommandPath()}
	}
	switch {
	case f.format == "console", f.format == "" && isTerminal(w):
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05.000", NoColor: !isTerminal(w) || os.Getenv("NO_COLOR") != ""}
	case f.format != "" && f.format != "json":
		return 0, nil, &usageError{fmt.Errorf("unknown --log-format %q; expected json or console", f.format), c.CommandPath()}
	}
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z07:00"
	zerolog.DurationFieldUnit = time.Second
	return level, w, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
