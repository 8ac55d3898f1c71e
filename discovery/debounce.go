package discovery

import (
	"context"
	"time"
)

// debounce calls fire once per burst of changes: when none came for quiet, and
// most after the first one at the latest. It returns when ctx ends, without a
// last call.
func debounce(ctx context.Context, changed <-chan struct{}, quiet, most time.Duration, fire func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		if !settled(ctx, changed, quiet, most) {
			return
		}
		fire()
	}
}

// settled waits for the end of a burst; false means that ctx ended.
func settled(ctx context.Context, changed <-chan struct{}, quiet, most time.Duration) bool {
	calm, late := time.NewTimer(quiet), time.NewTimer(most)
	defer calm.Stop()
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-calm.C:
			return true
		case <-late.C:
			return true
		case <-changed:
			calm.Reset(quiet)
		}
	}
}
