package discovery

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// guard stands between the network and memberlist where gossip is encrypted,
// and drops messages in the oldest form of encryption, 0. The byte that says
// which form it is, is not authenticated: whoever has seen one packet of the
// pool can set it to 0, and memberlist (0.7.0, decryptPayload) then takes a
// random byte for the length of a padding and panics, in a goroutine that
// nobody can recover. No key is needed for that. No protocol version that Serf
// speaks sends form 0.
type guard struct {
	*memberlist.NetTransport
	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{} // nobody takes packets and streams any more
	over    chan struct{} // and none come
	once    sync.Once
	dropped func()
}

const (
	oldEncryption   = 0  // memberlist's encryptionVersion 0
	encryptedStream = 10 // memberlist's encryptMsg, before a length of 4 bytes and the encryption version
	encryptedAt     = 5
)

var errOldEncryption = errors.New("cannot take message in the oldest form of encryption")

func newGuard(nt *memberlist.NetTransport, dropped func()) *guard {
	g := &guard{NetTransport: nt, packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), done: make(chan struct{}), over: make(chan struct{}), dropped: dropped}
	go g.pass()
	return g
}

// pass hands packets and streams on until Shutdown, and then takes those that
// still come: the transport waits until it is rid of them.
func (g *guard) pass() {
	g.handOn()
	for {
		select {
		case <-g.over:
			return
		case <-g.NetTransport.PacketCh():
		case c := <-g.NetTransport.StreamCh():
			c.Close()
		}
	}
}

func (g *guard) handOn() {
	for {
		select {
		case <-g.done:
			return
		case p := <-g.NetTransport.PacketCh():
			if len(p.Buf) > 0 && p.Buf[0] == oldEncryption {
				g.dropped()
				continue
			}
			select {
			case g.packets <- p:
			case <-g.done:
				return
			}
		case c := <-g.NetTransport.StreamCh():
			select {
			case g.streams <- &guardedConn{Conn: c, dropped: g.dropped}:
			case <-g.done:
				c.Close()
				return
			}
		}
	}
}

// PacketCh implements memberlist.Transport.
func (g *guard) PacketCh() <-chan *memberlist.Packet { return g.packets }

// StreamCh implements memberlist.Transport.
func (g *guard) StreamCh() <-chan net.Conn { return g.streams }

// DialAddressTimeout implements memberlist.NodeAwareTransport: what comes back
// on a stream of ours is as hostile.
func (g *guard) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	c, err := g.NetTransport.DialAddressTimeout(a, timeout)
	if err != nil {
		return nil, err
	}
	return &guardedConn{Conn: c, dropped: g.dropped}, nil
}

// Shutdown implements memberlist.Transport.
func (g *guard) Shutdown() error {
	var err error
	g.once.Do(func() {
		close(g.done)
		err = g.NetTransport.Shutdown()
		close(g.over)
	})
	return err
}

// guardedConn looks at the head of a stream.
type guardedConn struct {
	net.Conn
	dropped func()
	head    [encryptedAt + 1]byte
	seen    int
}

// Read implements net.Conn; one goroutine reads.
func (c *guardedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.seen == len(c.head) {
		return n, err
	}
	c.seen += copy(c.head[c.seen:], p[:n])
	if c.seen == len(c.head) && c.head[0] == encryptedStream && c.head[encryptedAt] == oldEncryption {
		c.dropped()
		return 0, errOldEncryption
	}
	return n, err
}
