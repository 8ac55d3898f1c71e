//go:build unix

package cli

import (
	"os"
	"syscall"
)

// drainSignals let "jetway member" drain, and end that.
func drainSignals() []os.Signal { return []os.Signal{syscall.SIGUSR1, syscall.SIGUSR2} }
