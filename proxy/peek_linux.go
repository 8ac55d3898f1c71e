package proxy

import (
	"syscall"
	"unsafe"
)

// silentSocket reports whether a read on fd would block: no byte, no end and
// no error is waiting. It is a bare recv(2) because syscall.Recvfrom
// allocates an address.
func silentSocket(fd uintptr) bool {
	var b [1]byte
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1,
		syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	return errno == syscall.EAGAIN
}
