package proxy

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// TestHoldNew: whoever begins a connection to the address is not heard, and is
// served once that is over; open connections go on, and so do listeners of other
// addresses.
func TestHoldNew(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		t.Run(address, func(t *testing.T) {
			if l, err := net.Listen("tcp", net.JoinHostPort(address, "0")); err != nil {
				t.Skipf("this machine has no %s", address)
			} else {
				l.Close()
			}
			addr := netip.MustParseAddr(address)
			everywhere := "[::]:0"
			if addr.Is4() {
				everywhere = "0.0.0.0:0"
			}
			router := limitedRouter(t, nil, startMember(t, func(c net.Conn) { c.Close() }))
			s, _ := startServer(t, Config{Listeners: []ListenerConfig{{Name: "any", Address: everywhere, PublicPort: 80}},
				Timeouts: Timeouts{Header: 30 * time.Second, Idle: 30 * time.Second, Drain: 30 * time.Second}}, router)
			_, port, _ := net.SplitHostPort(s.Addresses()[0].String())
			served := func(c net.Conn) error {
				c.SetDeadline(time.Now().Add(30 * time.Second))
				if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n")); err != nil {
					return err
				}
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err == nil {
					resp.Body.Close()
				}
				return err
			}
			open := dial(t, net.JoinHostPort(address, port))
			defer open.Close()
			if err := s.HoldNew(addr); err != nil {
				t.Fatal(err)
			}
			var timeout net.Error
			if _, err := net.DialTimeout("tcp", net.JoinHostPort(address, port), 300*time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Fatalf("while held: %v", err)
			}
			if err := served(open); err != nil {
				t.Errorf("an open connection: %v", err)
			}
			waiting := make(chan error, 1)
			go func() {
				c, err := net.DialTimeout("tcp", net.JoinHostPort(address, port), 30*time.Second)
				if err == nil {
					err = served(c)
					c.Close()
				}
				waiting <- err
			}()
			select {
			case err := <-waiting:
				t.Fatalf("while held: %v", err)
			case <-time.After(100 * time.Millisecond):
			}
			s.AdmitNew()
			if err := <-waiting; err != nil {
				t.Errorf("after it: %v", err)
			}
		})
	}
}
