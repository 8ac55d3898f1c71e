//go:build unix

package proxy

import "syscall"

// descriptorLimit is how many descriptors the process may have open. Go raises
// the soft limit to the hard one at start.
func descriptorLimit() uint64 {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return 1024
	}
	return uint64(r.Cur)
}
