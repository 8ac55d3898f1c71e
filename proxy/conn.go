package proxy

import (
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// headBuffer is the read buffer of a client connection; it grows up to
	// limits.header_bytes for larger heads.
	headBuffer = 4 << 10
	// bufferSize is that of the pooled buffers for bodies and answers.
	bufferSize = 16 << 10
	// largeSize is that of the pooled buffers for requests' bodies that do not
	// fit into the head's.
	largeSize = 64 << 10
	// lingerBytes and lingerTime bound how long a connection that is closed
	// with bytes of the client still under way is read, so that the client
	// sees the answer and not a reset.
	lingerBytes = 256 << 10
	lingerTime  = time.Second
	// parkAfter and parkNewAfter are how long a connection may be idle before
	// it gives up its goroutine and buffer; a new one, before its first byte.
	parkAfter    = time.Second
	parkNewAfter = 20 * time.Millisecond
	// awakeMany is how many connections may have a goroutine before idle ones
	// give theirs up sooner, down to parkNewAfter: memory that a crowd needs at
	// once stays with the process for long.
	awakeMany = 128
)

// clientConn is one client connection. Its goroutine runs serve.
type clientConn struct {
	server     *Server
	listener   *listener
	socket     net.Conn // as accepted; others may close it or wake it
	conn       net.Conn // what is read and written: the socket or TLS over it
	tls        bool
	number     uint32 // any, to spread connections over what is sharded
	addr       netip.Addr
	ip         string
	in         input
	heads      *[]byte // the buffer of in, where it is a pooled one
	sni        string  // name that the TLS session is for, lower case
	subject    string  // of the client's verified certificate
	source     netip.Prefix
	counted    bool      // under source
	judged     *settings // what fieldRules were made from
	fieldRules fieldRules
	idle       atomic.Bool   // waits for a request
	used       atomic.Bool   // had one
	parking    bool          // serve ends because it is idle, not over
	idleTill   time.Time     // when the idle connection ends
	served     int           // requests so far
	tick       time.Time     // a recent reading of the clock
	linger     bool          // bytes of the client may still be under way
	headTime   time.Duration // that the head of the request took; 0: it came at once
	readBy     time.Time     // read deadline in force
	writeBy    time.Time     // write deadline in force
}

func newClientConn(s *Server, l *listener, conn net.Conn) *clientConn {
	return &clientConn{server: s, listener: l, socket: conn, conn: conn, addr: addrOf(conn.RemoteAddr()), number: rand.Uint32()}
}

// serve is the life of a connection.
func (c *clientConn) serve() {
	s := c.server
	over := true
	s.awake.Add(1)
	defer func() {
		s.awake.Add(-1)
		s.recovered("client connection", recover())
		if over {
			c.end()
		}
	}()
	if c.in.conn == nil && !c.open() {
		return
	}
	if !c.tls {
		c.conn = fast(c.socket)
	}
	c.in.conn = c.conn
	if c.in.buf == nil {
		c.heads = s.heads.Get().(*[]byte)
		c.in.buf = *c.heads
	}
	for c.next() {
	}
	if !c.parking {
		return
	}
	c.returnHead()
	if !c.tls {
		c.conn = c.socket // what makes it fast costs memory
		c.in.conn = c.conn
	}
	over = false // from here on it may belong to another goroutine
	if !s.lot.park(c, c.idleTill) {
		c.end()
	}
}

// draining reports whether the connection ends after the request at hand.
func (c *clientConn) draining() bool {
	return c.server.draining.Load() || c.listener.gone.Load() || c.served > 0 && c.server.yield.Load() == yieldIdle
}

// returnHead gives the read buffer back; nothing may be unread in it.
func (c *clientConn) returnHead() {
	if c.heads != nil {
		c.server.heads.Put(c.heads)
	}
	c.heads, c.in.buf = nil, nil
	c.in.r, c.in.w, c.in.floor = 0, 0, 0
}

// end closes the connection for good.
func (c *clientConn) end() {
	c.close()
	c.returnHead()
	c.server.conns.remove(c)
}

