package proxy

import (
	"errors"
	"syscall"
)

// controlFunc prepares a socket before it is bound, as net.ListenConfig has it.
type controlFunc = func(network, address string, raw syscall.RawConn) error

// alsoFreeBind lets a listener take an address that this host does not have:
// a virtual one that is elsewhere now (ip(7), IP_FREEBIND).
func alsoFreeBind(before controlFunc) controlFunc {
	const ipv6FreeBind = 78 // IPV6_FREEBIND of linux/in6.h, unknown to package syscall
	return func(network, address string, raw syscall.RawConn) error {
		var err, failed error
		if before != nil {
			err = before(network, address, raw)
		}
		level, option := syscall.IPPROTO_IP, syscall.IP_FREEBIND
		if network == "tcp6" {
			level, option = syscall.IPPROTO_IPV6, ipv6FreeBind
		}
		control := raw.Control(func(fd uintptr) { failed = syscall.SetsockoptInt(int(fd), level, option, 1) })
		return errors.Join(err, control, failed)
	}
}
