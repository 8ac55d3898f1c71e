package proxy

import (
	"bufio"
	"io"
	"net"

	"github.com/pires/go-proxyproto"
)

// readProxyHeader reads the PROXY protocol header and takes the client's
// address from it. The connection returned gives what was read ahead first.
func (c *clientConn) readProxyHeader(st *listenerState) (net.Conn, error) {
	r := bufio.NewReaderSize(c.socket, headBuffer)
	if err := awaitProxyLine(r); err != nil {
		return nil, err
	}
	header, err := proxyproto.Read(r)
	if err != nil {
		return nil, err
	}
	if addr := addrOf(header.SourceAddr); header.Command == proxyproto.PROXY && addr.IsValid() {
		c.addr = addr
	}
	ahead := make([]byte, r.Buffered())
	if _, err := io.ReadFull(r, ahead); err != nil {
		return nil, err
	}
	if st.tls == nil {
		c.in.buf = make([]byte, max(headBuffer, len(ahead)))
		c.in.w = copy(c.in.buf, ahead)
		return c.socket, nil
	}
	return &aheadConn{c.socket, ahead}, nil
}

// proxyLineMax is the longest header of version 1 (PROXY protocol, 2.1).
const proxyLineMax = 107

// awaitProxyLine reads until the line of a version 1 header is whole: the
// library wants it in one piece, but senders may split it.
func awaitProxyLine(r *bufio.Reader) error {
	for n := 1; n <= proxyLineMax; n++ {
		b, err := r.Peek(n)
		if err != nil {
			return err
		}
		if b[0] != 'P' || b[n-1] == '\n' {
			return nil
		}
	}
	return nil
}

// aheadConn gives bytes that were read ahead before what its connection gives.
type aheadConn struct {
	net.Conn
	ahead []byte
}

func (c *aheadConn) Read(p []byte) (int, error) {
	if len(c.ahead) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.ahead)
	c.ahead = c.ahead[n:]
	return n, nil
}
