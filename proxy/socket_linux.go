package proxy

import (
	"net"
	"syscall"
)

const (
	tcpNotSentLowat = 25 // TCP_NOTSENT_LOWAT
	// notSentMax bounds what the system keeps of an answer beyond what is on its
	// way to a client: without it as much as tcp_wmem allows, often 4 MiB, for
	// each client that does not read. What is on its way is not bounded by it,
	// so that far clients get what their line takes, and most answers still fit,
	// which frees their member.
	notSentMax = 256 << 10
	// keepAliveSeconds is after how long a silence, and how often then, a client
	// is asked whether it is still there.
	keepAliveSeconds = 15
)

// listenConfig sets on the listening socket what accepted ones inherit, which
// spares each of them the system calls. Multipath TCP, which is Go's default,
// would not pass the options on.
func listenConfig() *net.ListenConfig {
	lc := &net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			for _, o := range [...]struct{ level, name, value int }{
				{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, keepAliveSeconds},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, keepAliveSeconds},
				{syscall.IPPROTO_TCP, tcpNotSentLowat, notSentMax},
			} {
				syscall.SetsockoptInt(int(fd), o.level, o.name, o.value) // wishes: all work without
			}
		})
	}}
	lc.SetMultipathTCP(false)
	return lc
}
