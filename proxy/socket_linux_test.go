package proxy

import (
	"net"
	"syscall"
	"testing"
)

// TestInherited: what listeners are told holds for accepted connections.
func TestInherited(t *testing.T) {
	lc := listenConfig()
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := dial(t, l.Addr().String())
	defer c.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	raw, err := accepted.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	f := func(name string, level, option, want int) {
		t.Helper()
		raw.Control(func(fd uintptr) {
			if got, err := syscall.GetsockoptInt(int(fd), level, option); err != nil || got != want {
				t.Errorf("%s is %d (%v), want %d", name, got, err, want)
			}
		})
	}
	f("SO_KEEPALIVE", syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
	f("TCP_KEEPIDLE", syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, keepAliveSeconds)
	f("TCP_KEEPINTVL", syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, keepAliveSeconds)
	f("TCP_NODELAY", syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	f("TCP_NOTSENT_LOWAT", syscall.IPPROTO_TCP, tcpNotSentLowat, notSentMax)
}
