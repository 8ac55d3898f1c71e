package proxy

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// connSet knows the client connections: for the limits on them and for the end
// of the server. Its lock is taken when a connection begins and ends, not for
// requests.
type connSet struct {
	mu      sync.Mutex // guards all below
	conns   map[*clientConn]struct{}
	sources map[netip.Prefix]int
}

// refusal is why a connection is not served.
type refusal uint8

const (
	admitted refusal = iota
	tooMany
	tooManyOfSource
)

// source is what counts as one source of connections: an IPv4 address, or the
// network that one IPv6 customer has.
func source(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: all of them are one source
	}
	return p
}

// add counts a connection in before it is known whom it comes from.
func (cs *connSet) add(c *clientConn, limit int) refusal {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if limit > 0 && len(cs.conns) >= limit {
		return tooMany
	}
	if cs.conns == nil {
		cs.conns, cs.sources = map[*clientConn]struct{}{}, map[netip.Prefix]int{}
	}
	cs.conns[c] = struct{}{}
	return admitted
}

// from counts the connection under its source.
func (cs *connSet) from(c *clientConn, limit int) refusal {
	p := source(c.addr)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if limit > 0 && cs.sources[p] >= limit {
		return tooManyOfSource
	}
	cs.sources[p]++
	c.source = p
	c.counted = true
	return admitted
}

func (cs *connSet) remove(c *clientConn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.conns, c)
	if !c.counted {
		return
	}
	if cs.sources[c.source]--; cs.sources[c.source] == 0 {
		delete(cs.sources, c.source)
	}
}

func (cs *connSet) len() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.conns)
}

// endIdle wakes the connections of which a request is waited for; they end
// themselves.
func (cs *connSet) endIdle(which func(*clientConn) bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c := range cs.conns {
		if c.idle.Load() && which(c) {
			c.socket.SetReadDeadline(time.Unix(1, 0))
		}
	}
}

// closeIf cuts connections off.
func (cs *connSet) closeIf(which func(*clientConn) bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c := range cs.conns {
		if which(c) {
			c.socket.Close()
		}
	}
}

const (
	// descriptorReserve is kept free of clients and members: for the admin
	// address, gossip, files and listeners.
	descriptorReserve = 64
	// clientShare is the percentage of the others that clients may take; the
	// rest is for connections to members. Idle clients need no member.
	clientShare = 60
)

// shareDescriptors divides the process's descriptors.
func shareDescriptors(limit uint64) (clients, members int) {
	left := int(min(limit, 1<<30)) - descriptorReserve - 2*pipeLimit(limit)
	clients = max(left*clientShare/100, 1)
	return clients, max(left-clients, 1)
}

// pipeLimit is how many pipes for large bodies the descriptors allow.
func pipeLimit(limit uint64) int { return int(min(limit/128, pipesMax)) }

// busy is the whole answer to a connection over a limit.
const busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 42\r\n" +
	"Retry-After: 1\r\nConnection: close\r\n\r\nToo many connections. (connection_limit)\r\n"

// turnAway ends a connection over a limit without spending anything on it: the
// answer goes out if the socket takes it at once.
func (c *clientConn) turnAway() {
	if c.listener.state.Load().tls == nil {
		c.socket.SetWriteDeadline(time.Now().Add(time.Second)) // not that it waits: a send buffer without a byte takes it
		c.socket.Write([]byte(busy))                           // it is closed either way
		swallow(c.socket)
	}
	c.socket.Close()
}

// outOfResources reports whether err is this host's own shortage, which says
// nothing about the member that was dialled.
func outOfResources(err error) bool {
	for _, own := range [...]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}

// addrOf returns the address without port and zone.
func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
