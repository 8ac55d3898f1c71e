package proxy

import (
	"io"
	"net"
	"sync"
	"syscall"
	"unsafe"
)

// sock reads and writes a TCP connection with the system calls for sockets,
// and without telling the scheduler: they never block, and each costs the
// less. One goroutine at a time may read, and one write.
type sock struct {
	*net.TCPConn
	raw      syscall.RawConn
	recvStep func(fd uintptr) bool
	sendStep func(fd uintptr) bool
	in, out  transfer
}

// transfer is one read or write under way.
type transfer struct {
	buf    []byte
	n      int
	errno  syscall.Errno
	pool   *sync.Pool // lends buf for as long as there is something to read
	lent   *[]byte
	before []byte // to be sent first; nothing is to be read before
	sent   int
}

// fast returns c itself where there is nothing faster.
func fast(c net.Conn) net.Conn {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return c
	}
	s := &sock{TCPConn: t, raw: raw}
	s.recvStep, s.sendStep = s.recv, s.send
	return s
}

// Read implements net.Conn.
func (s *sock) Read(b []byte) (int, error) {
	s.in = transfer{buf: b}
	return s.read()
}

// readLate reads into a buffer of the pool, which is not taken before there is
// something to read. Without bytes nothing is lent.
func (s *sock) readLate(pool *sync.Pool) (lent *[]byte, n int, err error) {
	s.in = transfer{pool: pool}
	n, err = s.read()
	return s.in.lent, n, err
}

// ask writes b and then reads into in as readLate does, in one operation:
// while b is not sent there cannot be an answer, so nothing is tried in vain.
// It returns how much of b was sent and why it was not all. An error of the
// read alone is readErr.
func (s *sock) ask(b []byte, in *input) (n int, err, readErr error) {
	s.in = transfer{pool: in.pool, before: b}
	got, readErr := s.read()
	if n = s.in.sent; n == len(b) {
		in.borrowed(s.in.lent, got)
		return n, nil, readErr
	}
	if s.in.errno != 0 {
		return n, s.in.errno, nil
	}
	rest, err := s.Write(b[n:]) // it takes no more now, or the read's deadline was over already
	return n + rest, err, nil
}

func (s *sock) read() (int, error) {
	err := s.raw.Read(s.recvStep)
	t := &s.in
	t.buf, t.before = nil, nil
	switch {
	case err != nil:
		return 0, err
	case t.errno != 0:
		return 0, t.errno
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// recv is one look at the socket; false waits until it may be readable.
func (s *sock) recv(fd uintptr) bool {
	t := &s.in
	if len(t.before) > 0 {
		return !s.sendBefore(fd)
	}
	if t.pool != nil {
		t.lent = t.pool.Get().(*[]byte)
		t.buf = *t.lent
	}
	t.n, t.errno = receive(fd, t.buf)
	if t.pool != nil && (t.errno != 0 || t.n == 0) {
		t.pool.Put(t.lent)
		t.lent, t.buf = nil, nil
	}
	return t.errno != syscall.EAGAIN
}

// sendBefore reports whether all of it was sent and the answer can be waited for.
func (s *sock) sendBefore(fd uintptr) bool {
	t := &s.in
	n, errno := transmit(fd, t.before)
	if errno != 0 && errno != syscall.EAGAIN {
		t.errno = errno
	}
	t.sent = n
	whole := n == len(t.before)
	t.before = nil
	return whole
}

// Write implements net.Conn.
func (s *sock) Write(b []byte) (int, error) {
	s.out = transfer{buf: b}
	err := s.raw.Write(s.sendStep)
	t := &s.out
	t.buf = nil
	if err == nil && t.errno != 0 {
		err = t.errno
	}
	return t.n, err
}

// send writes what the socket takes; false waits until it takes more.
func (s *sock) send(fd uintptr) bool {
	t := &s.out
	for t.n < len(t.buf) {
		n, errno := transmit(fd, t.buf[t.n:])
		if t.errno = errno; errno != 0 {
			return errno != syscall.EAGAIN
		}
		t.n += n
	}
	return true
}

// receive and transmit are recv(2) and send(2), bare because those of package
// syscall allocate an address.
func receive(fd uintptr, b []byte) (int, syscall.Errno) {
	return transferOf(syscall.SYS_RECVFROM, fd, b, 0)
}

func transmit(fd uintptr, b []byte) (int, syscall.Errno) {
	return transferOf(syscall.SYS_SENDTO, fd, b, syscall.MSG_NOSIGNAL)
}

func transferOf(call, fd uintptr, b []byte, flags uintptr) (int, syscall.Errno) {
	if len(b) == 0 {
		return 0, 0
	}
	for {
		n, _, errno := syscall.RawSyscall6(call, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), flags, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
