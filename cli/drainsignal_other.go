//go:build !unix

package cli

import "os"

// drainSignals: there are none here. os.Kill is never delivered.
func drainSignals() []os.Signal { return []os.Signal{os.Kill, os.Kill} }
