package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// listener accepts clients on one address. Its socket stays while its
// configuration changes.
type listener struct {
	state  atomic.Pointer[listenerState]
	socket net.Listener
}

// listenerState is a listener's configuration ready for use.
type listenerState struct {
	ListenerConfig
	tls  *tls.Config // nil: in the clear
	port string      // PublicPort in decimal
}

func newListener(lc ListenerConfig) (*listener, error) {
	state, err := newListenerState(lc)
	if err != nil {
		return nil, err
	}
	l := &listener{}
	l.state.Store(state)
	return l, nil
}

func newListenerState(lc ListenerConfig) (*listenerState, error) {
	st := &listenerState{ListenerConfig: lc}
	if st.PublicPort == 0 {
		_, port, err := net.SplitHostPort(lc.Address)
		if err != nil {
			return nil, fmt.Errorf("cannot listen on %q: %w", lc.Address, err)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("cannot listen on %q: port %q is not a number up to 65535", lc.Address, port)
		}
		st.PublicPort = uint16(n)
	}
	st.port = strconv.Itoa(int(st.PublicPort))
	if lc.TLS == nil {
		return st, nil
	}
	st.tls = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	for _, c := range lc.TLS.Certificates {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cannot use certificate %q of listener %q: %w", c.CertFile, lc.Name, err)
		}
		st.tls.Certificates = append(st.tls.Certificates, pair)
	}
	if len(st.tls.Certificates) == 0 {
		return nil, fmt.Errorf("cannot use TLS on listener %q: it has no certificate", lc.Name)
	}
	return st, nil
}

func (l *listener) bind() error {
	st := l.state.Load()
	socket, err := net.Listen("tcp", st.Address)
	if err != nil {
		return fmt.Errorf("cannot listen on %q (listener %q): %w", st.Address, st.Name, err)
	}
	l.socket = socket
	return nil
}

func (l *listener) close() {
	if l.socket != nil {
		l.socket.Close() // the error would say that it is closed already
	}
}

const (
	backoffMin = 5 * time.Millisecond
	backoffMax = time.Second
)

// run accepts until the socket is closed. Other errors, such as running out of
// descriptors, pass: it backs off and goes on.
func (l *listener) run(s *Server, conns *sync.WaitGroup) {
	backoff := backoffMin
	for {
		conn, err := l.socket.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.stats.acceptErrors.Add(1)
			if backoff == backoffMin {
				s.log.Warn().Err(err).Str("listener", l.state.Load().Name).Msg("cannot accept, backing off")
			}
			time.Sleep(backoff)
			backoff = min(2*backoff, backoffMax)
			continue
		}
		backoff = backoffMin
		s.stats.accepted.Add(1)
		c := newClientConn(s, l, conn)
		s.conns.add(c)
		conns.Go(c.serve)
	}
}

// connSet knows the client connections, for the end of the server.
type connSet struct {
	mu    sync.Mutex // guards conns
	conns map[*clientConn]struct{}
}

func (cs *connSet) add(c *clientConn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.conns == nil {
		cs.conns = map[*clientConn]struct{}{}
	}
	cs.conns[c] = struct{}{}
}

func (cs *connSet) remove(c *clientConn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.conns, c)
}

func (cs *connSet) len() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.conns)
}

// endIdle wakes the connections that wait for a request; they end themselves.
func (cs *connSet) endIdle() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c := range cs.conns {
		if c.idle.Load() {
			c.socket.SetReadDeadline(time.Unix(1, 0))
		}
	}
}

// closeAll cuts everything off.
func (cs *connSet) closeAll() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c := range cs.conns {
		c.socket.Close()
	}
}

// addrOf returns the client's address without port and zone.
func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

func stack() []byte { return debug.Stack() }
