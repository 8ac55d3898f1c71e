package standby

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A frame is its length (4 bytes, little-endian, of what follows), its type
// and its body. Unknown types are skipped. Numbers are little-endian, texts
// have a length of one byte. Bodies of hello and status may be longer than we
// know: newer versions append to them.
type frameType uint8

const (
	frameHello  frameType = 1  // who is there; first on every connection
	frameStatus frameType = 2  // how the sender is doing; also the heartbeat
	framePing   frameType = 3  // asks for a pong once all before it is applied
	framePong   frameType = 4  //
	frameHave   frameType = 5  // how far the sender has learned from the receiver
	frameBegin  frameType = 6  // a shard is walked from its start
	frameChunk  frameType = 7  // records of that walk
	frameDelta  frameType = 8  // records that changed
	frameAck    frameType = 9  // what was applied
	frameResync frameType = 10 // asks to walk a shard
	frameDigest frameType = 11 // sums over shards
	frameBye    frameType = 12 // why the connection ends; nothing follows
)

const (
	magic      = 0x5957544a // "JTWY"
	versionMin = 1          // of the protocol, that we speak
	versionMax = 1

	frameHead = 5 // bytes
	frameMax  = batchBytes + 32<<10
	helloMax  = 4 << 10 // of the first frame, from whom we do not know yet
	textMax   = 255
	kindsMax  = 32
	absent    = ^uint64(0) // in have: nothing is known of that shard
)

var (
	errFrame     = errors.New("malformed frame")
	errOversized = errors.New("frame over the limit")
)

// writer appends to a frame.
type writer struct{ b []byte }

func (w *writer) u8(v uint8)     { w.b = append(w.b, v) }
func (w *writer) u16(v uint16)   { w.b = binary.LittleEndian.AppendUint16(w.b, v) }
func (w *writer) u32(v uint32)   { w.b = binary.LittleEndian.AppendUint32(w.b, v) }
func (w *writer) u64(v uint64)   { w.b = binary.LittleEndian.AppendUint64(w.b, v) }
func (w *writer) bytes(p []byte) { w.b = append(w.b, p...) }

// text writes at most textMax bytes of s.
func (w *writer) text(s string) {
	s = s[:min(len(s), textMax)]
	w.u8(uint8(len(s)))
	w.b = append(w.b, s...)
}

// begin starts a frame and returns where.
func (w *writer) begin(t frameType) int {
	at := len(w.b)
	w.u32(0)
	w.u8(uint8(t))
	return at
}

// end fills in the length of the frame that began at.
func (w *writer) end(at int) {
	binary.LittleEndian.PutUint32(w.b[at:], uint32(len(w.b)-at-4))
}

// reader takes values off a body. After the end of it all are zero and bad is
// set; callers look at it once.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) u8() uint8 {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if p := r.take(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if p := r.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if p := r.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (r *reader) text() string { return string(r.take(int(r.u8()))) }

// uvarint reads a number in groups of seven bits.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// done reports whether everything could be read and nothing is left.
func (r *reader) done() bool { return !r.bad && len(r.b) == 0 }

// readFrame reads the next frame into buf, which it may replace by a larger
// one, and returns its type and body. most bounds the frame.
func readFrame(in io.Reader, buf []byte, most int) (frameType, []byte, error) {
	buf = buf[:cap(buf)]
	if len(buf) < frameHead {
		buf = make([]byte, frameHead, 4<<10)
	}
	if _, err := io.ReadFull(in, buf[:frameHead]); err != nil {
		return 0, buf, err
	}
	n, t := binary.LittleEndian.Uint32(buf), frameType(buf[4])
	switch {
	case n == 0:
		return 0, buf, errFrame
	case n > uint32(most):
		return 0, buf, fmt.Errorf("%w: %d bytes, at most %d", errOversized, n, most)
	}
	body := int(n) - 1
	if body > cap(buf) {
		buf = make([]byte, body)
	}
	buf = buf[:body]
	if _, err := io.ReadFull(in, buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, buf, err
	}
	return t, buf, nil
}
