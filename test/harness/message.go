package harness

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Field is one header line.
type Field struct{ Name, Value string }

// Values returns the values of every field called name, in order.
func Values(fields []Field, name string) []string {
	var values []string
	for _, f := range fields {
		if strings.EqualFold(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	return values
}

const (
	maxHead = 8 << 20 // of a head that a peer may send
	maxKept = 1 << 20 // of a body that is kept; the rest is counted only
)

var (
	errHeadTooLong = errors.New("head is too long")
	errBareLF      = errors.New("head holds a bare LF")
)

// readHead reads to the blank line, which it includes. It returns io.EOF only
// where not one byte came; whatever was read comes with the error.
func readHead(br *bufio.Reader) ([]byte, error) {
	var head []byte
	for {
		line, err := br.ReadSlice('\n')
		head = append(head, line...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(head) > 0:
			return head, io.ErrUnexpectedEOF
		case err != nil:
			return head, err
		case bytes.HasSuffix(head, []byte("\r\n\r\n")) || len(head) == 2 && head[0] == '\r':
			return head, nil
		case bytes.HasSuffix(head, []byte("\n\n")):
			return head, errBareLF
		}
		if len(head) > maxHead {
			return head, errHeadTooLong
		}
	}
}

// parseHead splits a head into its first line and fields, strictly.
func parseHead(head []byte) (first string, fields []Field, err error) {
	lines := strings.Split(strings.TrimSuffix(string(head), "\r\n\r\n"), "\r\n")
	for i, line := range lines {
		if strings.ContainsAny(line, "\r\n\x00") {
			return "", nil, fmt.Errorf("line %q holds CR, LF or NUL", line)
		}
		if i == 0 {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			return "", nil, fmt.Errorf("%q is no header line", line)
		}
		fields = append(fields, Field{name, strings.Trim(value, " \t")})
	}
	return lines[0], fields, nil
}

func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// framing says how a body ends: chunked, or after length bytes, or (-1) neither.
func framing(fields []Field) (chunked bool, length int64, err error) {
	te, cl := Values(fields, "Transfer-Encoding"), Values(fields, "Content-Length")
	switch {
	case len(te) > 0 && len(cl) > 0:
		return false, 0, errors.New("both Transfer-Encoding and Content-Length")
	case len(te) > 1 || len(cl) > 1:
		return false, 0, errors.New("framing is named twice")
	case len(te) == 1 && !strings.EqualFold(te[0], "chunked"):
		return false, 0, fmt.Errorf("Transfer-Encoding is %q", te[0])
	case len(te) == 1:
		return true, -1, nil
	case len(cl) == 0:
		return false, -1, nil
	}
	n, err := strconv.ParseUint(cl[0], 10, 62)
	if err != nil {
		return false, 0, fmt.Errorf("Content-Length is %q", cl[0])
	}
	return false, int64(n), nil
}

// body collects a message body; what goes past maxKept is only counted.
type body struct {
	Body       []byte
	BodyLen    int64   // all of it, also what is not in Body
	Trailers   []Field // of a chunked body
	Extensions bool    // a chunk had an extension
}

func (b *body) add(p []byte) {
	b.BodyLen += int64(len(p))
	if room := maxKept - len(b.Body); room > 0 {
		b.Body = append(b.Body, p[:min(room, len(p))]...)
	}
}

// readFixed reads exactly n bytes, or to the end where n < 0. keep is called
// with every piece as it comes.
func readFixed(br *bufio.Reader, n int64, keep func([]byte)) error {
	buf := make([]byte, 32<<10)
	for n != 0 {
		p := buf
		if n > 0 && n < int64(len(p)) {
			p = p[:n]
		}
		got, err := br.Read(p)
		keep(p[:got])
		if n > 0 {
			n -= int64(got)
		}
		if errors.Is(err, io.EOF) && n < 0 {
			return nil
		}
		if errors.Is(err, io.EOF) && n > 0 {
			return io.ErrUnexpectedEOF
		}
		if err != nil && n != 0 {
			return err
		}
	}
	return nil
}

// readChunked reads a chunked body and its trailers, strictly (RFC 9112, 7.1).
func readChunked(br *bufio.Reader, b *body, keep func([]byte)) error {
	for {
		line, err := readLine(br)
		if err != nil {
			return err
		}
		size, ext, found := strings.Cut(line, ";")
		b.Extensions = b.Extensions || found || ext != ""
		n, err := strconv.ParseUint(size, 16, 60)
		if err != nil || strings.ContainsAny(size, "+_xX") {
			return fmt.Errorf("chunk size is %q", line)
		}
		if n == 0 {
			break
		}
		if err := readFixed(br, int64(n), keep); err != nil {
			return err
		}
		if line, err = readLine(br); err != nil || line != "" {
			return fmt.Errorf("chunk ends with %q (%w)", line, errors.Join(err))
		}
	}
	for {
		line, err := readLine(br)
		if err != nil || line == "" {
			return err
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			return fmt.Errorf("%q is no trailer", line)
		}
		b.Trailers = append(b.Trailers, Field{name, strings.Trim(value, " \t")})
	}
}

func readLine(br *bufio.Reader) (string, error) {
	line, err := br.ReadString('\n')
	if errors.Is(err, io.EOF) {
		return line, io.ErrUnexpectedEOF
	}
	if err != nil {
		return line, err
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok || strings.ContainsAny(line, "\r\x00") {
		return line, fmt.Errorf("line %q is not ended by CRLF", line)
	}
	return line, nil
}
