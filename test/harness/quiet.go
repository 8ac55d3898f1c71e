package harness

import (
	"net"
	"syscall"
	"time"
)

// AwaitQuiet waits until everything that was sent to the member so far is
// recorded, at most for patience. Without it a request could be taken for one
// of the next case when the machine is busy.
func (m *Member) AwaitQuiet(patience time.Duration) {
	deadline := time.Now().Add(patience)
	m.acceptBarrier(deadline)
	for !m.quiet() && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
}

// acceptBarrier connects and waits until that is accepted: connections are
// accepted in their order, so all earlier ones are too.
func (m *Member) acceptBarrier(deadline time.Time) {
	probe, err := net.DialTimeout("tcp", Loopback(m.Port), time.Until(deadline))
	if err != nil {
		return
	}
	defer probe.Close()
	self := probe.LocalAddr().String()
	for time.Now().Before(deadline) {
		m.mu.Lock()
		seen := m.lastPeer == self
		m.mu.Unlock()
		if seen {
			return
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// quiet reports whether every connection waits for bytes and has none.
func (m *Member) quiet() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.conns {
		if c != nil && (!c.reading || c.pending()) {
			return false
		}
	}
	return true
}

// pending reports whether the kernel holds bytes that nobody read yet.
func (c *MemberConn) pending() bool {
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	raw.Control(func(fd uintptr) {
		n, _, _ = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return n > 0
}

// watchedConn notes when its reader waits.
type watchedConn struct{ c *MemberConn }

func (w watchedConn) Read(p []byte) (int, error) {
	w.c.setReading(true)
	defer w.c.setReading(false)
	return w.c.Conn.Read(p)
}

func (c *MemberConn) setReading(on bool) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.reading = on
}
