package tenant

import (
	"context"
	"errors"
	"fmt"
)

// Source is where tenants are kept, asked for one at a time.
type Source interface {
	// Lookup returns what is known of a tenant. ErrNotFound says that there is
	// none; any other error, that it could not be found out. It is called
	// from several goroutines, has to return soon after ctx ended, and keeps
	// no goroutine for longer.
	Lookup(ctx context.Context, name string) (Entry, error)
}

// Versioned is a Source that can tell cheaply whether anything in it changed.
type Versioned interface {
	Source
	// Version returns something else after each change.
	Version(ctx context.Context) (int64, error)
}

// ErrNotFound: the source has no such tenant.
var ErrNotFound = errors.New("no such tenant")

// ErrRemoved is an ErrNotFound that needs no second look: somebody removed the
// tenant on purpose.
var ErrRemoved = fmt.Errorf("removed: %w", ErrNotFound)

// ErrGarbage: the source answered, but not what can be understood.
var ErrGarbage = errors.New("answer not understood")

// check makes garbage of an entry that cannot be right.
func (e *Entry) check() error {
	if e.ID < 1 || e.ID > maxID {
		return fmt.Errorf("%w: the id is %d, expected a number from 1 to %d", ErrGarbage, e.ID, int64(maxID))
	}
	return nil
}
