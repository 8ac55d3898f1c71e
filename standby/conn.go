package standby

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// conn is a connection to a peer with the link on it.
type conn struct {
	net.Conn
	link    *link
	dialled bool          // by us
	wake    chan struct{} // capacity 1: there may be something to send
	done    chan struct{} // closed once both goroutines have ended

	mu     sync.Mutex // guards reason
	reason *bye       // why we end it; nil: we do not
}

// end has the connection ended, with a word to the peer.
func (c *conn) end(why bye) {
	c.mu.Lock()
	if c.reason == nil {
		c.reason = &why
	}
	c.mu.Unlock()
	c.poke()
}

func (c *conn) ending() *bye {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// poke wakes the writer.
func (c *conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// meet makes a link of a new connection and serves it until it ends. It
// reports whether it came to that. free is called once the handshake is over.
func (m *Mesh) meet(ctx context.Context, raw net.Conn, dialled bool, address string, free func()) bool {
	defer raw.Close()
	c, theirs, err := m.handshake(ctx, raw, dialled, address)
	if free != nil {
		free()
	}
	if err != nil {
		m.refuse(err, address)
		return false
	}
	p, err := m.register(c, theirs, address)
	if err != nil {
		writeBye(c, byeFor(err))
		m.refuse(err, address)
		return false
	}
	m.log.Info().Str("peer", theirs.name).Str("node", theirs.node).Str("address", address).Bool("dialled", dialled).Msg("peer connected")
	err = m.serve(ctx, c)
	m.lost(p, c, theirs, err)
	return true
}

// handshake proves both sides to each other and exchanges who they are.
func (m *Mesh) handshake(ctx context.Context, raw net.Conn, dialled bool, address string) (*conn, *hello, error) {
	raw.SetDeadline(time.Now().Add(handshakeMost))
	ctx, cancel := context.WithTimeout(ctx, handshakeMost)
	defer cancel()
	var tc *tls.Conn
	if dialled {
		tc = tls.Client(raw, m.trust.client)
	} else {
		tc = tls.Server(raw, m.trust.server)
	}
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errStranger, err)
	}
	c := &conn{Conn: tc, dialled: dialled, wake: make(chan struct{}, 1), done: make(chan struct{})}
	var w writer
	m.own.append(&w)
	if _, err := tc.Write(w.b); err != nil {
		return nil, nil, err
	}
	t, body, err := readFrame(tc, nil, helloMax)
	switch {
	case err != nil && dialled: // TLS 1.3: only now do we hear that we were refused
		return nil, nil, fmt.Errorf("%w: %w", errStranger, err)
	case err != nil:
		return nil, nil, err
	case t != frameHello:
		return nil, nil, fmt.Errorf("frame of type %d instead of hello: %w", t, errFrame)
	}
	theirs, err := parseHello(body)
	if err == nil {
		err = theirs.refuse(&m.own)
	}
	if errors.Is(err, errSelf) {
		m.mu.Lock()
		if d := m.dials[address]; d != nil && dialled {
			d.ourself = true
		}
		m.mu.Unlock()
	}
	if err != nil {
		writeBye(tc, byeFor(err))
		return nil, nil, err
	}
	raw.SetDeadline(time.Time{})
	return c, &theirs, nil
}

func writeBye(c net.Conn, b bye) {
	var w writer
	b.append(&w)
	c.SetWriteDeadline(time.Now().Add(time.Second))
	c.Write(w.b) // nothing to do about an error: it ends anyway
}

// register makes a connection the one to its peer, or says why not. Of two
// connections that both sides made to each other the one that the smaller node
// id dialled stays, so both sides keep the same one.
func (m *Mesh) register(c *conn, theirs *hello, address string) (*peer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		if d := m.dials[address]; d != nil && c.dialled {
			d.node = theirs.node
		}
		p := m.peers[theirs.node]
		switch {
		case m.stopped:
			return nil, errors.New("stopping")
		case p == nil && len(m.peers) >= peersMax:
			return nil, fmt.Errorf("more than %d peers", peersMax)
		case p == nil:
			p = &peer{node: theirs.node}
			m.forgetLocked(theirs.name) // it restarted under a fresh node id
			m.peers[theirs.node] = p
		case p.conn != nil:
			old := p.conn
			if err := m.prefer(old, c, p, theirs); err != nil {
				return nil, err
			}
			old.end(byeFor(errDuplicate))
			old.Close()
			m.mu.Unlock()
			<-old.done // its link must not touch what the new one continues
			m.mu.Lock()
			if p.conn == old {
				p.conn = nil
			}
			continue // others may have come meanwhile
		}
		if p.memory == nil || p.generation != theirs.generation {
			p.memory = newMemory(theirs.generation)
		}
		now := time.Now()
		p.name, p.generation, p.address, p.changed, p.good = theirs.name, theirs.generation, address, now, time.Time{}
		c.link = newLink(m.kinds, theirs, m.own.generation, p.memory, m.status, m.opts.Clock, m.cfg.SnapshotRate, now)
		p.conn = c
		return p, nil
	}
}

