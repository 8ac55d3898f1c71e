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

// asker sends requests and receives how their answers begin. Its state is that
// of an exchange, so that none of a connection's is touched.
type asker struct {
	transfer
	step func(fd uintptr) bool
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
	s.recvStep, s.sendStep = s.in.recv, s.out.send
	return s
}

// Read implements net.Conn.
func (s *sock) Read(b []byte) (int, error) {
	s.in = transfer{buf: b}
	return s.in.read(s.raw, s.recvStep)
}

// readLate reads into a buffer of the pool, which is not taken before there is
// something to read. Without bytes nothing is lent.
func (s *sock) readLate(pool *sync.Pool) (lent *[]byte, n int, err error) {
	s.in = transfer{pool: pool}
	n, err = s.in.read(s.raw, s.recvStep)
	return s.in.lent, n, err
}

// ask writes b and then reads into mc.in as readLate does, in one operation:
// while b is not sent there cannot be an answer, so nothing is tried in vain.
// It returns how much of b was sent and why it was not all. An error of the
// read alone is readErr.
func (a *asker) ask(mc *memberConn, b []byte) (n int, err, readErr error) {
	if a.step == nil {
		a.step = a.recv
	}
	a.transfer = transfer{pool: mc.in.pool, before: b}
	got, readErr := a.read(mc.raw, a.step)
	if n = a.sent; n == len(b) {
		mc.in.borrowed(a.lent, got)
		a.lent = nil
		return n, nil, readErr
	}
	if a.errno != 0 {
		return n, a.errno, nil
	}
	rest, err := mc.Write(b[n:]) // it takes no more now, or the read's deadline was over already
	return n + rest, err, nil
}

func (t *transfer) read(raw syscall.RawConn, step func(fd uintptr) bool) (int, error) {
	err := raw.Read(step)
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
func (t *transfer) recv(fd uintptr) bool {
	if len(t.before) > 0 {
		return !t.sendBefore(fd)
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
func (t *transfer) sendBefore(fd uintptr) bool {
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
func (t *transfer) send(fd uintptr) bool {
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
