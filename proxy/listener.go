package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// listener accepts clients on one address. Its socket stays while its
// configuration changes.
type listener struct {
	state  atomic.Pointer[listenerState]
	socket net.Listener
	gone   atomic.Bool             // no longer configured: its connections end after their request
	held   atomic.Pointer[holding] // new connections are kept waiting, see HoldNew; nil: they are not
}

// listenerState is a listener's configuration ready for use.
type listenerState struct {
	ListenerConfig
	tls   *tls.Config // nil: in the clear
	certs *certStore
	port  string // PublicPort in decimal
}

func newListener(lc ListenerConfig, log zerolog.Logger) (*listener, error) {
	state, err := newListenerState(lc, nil, log)
	if err != nil {
		return nil, err
	}
	l := &listener{}
	l.state.Store(state)
	return l, nil
}

// newListenerState makes a listener's configuration ready. before is the one
// it replaces, nil for a new listener.
func newListenerState(lc ListenerConfig, before *listenerState, log zerolog.Logger) (*listenerState, error) {
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
	var old *certStore
	if before != nil {
		old = before.certs
	}
	var err error
	if st.certs, err = newCertStore(lc.Name, lc.TLS.Certificates, old, log); err != nil {
		return nil, err
	}
	var base *tls.Config
	if before != nil && before.tls != nil && before.TLS.TicketKeyFile == "" {
		base = before.tls
	}
	st.tls, err = newServerTLS(&lc, st.certs, base)
	return st, err
}

func (l *listener) bind() error {
	st := l.state.Load()
	lc := listenConfig()
	if st.FreeBind {
		lc.Control = alsoFreeBind(lc.Control)
	}
	socket, err := lc.Listen(context.Background(), "tcp", st.Address)
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
	l.held.Swap(nil).end()
}

const (
	backoffMin = 5 * time.Millisecond
	backoffMax = time.Second
)

// run accepts until the socket is closed. Other errors, such as running out of
// descriptors, pass: it backs off and goes on.
func (l *listener) run(s *Server) {
	backoff := backoffMin
	for {
		conn, err := l.socket.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if h := l.held.Load(); h != nil && err != nil {
			<-h.over
			continue
		}
		if timedOut(err) { // a hold has just ended
			continue
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
		l.take(s, conn)
	}
}

// take serves a client that was accepted, if there is room for it.
func (l *listener) take(s *Server, conn net.Conn) {
	s.stats.accepted.Add(1)
	c := newClientConn(s, l, conn)
	if s.conns.add(c, s.settings.Load().connections) != admitted {
		s.stats.refused[tooMany].Add(1)
		c.turnAway()
		return
	}
	s.clients.Go(c.serve)
}

// holding is what keeps new connections to one listener waiting.
type holding struct {
	fill net.Conn      // waits in the queue of the socket, which has room for no other; nil: not yet
	over chan struct{} // closed when clients are accepted again
}

// end lets clients be accepted again. To be called once.
func (h *holding) end() {
	if h == nil {
		return
	}
	if h.fill != nil {
		h.fill.Close()
	}
	close(h.over)
}

func stack() []byte { return debug.Stack() }
