package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// reopen opens log files anew with each SIGUSR1, until ctx ends.
func (lb *loadBalancer) reopen(ctx context.Context) error {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	defer signal.Stop(asked)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-asked:
		}
		if err := errors.Join(lb.server.ReopenLog(), lb.logging.audit.Reopen()); err != nil {
			lb.log.Error().Err(err).Msg("log not opened again, the old file stays in use")
			continue
		}
		lb.log.Info().Msg("logs opened again")
	}
}
