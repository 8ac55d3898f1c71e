package admin

import (
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// endless is a listener that always has another connection.
type endless struct{ net.Listener }

func (endless) Accept() (net.Conn, error) {
	a, b := net.Pipe()
	b.Close()
	return a, nil
}

// A flood of connections is taken at a steady pace, also by who is turned away.
func TestNewConnectionsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused atomic.Uint64
		l := &cappedListener{Listener: endless{}, refused: &refused, pace: newRate(connectionsPerSecond)}
		taken := 0
		for began := time.Now(); time.Since(began) < 20*time.Second; taken++ {
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		if most := connectionsPerSecond * (20 + burstSeconds + 1); taken > most || taken < connectionsPerSecond*19 {
			t.Fatalf("%d connections in 20 s, want at most %d", taken, most)
		}
	})
}