// open learns who the client is and completes what comes before the first
// request, within timeouts.header.
func (c *clientConn) open() bool {
	s, set := c.server, c.server.settings.Load()
	if wait := set.Timeouts.Header; wait > 0 {
		c.socket.SetDeadline(time.Now().Add(wait))
	}
	st, early := c.listener.state.Load(), c.socket
	if st.ProxyProtocol {
		var err error
		if early, err = c.readProxyHeader(st); err != nil {
			s.stats.handshakeErrors.Add(1)
			return false
		}
	}
	if s.conns.from(c, set.Limits.ConnectionsPerSource) != admitted {
		s.stats.refused[tooManyOfSource].Add(1)
		c.turnAway()
		return false
	}
	c.ip = c.addr.String()
	c.conn = early
	return c.handshake(st)
}

// handshake completes TLS on listeners that have it.
func (c *clientConn) handshake(st *listenerState) bool {
	if st.tls != nil {
		tc := tls.Server(c.conn, st.tls)
		if err := tc.Handshake(); err != nil {
			c.server.stats.handshakeErrors.Add(1)
			return false
		}
		c.conn, c.tls = tc, true
		c.setTLSFacts(tc.ConnectionState())
	}
	c.socket.SetDeadline(time.Time{})
	return true
}

// next serves one request; false ends the connection.
func (c *clientConn) next() bool {
	s := c.server
	set := s.settings.Load()
	head, f := c.readHead(set)
	if head == nil && f == noFault {
		return false
	}
	s.stats.inFlight.Add(1)
	x := s.exchanges.Get().(*exchange)
	x.begin(c, set)
	x.outcome.ClientTime = c.headTime
	served := false
	defer func() {
		s.stats.inFlight.Add(-1)
		if !served {
			x.crash()
		}
	}()
	keep := x.serve(head, f)
	served = true
	x.conclude()
	x.end()
	s.exchanges.Put(x)
	if c.served++; c.served == 1 {
		c.used.Store(true)
	}
	if keep && c.leaving() {
		c.linger = true
		return false
	}
	return keep
}

// readHead reads up to the end of a request's head and consumes it. nil
// without a fault means that the connection ended between requests.
func (c *clientConn) readHead(set *settings) ([]byte, fault) {
	in, limit := &c.in, set.Limits.HeaderBytes
	in.floor = 0
	var headBy, since time.Time
	c.headTime = 0
	var first *requestHead // looks at the first line of a head that comes in parts
	for scanned, skipped := 0, 0; ; {
		b := in.buf[in.r:in.w]
		for skipped < 2 && scanned == 0 && len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
			in.r += 2 // empty lines before a request (RFC 9112, 2.2)
			skipped++
			b = b[2:]
		}
		if len(b) == 0 && skipped == 0 {
			if !c.awaitRequest(set) {
				return nil, noFault
			}
			continue
		}
		n, next, f := scanHead(b, scanned)
		switch {
		case f != noFault:
			return nil, f
		case n > limit || n == 0 && len(b) >= limit:
			if next == 0 && n == 0 {
				return nil, targetTooLong
			}
			return nil, headTooLarge
		case n > 0:
			in.r += n
			in.floor = in.r
			if !since.IsZero() {
				c.headTime = time.Since(since)
			}
			return b[:n], noFault
		}
		if first == nil {
			first = new(requestHead)
		}
		if next > 0 && scanned == 0 || next == 0 && len(b) > 0 && b[0] != '\r' {
			if f := first.incompleteHead(b, next > 0); f != noFault {
				return nil, f
			}
		}
		scanned = next
		if since.IsZero() {
			since = time.Now()
		}
		if headBy.IsZero() && set.Timeouts.Header > 0 {
			headBy = since.Add(set.Timeouts.Header)
			c.readUntil(headBy)
		}
		if err := in.fill(limit + bufferSize); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && !c.draining() {
				return nil, headTimeout
			}
			if len(b) > 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, clientGone
			}
			return nil, noFault
		}
	}
}

