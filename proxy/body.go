package proxy

import "bytes"

// framing is how the end of a body is found (RFC 9112, 6.3).
type framing uint8

const (
	framingNone framing = iota
	framingLength
	framingChunked
	framingEOF // the end of the connection; answers only
)

const (
	// chunkLineMax bounds a chunk-size line with its extensions.
	chunkLineMax = 256
	// extensionSlack is how many bytes of extensions a body may carry beyond
	// one per payload byte: signed uploads stay below, abuse does not
	// (CVE-2023-39326).
	extensionSlack = 1 << 10
	// trailersMax bounds the trailer section.
	trailersMax = 8 << 10
)

// chunkState is where in the chunked grammar (RFC 9112, 7.1) the next byte is.
type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkData
	chunkEnd // CRLF after the data
	chunkTrailers
)

// body takes a message body out of an input, piece by piece, and holds it to
// its framing. It does no reading of its own.
type body struct {
	in         *input
	framing    framing
	state      chunkState
	left       int64 // bytes of the body, or of the chunk
	payload    int64
	extensions int64
	trailerLen int
	trailers   []byte // complete trailer lines of the message, copied; usually nil
	done       bool
	bad        bool
}

func (b *body) start(in *input, f framing, length int64) {
	*b = body{in: in, framing: f, left: length, trailers: b.trailers[:0]}
	b.done = f == framingNone || f == framingLength && length == 0
}

// take returns the next piece that is there without reading, at most max
// bytes; nil where more must be read, or where the body is done or bad. The
// piece is valid until the next fill of the input.
func (b *body) take(max int) []byte {
	in := b.in
	for !b.done && !b.bad && in.r < in.w {
		switch {
		case b.framing == framingEOF:
			return b.piece(min(in.unread(), max))
		case b.framing == framingLength, b.state == chunkData:
			n := int(min(int64(in.unread()), int64(max), b.left))
			b.left -= int64(n)
			if b.left == 0 {
				b.done = b.framing == framingLength
				b.state = chunkEnd
			}
			return b.piece(n)
		case !b.step():
			return nil
		}
	}
	return nil
}

func (b *body) piece(n int) []byte {
	p := b.in.buf[b.in.r : b.in.r+n]
	b.in.r += n
	b.payload += int64(n)
	return p
}

// step consumes one line of the chunked grammar; false where it is incomplete
// or wrong (then b.bad is set).
func (b *body) step() bool {
	window := b.in.buf[b.in.r:b.in.w]
	if b.state == chunkEnd {
		if window[0] != '\r' || len(window) > 1 && window[1] != '\n' {
			b.bad = true
			return false
		}
		if len(window) == 1 {
			return false
		}
		b.in.r += 2
		b.state = chunkSize
		return true
	}
	limit := chunkLineMax
	if b.state == chunkTrailers {
		limit = trailersMax - b.trailerLen
	}
	i := bytes.IndexByte(window, '\n')
	if i > limit || i < 0 && len(window) > limit {
		b.bad = true
		return false
	}
	if i < 0 {
		cr := bytes.IndexByte(window, '\r')
		b.bad = cr >= 0 && cr < len(window)-1 || b.state == chunkSize && !plausibleChunkLine(window)
		return false
	}
	if i == 0 || window[i-1] != '\r' {
		b.bad = true
		return false
	}
	b.in.r += i + 1
	line := window[:i-1]
	if b.state == chunkSize {
		b.sizeLine(line)
	} else {
		b.trailerLine(line, window[:i+1])
	}
	return !b.bad
}

// plausibleChunkLine judges the beginning of a chunk-size line, so that bytes
// which can never become one are not waited on.
func plausibleChunkLine(b []byte) bool {
	for i, c := range b {
		switch {
		case c == ';' && i > 0:
			return true
		case c == '\r':
			return i > 0 && i == len(b)-1
		case unhexDigit(c) < 0 || i == 16:
			return false
		}
	}
	return true
}

// sizeLine reads 1*HEXDIG [ chunk-ext ]. Extensions are dropped (RFC 9112,
// 7.1.1), but must be visible characters, and few.
func (b *body) sizeLine(line []byte) {
	size := int64(0)
	i := 0
	for ; i < len(line); i++ {
		d := unhexDigit(line[i])
		if d < 0 {
			break
		}
		if i == 16 || size > (1<<63-1)>>4 {
			b.bad = true
			return
		}
		size = size<<4 | int64(d)
	}
	rest := line[i:]
	b.extensions += int64(len(rest))
	if i == 0 || len(rest) > 0 && (rest[0] != ';' || !allOf(rest, valueTable)) ||
		b.extensions > b.payload+extensionSlack {
		b.bad = true
		return
	}
	b.left, b.state = size, chunkData
	if size == 0 {
		b.state = chunkTrailers
	}
}

// trailerLine checks one line of the trailer section and keeps it where it
// may travel on. The empty line ends the body.
func (b *body) trailerLine(line, whole []byte) {
	if len(line) == 0 {
		b.done = true
		return
	}
	b.trailerLen += len(whole)
	colon := bytes.IndexByte(line, ':')
	if colon < 1 || !allOf(line[:colon], tokenTable) || !allOf(trim(line[colon+1:]), valueTable) {
		b.bad = true
		return
	}
	if trailerAllowed(line[:colon]) {
		b.trailers = append(b.trailers, whole...)
	}
}

// trailerAllowed lists the trailers that are forwarded: those whose meaning is
// made for the end of a message, and that no one routes or authorises by (RFC
// 9110, 6.5.1).
func trailerAllowed(name []byte) bool {
	for _, allowed := range [...]string{"digest", "content-digest", "repr-digest", "server-timing", "grpc-status", "grpc-message"} {
		if same(name, allowed) {
			return true
		}
	}
	return false
}
