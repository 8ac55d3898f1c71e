//go:build !linux

package proxy

import (
	"errors"
	"syscall"
)

type controlFunc = func(network, address string, raw syscall.RawConn) error

func alsoFreeBind(controlFunc) controlFunc {
	return func(string, string, syscall.RawConn) error {
		return errors.New("an address that this host does not have can only be bound on Linux")
	}
}
