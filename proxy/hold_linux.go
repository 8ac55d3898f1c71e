package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

const (
	// holdTries is how often a queue is emptied and filled until it is our own
	// connection that fills it.
	holdTries = 5
	// holdDial bounds the making of that connection, which goes to this host.
	holdDial = 200 * time.Millisecond
	// fullQueue asks for as much as the system allows (net.core.somaxconn), as
	// package net does.
	fullQueue = 1<<16 - 1
)

// HoldNew keeps those waiting who begin a connection to addr, without any
// privilege: the queues of the listening sockets are made as short as can be
// (one connection) and filled by connections of our own, whereupon the kernel
// drops the first packets of others (listen(2); tcp_abort_on_overflow in
// tcp(7)), which clients repeat after a second. Whoever was in the middle of
// the handshake at that moment is not heard either. Connections that are open
// go on. AdmitNew ends it. Safe for concurrent use.
func (s *Server) HoldNew(addr netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		if l.socket == nil || l.held.Load() != nil || !l.reaches(addr) {
			continue
		}
		if err := l.holdNew(s, addr); err != nil {
			s.admitLocked()
			return fmt.Errorf("cannot hold new connections to %q: %w", addr, err)
		}
	}
	return nil
}

// AdmitNew ends what HoldNew began, if it did.
func (s *Server) AdmitNew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.admitLocked()
}

func (s *Server) admitLocked() {
	for _, l := range s.listeners {
		h := l.held.Load()
		if h == nil {
			continue
		}
		l.empty(s, h) // our own connection is the first in the queue
		l.setQueue(fullQueue)
		if d, ok := l.socket.(*net.TCPListener); ok {
			d.SetDeadline(time.Time{})
		}
		if l.held.CompareAndSwap(h, nil) {
			h.end()
		}
	}
}

// reaches reports whether connections to addr arrive here.
func (l *listener) reaches(addr netip.Addr) bool {
	at, err := netip.ParseAddrPort(l.socket.Addr().String())
	return err == nil && (at.Addr().IsUnspecified() || at.Addr().Unmap() == addr.Unmap())
}

// holdNew fills the queue of one listener. Those who are in it already are
// served.
func (l *listener) holdNew(s *Server, addr netip.Addr) error {
	_, port, err := net.SplitHostPort(l.socket.Addr().String())
	if err != nil {
		return err
	}
	h := &holding{over: make(chan struct{})}
	l.held.Store(h)
	if err := l.setQueue(0); err != nil {
		return err
	}
	for range holdTries {
		if err := l.empty(s, h); err != nil {
			return err
		}
		fill, err := net.DialTimeout("tcp", net.JoinHostPort(addr.String(), port), holdDial)
		if err == nil {
			h.fill = fill
			return nil
		}
		if late := net.Error(nil); !errors.As(err, &late) || !late.Timeout() { // if so, somebody else was faster, who is to be served
			return err
		}
	}
	return fmt.Errorf("clients come faster than listener %q can turn to them", l.state.Load().Name)
}

// empty serves those who wait in the queue of a listener that is held, and
// leaves it with a deadline in the past, so that nobody else is accepted.
func (l *listener) empty(s *Server, h *holding) error {
	socket, ok := l.socket.(*net.TCPListener)
	if !ok {
		return errors.ErrUnsupported
	}
	for {
		socket.SetDeadline(time.Now().Add(time.Millisecond)) // one that has passed would forbid the look
		conn, err := socket.Accept()
		switch {
		case timedOut(err):
			return nil
		case err != nil:
			return err
		case h.fill != nil && conn.RemoteAddr().String() == h.fill.LocalAddr().String():
			conn.Close()
		default:
			l.take(s, conn)
		}
	}
}

// setQueue sets how many connections may wait to be accepted, less one.
func (l *listener) setQueue(n int) error {
	c, ok := l.socket.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	if failed := raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), n) }); failed != nil {
		return failed
	}
	return os.NewSyscallError("listen", err)
}
