package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/rs/zerolog"
)

// untilSignal returns a context that ends with the first SIGTERM or SIGINT.
// The second ends the process at once. Each SIGHUP is told to hangup, which may
// be nil. A broken pipe of a log reader ends nothing.
func untilSignal(parent context.Context, log zerolog.Logger, hangup chan<- struct{}) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 8)
	signal.Ignore(syscall.SIGPIPE)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				receive(s, ctx, cancel, log, hangup)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

func receive(s os.Signal, ctx context.Context, cancel func(), log zerolog.Logger, hangup chan<- struct{}) {
	if s == syscall.SIGHUP {
		select {
		case hangup <- struct{}{}:
		default: // nobody reloads, or a reload waits already
		}
		return
	}
	if ctx.Err() != nil {
		log.Warn().Stringer("signal", s).Msg("second signal, ending at once")
		os.Exit(exitUsage)
	}
	log.Info().Stringer("signal", s).Msg("stopping; a second signal ends at once")
	cancel()
}
