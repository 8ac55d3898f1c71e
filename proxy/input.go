package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
)

// input is the read side of a connection with what was read ahead. The bytes
// not yet consumed are buf[r:w]; those below floor are still pointed to and
// are not moved or overwritten.
type input struct {
	conn     net.Conn
	pool     *sync.Pool // lends buf when there is something to read; nil: buf is given
	lent     *[]byte    // the pool's own, buf unless that grew
	buf      []byte
	r, w     int
	floor    int
	consumed int64 // by fill, for minimum rates
}

// errFull: the buffer may not grow further.
var errFull = errors.New("buffer full")

// fill reads once more from the connection. The buffer grows up to limit.
func (in *input) fill(limit int) error {
	if in.buf == nil {
		return in.fillFirst()
	}
	if in.r == in.w {
		in.r, in.w = in.floor, in.floor
	}
	if in.w == len(in.buf) && in.r > in.floor {
		in.w = in.floor + copy(in.buf[in.floor:], in.buf[in.r:in.w])
		in.r = in.floor
	}
	if in.w == len(in.buf) {
		if len(in.buf) >= limit {
			return errFull
		}
		grown := make([]byte, min(2*len(in.buf), limit))
		copy(grown, in.buf[:in.w])
		in.buf = grown
	}
	n, err := in.conn.Read(in.buf[in.w:])
	in.w += n
	in.consumed += int64(n)
	if n > 0 {
		return nil // an error shows again at the next read
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// fillFirst reads into a borrowed buffer. While it waits it needs none, where
// the connection can do that.
func (in *input) fillFirst() error {
	s, ok := in.conn.(*sock)
	if !ok {
		lent := in.pool.Get().(*[]byte)
		n, err := in.conn.Read(*lent)
		in.borrowed(lent, n)
		if n > 0 {
			return nil
		}
		return err
	}
	lent, n, err := s.readLate(in.pool)
	in.borrowed(lent, n)
	return err
}

// borrowed takes over a buffer of the pool with n bytes in it, nil for none.
func (in *input) borrowed(lent *[]byte, n int) {
	if lent == nil {
		return
	}
	in.lent, in.buf = lent, *lent
	in.r, in.w, in.floor = 0, n, 0
	in.consumed += int64(n)
}

// release gives a borrowed buffer back; what is unread in it is lost, and
// nobody may point into it any more.
func (in *input) release() {
	if in.lent != nil {
		in.pool.Put(in.lent)
	}
	in.lent, in.buf = nil, nil
	in.r, in.w, in.floor = 0, 0, 0
}

// rebuffer moves the unread bytes into another buffer, which must be large
// enough, and returns the old one; what pointed into that stays valid until
// its new owner writes.
func (in *input) rebuffer(buf []byte) (old []byte) {
	old = in.buf
	n := copy(buf, in.buf[in.r:in.w])
	in.buf, in.r, in.w, in.floor = buf, 0, n, 0
	return old
}

// unread is the number of bytes read ahead.
func (in *input) unread() int { return in.w - in.r }
