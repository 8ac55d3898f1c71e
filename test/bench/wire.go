//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"
)

const (
	sysEpollPwait2  = 441 // on every architecture; nanosecond time-outs, Linux 5.11
	prSetTimerSlack = 29
	readable        = syscall.EPOLLIN | syscall.EPOLLRDHUP
	writable        = syscall.EPOLLOUT
	ended           = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
)

// poller is an epoll instance. Client and members are loops over it and not
// goroutines over net.Conn so that they cost less than what they measure.
type poller struct {
	fd     int
	events [512]syscall.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make a poller: %w", err)
	}
	// Without it the kernel may deliver every time-out 50 µs late.
	syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerSlack, 1, 0)
	return &poller{fd: fd}, nil
}

func (p *poller) add(fd int, events uint32) error {
	return syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

func (p *poller) change(fd int, events uint32) error {
	return syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_MOD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

// wait returns what is ready, after at most so many nanoseconds.
func (p *poller) wait(nanos int64) ([]syscall.EpollEvent, error) {
	limit := syscall.NsecToTimespec(max(nanos, 0))
	n, _, e := syscall.Syscall6(sysEpollPwait2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])),
		uintptr(len(p.events)), uintptr(unsafe.Pointer(&limit)), 0, 0)
	if e == syscall.EINTR {
		return nil, nil
	}
	if e != 0 {
		return nil, fmt.Errorf("cannot poll: %w", e)
	}
	return p.events[:n], nil
}

// again reports whether a call would have blocked.
func again(e syscall.Errno) bool { return e == syscall.EAGAIN || e == syscall.EINTR }

// write sends without blocking and without the scheduler's knowledge.
func write(fd int, p []byte, flags int) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), uintptr(flags|syscall.MSG_NOSIGNAL|syscall.MSG_DONTWAIT), 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

// read receives without blocking; 0 bytes without error is the end.
func read(fd int, p []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), syscall.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

// discard takes up to n bytes off a connection without copying them.
func discard(fd int, n int64) (int, syscall.Errno) {
	got, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), 0, uintptr(min(n, 1<<30)),
		syscall.MSG_DONTWAIT|syscall.MSG_TRUNC, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(got), 0
}

// dial opens a connection to an IPv4 address.
func dial(to netip.AddrPort) (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot make a socket: %w", err)
	}
	syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	limit := syscall.Timeval{Sec: 5}
	syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &limit)
	syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &limit)
	for {
		err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil && err != syscall.EISCONN {
		syscall.Close(fd)
		return -1, fmt.Errorf("cannot connect to %s: %w", to, err)
	}
	return fd, nil
}

// listen opens a listener on a free port of a loopback address.
func listen(host [4]byte) (fd, port int, err error) {
	fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, 0, fmt.Errorf("cannot make a socket: %w", err)
	}
	if err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: host}); err != nil {
		return -1, 0, fmt.Errorf("cannot bind %v: %w", host, err)
	}
	if err = syscall.Listen(fd, 4096); err != nil {
		return -1, 0, fmt.Errorf("cannot listen on %v: %w", host, err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return -1, 0, fmt.Errorf("cannot learn the port: %w", err)
	}
	return fd, name.(*syscall.SockaddrInet4).Port, nil
}
