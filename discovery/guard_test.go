package discovery

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// A packet of the pool with another byte for the form of its encryption would
// end the process: memberlist panics. Nobody needs the key to make it.
func TestGuard(t *testing.T) {
	nt, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	dropped := make(chan struct{}, 10)
	g := newGuard(nt, func() { dropped <- struct{}{} })
	defer g.Shutdown()
	_, port, _ := g.FinalAdvertiseAddr("127.0.0.1", nt.GetAutoBindPort())
	addr := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}).String()
	udp, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	udp.Write([]byte{0, 1, 2})
	udp.Write([]byte{1, 2, 3})
	select {
	case p := <-g.PacketCh():
		if p.Buf[0] != 1 {
			t.Fatalf("passed % x", p.Buf)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the good packet did not pass")
	}
	<-dropped
	stream := func(content ...byte) (read int, err error) {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Write(content[:3]) // in pieces
		time.Sleep(time.Millisecond)
		c.Write(content[3:])
		in := <-g.StreamCh()
		defer in.Close()
		in.SetReadDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 16)
		for read < len(content) && err == nil {
			var n int
			n, err = in.Read(buf)
			read += n
		}
		return read, err
	}
	if n, err := stream(10, 0, 0, 0, 9, 1, 7, 7); n != 8 || err != nil {
		t.Fatalf("a good stream: %d bytes, %v", n, err)
	}
	if n, err := stream(10, 0, 0, 0, 9, 0, 7, 7); n > 5 || err == nil {
		t.Fatalf("a forged stream: %d bytes, %v", n, err)
	}
	<-dropped
}

// TestGuardEnds: packets that come while nobody takes them do not hold up the end.
func TestGuardEnds(t *testing.T) {
	for range 20 {
		nt, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{"127.0.0.1"}})
		if err != nil {
			t.Fatal(err)
		}
		g := newGuard(nt, func() {})
		c, err := net.Dial("udp", net.JoinHostPort("127.0.0.1", strconv.Itoa(nt.GetAutoBindPort())))
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			c.Write([]byte("packet"))
		}
		c.Close()
		ended := make(chan struct{})
		go func() {
			g.Shutdown()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Fatal("the guard did not end")
		}
	}
}