// awaitRequest waits for the first byte of a request.
func (c *clientConn) awaitRequest(set *settings) bool {
	wait, patience := set.Timeouts.Idle, c.server.parkPatience()
	if c.served == 0 && set.Timeouts.Header > 0 {
		wait, patience = set.Timeouts.Header, parkNewAfter // a new connection has to say something
	}
	if c.server.lot == nil || c.in.unread() > 0 || wait <= 2*patience {
		patience = wait
	}
	if c.served == 0 {
		c.tick = time.Now()
	}
	woken := c.parking
	if woken { // because there is something to read
		c.parking = false
		c.tick = time.Now()
		wait, patience = max(time.Until(c.idleTill), time.Millisecond), wait
	}
	c.idle.Store(true)
	defer c.idle.Store(false)
	if c.draining() {
		return false
	}
	c.readWithin(min(wait, patience), c.tick)
	if c.draining() { // its wake-up may have been overwritten
		return false
	}
	if c.server.yields && c.served > 0 && !woken && c.in.unread() == 0 {
		runtime.Gosched()
	}
	err := c.in.fill(set.Limits.HeaderBytes + bufferSize)
	if patience < wait && errors.Is(err, os.ErrDeadlineExceeded) && !c.draining() {
		c.parking, c.idleTill = true, time.Now().Add(wait-patience)
	}
	return err == nil
}

// parkPatience is how long a connection that had a request may be idle before
// it is parked.
func (s *Server) parkPatience() time.Duration {
	return max(parkAfter*awakeMany/time.Duration(max(s.awake.Load(), awakeMany)), parkNewAfter)
}

// readUntil sets the read deadline.
func (c *clientConn) readUntil(t time.Time) {
	if !t.Equal(c.readBy) {
		c.readBy = t
		c.conn.SetReadDeadline(t)
	}
}

// readWhile sets the read deadline to by. One that is too early is left in
// force while at least half of grace remains: what is fast is not looked at
// each time.
func (c *clientConn) readWhile(by time.Time, grace time.Duration) {
	if !by.IsZero() && !c.readBy.IsZero() && !c.readBy.After(by) && time.Until(c.readBy) > grace/2 {
		return
	}
	c.readUntil(by)
}

// readWithin sets the read deadline to about d from now, 0 for none. One that
// is at most an eighth too early is left in force: setting it costs more than
// most of what happens per request.
func (c *clientConn) readWithin(d time.Duration, now time.Time) {
	if t, ok := within(c.readBy, d, now); ok {
		c.readUntil(t)
	}
}

// writeWithin bounds the next writes to the client; one that does not read for
// so long is given up.
func (c *clientConn) writeWithin(d time.Duration, now time.Time) {
	if t, ok := within(c.writeBy, d, now); ok {
		c.writeBy = t
		c.conn.SetWriteDeadline(t)
	}
}

// within returns the deadline for a wait of d from now and whether it must be set
// although current is in force.
func within(current time.Time, d time.Duration, now time.Time) (time.Time, bool) {
	if d <= 0 {
		return time.Time{}, !current.IsZero()
	}
	if left := current.Sub(now); !current.IsZero() && left <= d && left >= d-d/8 {
		return current, false
	}
	return now.Add(d), true
}

// close ends the connection. Where the client may still be sending, its bytes
// are read for a while first.
func (c *clientConn) close() {
	if c.linger {
		c.drainInput()
	}
	c.conn.Close()
}

func (c *clientConn) drainInput() {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.conn.SetReadDeadline(time.Now().Add(lingerTime))
	b := c.server.buffer()
	defer c.server.giveBack(b)
	for total := 0; total < lingerBytes; {
		n, err := c.conn.Read(*b)
		if err != nil {
			return
		}
		total += n
	}
}

// abort ends the connection in the middle of an answer, by a reset where the
// client could take what it got for whole.
func (c *clientConn) abort(reset bool) {
	c.linger = false
	if t, ok := c.socket.(*net.TCPConn); ok && reset {
		t.SetLinger(0)
	}
	c.socket.Close()
}
