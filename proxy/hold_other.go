//go:build !linux

package proxy

import (
	"errors"
	"net/netip"
)

// HoldNew would keep new connections to addr waiting; it is done on Linux only.
func (*Server) HoldNew(netip.Addr) error {
	return errors.New("cannot hold new connections: not on this system")
}

// AdmitNew ends what HoldNew began: nothing.
func (*Server) AdmitNew() {}
