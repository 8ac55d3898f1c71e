package proxy

import (
	"net"
	"syscall"
	"time"
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

// swallow reads what has come in on c so far and does not wait for more. A
// socket that is closed with unread bytes sends a reset, at which a client may
// forget the answer that it was sent before.
func swallow(c net.Conn) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	t.SetReadDeadline(time.Time{}) // one that has passed would forbid the look
	if raw, err := t.SyscallConn(); err == nil {
		raw.Read(func(fd uintptr) bool {
			var b [4096]byte
			receive(fd, b[:])
			return true
		})
	}
}