// forgetLocked drops peers of a name that are gone.
func (m *Mesh) forgetLocked(name string) {
	for node, p := range m.peers {
		if p.name == name && p.conn == nil {
			delete(m.peers, node)
		}
	}
}

// prefer says whether a new connection may replace an old one that seems
// to live.
func (m *Mesh) prefer(old, c *conn, p *peer, theirs *hello) error {
	alive := time.Since(old.link.view(time.Now()).Heard) < 2*heartbeat
	switch {
	case theirs.generation > p.generation || !alive:
		return nil
	case theirs.generation < p.generation:
		return errOlder
	case old.dialled == c.dialled:
		return nil // whoever dialled has given the old one up
	case c.dialled == (m.own.node < theirs.node):
		return nil
	}
	return errDuplicate
}

// lost notes that a connection ended.
func (m *Mesh) lost(p *peer, c *conn, who *hello, err error) {
	close(c.done)
	now := time.Now()
	m.mu.Lock()
	v := c.link.view(now)
	p.counts.add(&v.Counts)
	current := p.conn == c
	if current {
		p.conn, p.changed, p.good = nil, now, time.Time{}
		p.last = v
		p.lost = fmt.Sprint(err)
	}
	m.mu.Unlock()
	if current && !errors.Is(err, errReplaced) {
		m.log.Warn().Str("peer", who.name).Str("node", who.node).Str("reason", fmt.Sprint(err)).Msg("peer lost")
	}
}

// refuse counts a connection that did not come about, and complains now and then.
func (m *Mesh) refuse(err error, address string) {
	kind := -1
	switch {
	case errors.Is(err, errSelf), errors.Is(err, errDuplicate), errors.Is(err, errOlder):
		return
	case errors.Is(err, errForeign):
		kind = refusedForeign
	case errors.Is(err, errVersion):
		kind = refusedVersion
	case errors.Is(err, errStranger):
		kind = refusedStranger
	case errors.Is(err, errFrame), errors.Is(err, errOversized):
		kind = refusedFrame
	}
	if kind >= 0 {
		m.refused[kind].Add(1)
	}
	last, now := m.complain.Load(), time.Now().UnixNano()
	if now-last > int64(complainEvery) && m.complain.CompareAndSwap(last, now) {
		m.log.Warn().Err(err).Str("address", address).Msg("no connection to a peer")
	}
}

// errReplaced is a connection that gave way to another to the same peer.
var errReplaced = errors.New("replaced by another connection")

// errEnded is a connection that we or the peer ended with a word.
var errEnded = errors.New("ended")

// serve runs a link until its connection ends, and says why it did.
func (m *Mesh) serve(ctx context.Context, c *conn) error {
	written := make(chan error, 1)
	go func() {
		defer close(written)
		defer m.recovered("peer writer")
		written <- c.write(ctx)
		c.Close() // ends the reader
	}()
	err := c.read()
	if errors.Is(err, errFrame) || errors.Is(err, errOversized) || errors.Is(err, errRecord) {
		m.refused[refusedFrame].Add(1)
		m.log.Error().Err(err).Str("address", c.RemoteAddr().String()).Msg("peer sent what cannot be understood")
		c.end(bye{byeFault, err.Error()})
		err, _ = fmt.Errorf("it sent what cannot be understood: %w", err), <-written
	}
	c.Close()
	for range written {
	}
	switch why := c.ending(); {
	case why == nil:
		return err
	case why.code == byeDuplicate:
		return errReplaced
	default:
		return fmt.Errorf("%w by us: %s", errEnded, why.text)
	}
}

// read takes frames until the connection ends.
func (c *conn) read() error {
	in := bufio.NewReaderSize(c.Conn, 64<<10)
	buf := make([]byte, 4<<10)
	for {
		c.SetReadDeadline(time.Now().Add(silenceMost))
		t, body, err := readFrame(in, buf, frameMax)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("silent for %v", silenceMost)
		case err != nil:
			return err
		}
		buf = body
		if err := c.link.receive(time.Now(), t, body); err != nil {
			return err
		}
		if t == frameBye {
			return fmt.Errorf("%w by the peer: %s", errEnded, c.link.farewell())
		}
		if t != frameStatus && t != framePong {
			c.poke()
		}
	}
}

// write sends what the link has to say, at the latest every batchWait.
func (c *conn) write(ctx context.Context) error {
	out := bufio.NewWriterSize(c.Conn, 64<<10)
	tick := time.NewTicker(batchWait)
	defer tick.Stop()
	for {
		for {
			f := c.link.next(time.Now())
			if f == nil {
				break
			}
			c.SetWriteDeadline(time.Now().Add(writeMost))
			if _, err := out.Write(f); err != nil {
				return err
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if why := c.ending(); why != nil {
			writeBye(c.Conn, *why)
			return nil
		}
		select {
		case <-tick.C:
		case <-c.wake:
		case <-ctx.Done():
			c.end(bye{byeStopping, "stopping"})
		}
	}
}
