package proxy

import (
	"syscall"
	"unsafe"
)

// silentSocket reports whether a read on fd would block: no byte, no end and
// no error is waiting.
func silentSocket(fd uintptr) bool {
	_, errno := peek(fd)
	return errno == syscall.EAGAIN
}

// peek is a bare recv(2) because syscall.Recvfrom allocates an address.
func peek(fd uintptr) (n uintptr, errno syscall.Errno) {
	var b [1]byte
	n, _, errno = syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1,
		syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	return n, errno
}
