package harness

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Client is a raw client connection. Its methods are for one goroutine, but
// sending and reading may go on in two.
type Client struct {
	net.Conn
	// OnInterim, where not nil, is called with every interim answer's status
	// as it comes, by the goroutine in Await.
	OnInterim func(status int)

	br *bufio.Reader
}

// Answer is one final answer with what came before it.
type Answer struct {
	Interim []int  // statuses of the interim answers
	Head    []byte // exact bytes of the final head, with the blank line
	Line    string
	Status  int
	Fields  []Field
	Chunked bool
	// Delimited says that the body ended with the connection.
	Delimited bool
	// Complete says that the answer ended as its framing promised; an answer
	// without one of CL and TE is complete at FIN and not at RST.
	Complete bool
	body
}

// Dial connects to addr; the connection ends with the test.
func Dial(t testing.TB, addr string) *Client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return NewClient(conn)
}

// NewClient wraps a connection, TLS or not.
func NewClient(conn net.Conn) *Client {
	return &Client{Conn: conn, br: bufio.NewReaderSize(conn, 16<<10)}
}

// Send writes bytes as they are.
func (c *Client) Send(s string) error {
	_, err := io.WriteString(c.Conn, s)
	return err
}

// SendBytewise writes every byte in a packet of its own.
func (c *Client) SendBytewise(s string) error { return writeBytewise(c.Conn, s) }

// CloseWrite sends FIN and keeps reading.
func (c *Client) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.New("connection has no half-close")
	}
	return half.CloseWrite()
}

// Raw reads n bytes, or less at the end, for what is no answer: a tunnel.
func (c *Client) Raw(n int, patience time.Duration) string {
	c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, n)
	got, _ := io.ReadFull(c.br, buf)
	return string(buf[:got])
}

// Await reads the final answer to a request of this method. io.EOF means that
// the peer closed before the first byte; every other error comes with what
// was read. An answer with 101 ends at its head.
func (c *Client) Await(method string, patience time.Duration) (*Answer, error) {
	c.SetReadDeadline(time.Now().Add(patience))
	a := &Answer{}
	for {
		done, err := c.readAnswerHead(a)
		if err != nil {
			if errors.Is(err, io.EOF) && len(a.Interim) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return a, err
		}
		if done {
			return a, c.readAnswerBody(a, method)
		}
	}
}

// readAnswerHead reads one head and reports whether it is that of the final answer.
func (c *Client) readAnswerHead(a *Answer) (final bool, err error) {
	head, err := readHead(c.br)
	a.Head = head
	if err != nil {
		return false, err
	}
	if a.Line, a.Fields, err = parseHead(head); err != nil {
		return false, err
	}
	if a.Status, err = parseStatusLine(a.Line); err != nil {
		return false, err
	}
	if a.Status >= 200 || a.Status == 101 {
		return true, nil
	}
	a.Interim = append(a.Interim, a.Status)
	if c.OnInterim != nil {
		c.OnInterim(a.Status)
	}
	return false, nil
}

func parseStatusLine(line string) (int, error) {
	rest, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	if !ok {
		rest, ok = strings.CutPrefix(line, "HTTP/1.0 ")
	}
	if !ok || len(rest) < 4 || rest[3] != ' ' {
		return 0, fmt.Errorf("%q is no status line", line)
	}
	status, err := strconv.Atoi(rest[:3])
	if err != nil || status < 100 || status > 599 {
		return 0, fmt.Errorf("%q is no status line", line)
	}
	return status, nil
}

func (c *Client) readAnswerBody(a *Answer, method string) error {
	chunked, length, err := framing(a.Fields)
	if err != nil {
		return err
	}
	a.Chunked = chunked
	if method == "HEAD" || a.Status == 101 || a.Status == 204 || a.Status == 304 {
		a.Complete = true
		return nil
	}
	if chunked {
		err = readChunked(c.br, &a.body, a.add)
	} else {
		a.Delimited = length < 0
		err = readFixed(c.br, length, a.add)
	}
	a.Complete = err == nil
	return err
}

// AwaitEOF reports how the connection ends: nil for FIN, otherwise the error
// (also where bytes come first, or nothing within patience).
func (c *Client) AwaitEOF(patience time.Duration) error {
	c.SetReadDeadline(time.Now().Add(patience))
	b, err := c.br.ReadByte()
	if err == nil {
		c.br.UnreadByte()
		return fmt.Errorf("byte %q instead of the end", b)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
