package proxy

import (
	"context"
	"time"

	"jetway/balancer"
)

// How a server gives its clients to another load balancer.
const (
	yieldNot  int32 = iota
	yieldAsk        // every answer closes its connection; new ones get one request
	yieldIdle       // kept connections without a request end, too
)

// Yield begins, or ends, giving the clients away: while it lasts every answer
// says Connection: close, and new connections are served one request. Nothing
// is refused.
func (s *Server) Yield(on bool) {
	if on {
		s.yield.CompareAndSwap(yieldNot, yieldAsk)
		return
	}
	s.yield.Store(yieldNot)
}

// EndIdle ends the connections that had a request and have none now. Those of
// which the first request is still to come stay: it is under way.
func (s *Server) EndIdle() {
	s.yield.Store(yieldIdle)
	used := func(c *clientConn) bool { return c.used.Load() }
	s.lot.wakeIf(used)
	s.conns.endIdle(used)
}

// Open returns the number of client connections, and how many of them are
// tunnels, which end when their client or member likes.
func (s *Server) Open() (connections, tunnels int) {
	return s.conns.len(), int(s.stats.tunnels.Load())
}

// leaving reports whether the answer at hand is the last of its connection.
func (c *clientConn) leaving() bool { return c.draining() || c.server.yield.Load() != yieldNot }

// readyDial bounds a connection that is made ahead of need.
const readyDial = 2 * time.Second

// KeepReady keeps a connection open to every endpoint until ctx ends, so that
// the first request after the address came here pays no dial.
func (s *Server) KeepReady(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now().UnixNano()
		for _, u := range s.router.Table().Upstreams() {
			if u.Status(now).State != "up" {
				continue
			}
			for _, e := range u.Endpoints() {
				if ctx.Err() != nil {
					return nil
				}
				s.makeReady(ctx, e)
			}
		}
	}
}

// makeReady opens a connection to an endpoint that has none.
func (s *Server) makeReady(ctx context.Context, e *balancer.Endpoint) {
	p, ok := e.Transport.(*pool)
	if !ok || !p.lonely() {
		return
	}
	mc, err := p.get(ctx, min(readyDial, s.settings.Load().Timeouts.Connect), true)
	if err != nil {
		return // health checks and requests find out and say so
	}
	mc.keep(time.Now())
}

// lonely reports whether there is no connection at all.
func (p *pool) lonely() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open == 0 && !p.closed && p.fail == nil
}
