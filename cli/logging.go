package cli

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"jetway/admin"
	"jetway/journal"
)

// logging is where log lines go: to standard error by the level that operators
// can change, and, as they are transitions, to events and to the audit log.
type logging struct {
	out    zerolog.LevelWriter
	level  atomic.Int32
	events *admin.Events
	audit  *journal.Writer
}

// newLogging logs to out, which may be in a form for people, from level on.
func newLogging(out io.Writer, level zerolog.Level) *logging {
	g := &logging{out: zerolog.LevelWriterAdapter{Writer: out}, events: admin.NewEvents(time.Now()), audit: journal.New()}
	g.level.Store(int32(level))
	return g
}

// logger returns a logger whose lines come here.
func (g *logging) logger() zerolog.Logger {
	// What is below both the level now and that of events is not even built;
	// the level of a logger is fixed, that of the library is not.
	zerolog.SetGlobalLevel(min(zerolog.Level(g.level.Load()), zerolog.InfoLevel))
	return zerolog.New(g).With().Timestamp().Logger()
}

// Write implements io.Writer; zerolog calls WriteLevel.
func (g *logging) Write(p []byte) (int, error) { return g.WriteLevel(zerolog.NoLevel, p) }

// WriteLevel implements zerolog.LevelWriter.
func (g *logging) WriteLevel(level zerolog.Level, p []byte) (int, error) {
	g.events.WriteLevel(level, p)
	if level >= zerolog.InfoLevel && g.audit.Path() != "" {
		g.audit.Append(0, p) // what it has no room for is counted
	}
	if level < zerolog.Level(g.level.Load()) {
		return len(p), nil
	}
	return g.out.WriteLevel(level, p)
}

// Level returns the level from which on lines are written.
func (g *logging) Level() string { return zerolog.Level(g.level.Load()).String() }

// SetLevel changes it.
func (g *logging) SetLevel(name string) error {
	level, err := parseLevel(name)
	if err != nil {
		return err
	}
	g.level.Store(int32(level))
	zerolog.SetGlobalLevel(min(level, zerolog.InfoLevel))
	return nil
}

func parseLevel(name string) (zerolog.Level, error) {
	level, err := zerolog.ParseLevel(name)
	if err != nil || level < zerolog.DebugLevel || level > zerolog.ErrorLevel {
		return 0, fmt.Errorf("%q is no log level; expected debug, info, warn or error", name)
	}
	return level, nil
}

// Run writes the audit log until ctx ends.
func (g *logging) Run(ctx context.Context) error {
	log := zerolog.New(g.out).With().Timestamp().Logger() // not to the audit log itself
	return g.audit.Run(ctx, func(err error) {
		if err != nil {
			log.Error().Err(err).Msg("audit log cannot be written, lines are lost")
			return
		}
		log.Info().Msg("audit log is written again")
	})
}
