package proxy

import (
	"context"
	"encoding/binary"
	"os"
	"sync"
	"syscall"
	"time"
)

// lot keeps client connections that are idle: one epoll instance watches them
// all, so that each costs its descriptor and a map entry, but no goroutine and
// no buffer. The instance itself is watched by the runtime's poller.
type lot struct {
	file   *os.File
	fd     int
	resume func(*clientConn) // makes a goroutine for a connection again

	mu     sync.Mutex // guards all below
	parked map[uint64]*clientConn
	// queues hold who waits how long, new connections and used ones apart: in
	// each all wait equally long, so the first is the next whose time is up.
	// Those that left are skipped.
	queues [2][]ticket
	last   uint64
	closed bool
}

// tickMax is how late one may be ended that was parked while all others wait.
const tickMax = 250 * time.Millisecond

// ticket is a parked connection's place in the queue.
type ticket struct {
	number uint64
	until  time.Time
}

// newLot returns nil where the system gives none: connections then keep their
// goroutine.
func newLot(resume func(*clientConn)) *lot {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return nil
	}
	return &lot{file: os.NewFile(uintptr(fd), "idle connections"), fd: fd, resume: resume, parked: map[uint64]*clientConn{}}
}

// park takes over an idle connection until bytes come or its time is up; the
// caller must not touch it any more. false: it cannot, the caller keeps it.
func (l *lot) park(c *clientConn, until time.Time) bool {
	if l == nil {
		return false
	}
	sc, ok := c.socket.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.last++
	number := l.last
	event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT}
	setNumber(&event, number)
	failed := raw.Control(func(fd uintptr) { err = syscall.EpollCtl(l.fd, syscall.EPOLL_CTL_ADD, int(fd), &event) })
	if failed != nil || err != nil {
		return false
	}
	l.parked[number] = c
	q := &l.queues[0]
	if c.served > 0 {
		q = &l.queues[1]
	}
	*q = append(*q, ticket{number, until})
	return true
}

// setNumber and numberOf use the 64 bits of user data of an event.
func setNumber(e *syscall.EpollEvent, n uint64) {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], n)
	e.Fd = int32(binary.NativeEndian.Uint32(b[:4]))
	e.Pad = int32(binary.NativeEndian.Uint32(b[4:]))
}

func numberOf(e *syscall.EpollEvent) uint64 {
	var b [8]byte
	binary.NativeEndian.PutUint32(b[:4], uint32(e.Fd))
	binary.NativeEndian.PutUint32(b[4:], uint32(e.Pad))
	return binary.NativeEndian.Uint64(b[:])
}

// run wakes connections until ctx ends, then wakes all.
func (l *lot) run(ctx context.Context) {
	if l == nil {
		<-ctx.Done()
		return
	}
	defer l.close()
	stop := context.AfterFunc(ctx, func() { l.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := l.file.SyscallConn()
	if err != nil {
		return
	}
	var events [128]syscall.EpollEvent
	for ctx.Err() == nil {
		l.file.SetReadDeadline(l.next(time.Now().Add(tickMax)))
		if ctx.Err() != nil {
			return
		}
		n := 0
		raw.Read(func(fd uintptr) bool {
			n, _ = syscall.EpollWait(int(fd), events[:], 0)
			return n > 0
		})
		for i := range events[:max(n, 0)] {
			l.wake(numberOf(&events[i]))
		}
		l.expire(time.Now())
	}
}

// next is when the first connection's time is up, at the latest by.
func (l *lot) next(by time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range l.queues {
		if len(q) > 0 && q[0].until.Before(by) {
			by = q[0].until
		}
	}
	return by
}

// wake gives a connection its goroutine back.
func (l *lot) wake(number uint64) {
	l.mu.Lock()
	c := l.takeLocked(number)
	l.mu.Unlock()
	if c != nil {
		l.resume(c)
	}
}

func (l *lot) takeLocked(number uint64) *clientConn {
	c := l.parked[number]
	if c == nil {
		return nil
	}
	delete(l.parked, number)
	if sc, ok := c.socket.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { syscall.EpollCtl(l.fd, syscall.EPOLL_CTL_DEL, int(fd), nil) })
		}
	}
	return c
}

// expire ends the connections whose time is up.
func (l *lot) expire(now time.Time) {
	var ended []*clientConn
	l.mu.Lock()
	for k, q := range l.queues {
		for len(q) > 0 && (l.parked[q[0].number] == nil || !q[0].until.After(now)) {
			if c := l.takeLocked(q[0].number); c != nil {
				ended = append(ended, c)
			}
			q = q[1:]
		}
		l.queues[k] = q
	}
	l.mu.Unlock()
	for _, c := range ended {
		c.end()
	}
}

// wakeIf gives some connections their goroutine back.
func (l *lot) wakeIf(which func(*clientConn) bool) {
	if l == nil {
		return
	}
	var some []*clientConn
	l.mu.Lock()
	for number, c := range l.parked {
		if which(c) {
			some = append(some, l.takeLocked(number))
		}
	}
	l.mu.Unlock()
	for _, c := range some {
		l.resume(c)
	}
}

// close wakes everybody and takes nobody in any more.
func (l *lot) close() {
	l.mu.Lock()
	l.closed = true
	all := make([]*clientConn, 0, len(l.parked))
	for number := range l.parked {
		all = append(all, l.takeLocked(number))
	}
	l.mu.Unlock()
	for _, c := range all {
		l.resume(c)
	}
	l.file.Close()
}
