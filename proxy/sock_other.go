//go:build !linux

package proxy

import (
	"net"
	"sync"
	"syscall"
)

// sock is for Linux alone.
type sock struct {
	*net.TCPConn
	raw syscall.RawConn
}

// asker likewise.
type asker struct{}

func fast(c net.Conn) net.Conn { return c }

func (s *sock) readLate(*sync.Pool) (*[]byte, int, error) { return nil, 0, net.ErrClosed }

func (a *asker) ask(*memberConn, []byte) (n int, err, readErr error) { return 0, net.ErrClosed, nil }
