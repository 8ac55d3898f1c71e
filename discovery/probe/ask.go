package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/valyala/fasthttp"

	"jetway/balancer"
)

const (
	// bodyMax is how much of an answer is looked at.
	bodyMax = 64 << 10
	// bufferSize holds the head of an answer; a longer one is a bad answer.
	bufferSize = 16 << 10
	// agent tells applications who asks.
	agent = "jetway-check"
)

// probe makes one check; false where Jetway itself could not. ask wants an
// answer of a check of type tcp, too.
func (p *Prober) probe(ctx context.Context, j *job, t *balancer.CheckTarget, ask bool) (balancer.CheckResult, bool) {
	ctx, cancel := context.WithTimeout(ctx, t.Health.Timeout)
	defer cancel()
	dialer := net.Dialer{KeepAlive: -1}
	conn, err := dialer.DialContext(ctx, "tcp", t.Endpoint.Address)
	if err != nil {
		if ctx.Err() == context.Canceled || ownFault(err) {
			return balancer.CheckResult{}, false
		}
		return balancer.CheckResult{Err: said(err, t), Silent: true, Asked: ask, Refused: errors.Is(err, syscall.ECONNREFUSED)}, true
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	h := &t.Health
	if h.Type == balancer.CheckTLS || t.Endpoint.TLS && (ask || h.Type == balancer.CheckHTTP) {
		c, err := p.handshake(ctx, conn, j, t.Endpoint)
		if err != nil {
			return balancer.CheckResult{Err: said(err, t), Silent: timedOut(err), Asked: true}, true
		}
		conn = c
	}
	r := balancer.CheckResult{Asked: true, Result: "TLS handshake"}
	switch {
	case h.Type == balancer.CheckHTTP:
		r.Result, err = get(conn, t)
	case ask:
		r.Result, err = options(conn, t)
	case h.Type == balancer.CheckTCP:
		r.Result, r.Asked = "connected", false
	}
	if err != nil {
		r.Err, r.Silent = said(err, t), timedOut(err)
	}
	return r, true
}

func (p *Prober) handshake(ctx context.Context, conn net.Conn, j *job, e *balancer.Endpoint) (net.Conn, error) {
	if j.tlsFor != e {
		cfg, err := p.opts.TLS(e)
		if err != nil {
			return nil, err
		}
		j.tls, j.tlsFor = cfg, e
	}
	c := tls.Client(conn, j.tls)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return c, nil
}

// get asks for the path and judges the answer.
func get(conn net.Conn, t *balancer.CheckTarget) (string, error) {
	var req fasthttp.RequestHeader
	var resp fasthttp.Response
	h := &t.Health
	req.SetMethod(fasthttp.MethodGet)
	req.SetRequestURI(h.Path)
	req.SetHost(t.Endpoint.Address)
	if h.Host != "" {
		req.SetHost(h.Host)
	}
	req.SetUserAgent(agent)
	req.Set(fasthttp.HeaderAccept, "*/*")
	req.SetConnectionClose()
	w := bufio.NewWriter(conn)
	if err := req.Write(w); err != nil {
		return "", err
	}
	if err := w.Flush(); err != nil {
		return "", err
	}
	resp.StreamBody = true // a long body is no mistake: only its beginning is looked at
	if err := resp.ReadLimitBody(bufio.NewReaderSize(conn, bufferSize), bodyMax); err != nil {
		return "", err
	}
	defer resp.CloseBodyStream()
	status := resp.StatusCode()
	if !within(status, h.Status) {
		return "", fmt.Errorf("it answered with status %d", status)
	}
	if h.Body != "" {
		text, err := beginning(&resp)
		if err != nil {
			return "", err
		}
		if !bytes.Contains(text, []byte(h.Body)) {
			return "", fmt.Errorf("its answer with status %d does not hold %.60q", status, h.Body)
		}
	}
	return fmt.Sprintf("status %d", status), nil
}

// beginning returns the first bodyMax of the body.
func beginning(resp *fasthttp.Response) ([]byte, error) {
	if s := resp.BodyStream(); s != nil {
		return io.ReadAll(io.LimitReader(s, bodyMax))
	}
	return resp.Body(), nil
}

func within(status int, good []balancer.StatusRange) bool {
	if len(good) == 0 {
		return status >= 200 && status <= 399
	}
	for _, r := range good {
		if status >= r.Lo && status <= r.Hi {
			return true
		}
	}
	return false
}

// options asks for anything at all. OPTIONS * is about the server and none of
// its resources (RFC 9110, 9.3.7), so that it does no harm.
func options(conn net.Conn, t *balancer.CheckTarget) (string, error) {
	_, err := io.WriteString(conn, "OPTIONS * HTTP/1.1\r\nHost: "+t.Endpoint.Address+"\r\nUser-Agent: "+agent+"\r\nConnection: close\r\n\r\n")
	if err != nil {
		return "", err
	}
	var head [12]byte
	n, err := io.ReadFull(conn, head[:])
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return "", errors.New("it closed the connection without an answer")
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return "", err
	case !bytes.HasPrefix(head[:], []byte("HTTP/1.")):
		return "", errors.New("it answered with something else than HTTP")
	}
	return "it answers", nil
}

// said puts an error in the words of those who read it.
func said(err error, t *balancer.CheckTarget) error {
	var op *net.OpError
	switch {
	case timedOut(err):
		return fmt.Errorf("no answer within %s", t.Health.Timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("connection refused")
	case errors.Is(err, syscall.ECONNRESET):
		return errors.New("connection reset")
	case errors.As(err, &op):
		return op.Err
	}
	return err
}

func timedOut(err error) bool {
	var timeout interface{ Timeout() bool } // less than net.Error: fasthttp's have no more
	return errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

// ownFault reports errors that say something about this host, not the member.
func ownFault(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
