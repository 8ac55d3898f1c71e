package discovery

import (
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// network joins memberlists in memory, as a real one does: packets that nobody
// takes in time are lost. memberlist's own MockNetwork keeps the sender waiting
// instead, and many nodes that all answer each other then wait in a circle for
// ever.
type network struct {
	mu      sync.Mutex // guards nodes
	nodes   map[string]*wire
	dropped atomic.Int64  // packets
	slower  time.Duration // factor of the pace of gossip; 0: none
}

// wire is one node's end; it implements memberlist.Transport.
type wire struct {
	net     *network
	ip      net.IP
	port    int
	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	once    sync.Once
}

var errUnreachable = errors.New("connection refused")

// attach gives a pool an address on the network and returns it.
func (n *network) attach(p *pool) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := &wire{net: n, ip: net.IPv4(127, 0, 0, 1), port: 20000 + len(n.nodes), done: make(chan struct{}),
		packets: make(chan *memberlist.Packet, 256), // about what a socket holds
		streams: make(chan net.Conn)}
	n.nodes[w.address()] = w
	p.settings.transport = w
	p.settings.slower = n.slower
	p.settings.loopback = false // the pace of a network, not that of a demonstration
	return w.address()
}

func (w *wire) address() string { return net.JoinHostPort(w.ip.String(), strconv.Itoa(w.port)) }

// FinalAdvertiseAddr implements memberlist.Transport, as do all that follow.
func (w *wire) FinalAdvertiseAddr(string, int) (net.IP, int, error) { return w.ip, w.port, nil }

// PacketCh gives out what came by packet.
func (w *wire) PacketCh() <-chan *memberlist.Packet { return w.packets }

// StreamCh gives out connections.
func (w *wire) StreamCh() <-chan net.Conn { return w.streams }

// Shutdown makes the node unreachable.
func (w *wire) Shutdown() error {
	w.once.Do(func() { close(w.done) })
	return nil
}

func (n *network) node(address string) *wire {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nodes[address]
}

// WriteTo sends a packet, or loses it.
func (w *wire) WriteTo(b []byte, address string) (time.Time, error) {
	now := time.Now()
	to := w.net.node(address)
	if to == nil {
		return now, errUnreachable
	}
	select {
	case <-to.done: // as lost as on a network
	case to.packets <- &memberlist.Packet{Buf: append([]byte(nil), b...), From: &net.UDPAddr{IP: w.ip, Port: w.port}, Timestamp: now}:
	default:
		w.net.dropped.Add(1)
	}
	return now, nil
}

// DialTimeout connects to a node that takes the connection in time.
func (w *wire) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	to := w.net.node(address)
	if to == nil {
		return nil, errUnreachable
	}
	ours, theirs := net.Pipe()
	late := time.NewTimer(timeout)
	defer late.Stop()
	select {
	case to.streams <- theirs:
		return ours, nil
	case <-to.done:
	case <-late.C:
	}
	ours.Close()
	theirs.Close()
	return nil, errUnreachable
}
