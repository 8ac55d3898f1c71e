//go:build unix

package journal

import "syscall"

// nonBlock lets the runtime wait for a pipe without spending a thread.
const nonBlock = syscall.O_NONBLOCK
