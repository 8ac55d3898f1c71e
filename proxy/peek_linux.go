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

// endedSocket reports whether the other side of fd sent its end or a reset.
func endedSocket(fd uintptr) bool {
	n, errno := peek(fd)
	return n == 0 && errno == 0 || errno != 0 && errno != syscall.EAGAIN && errno != syscall.EINTR
}

// peek is a bare recv(2) because syscall.Recvfrom allocates an address.
func peek(fd uintptr) (n uintptr, errno syscall.Errno) {
	var b [1]byte
	n, _, errno = syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1,
		syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	return n, errno
}
