package proxy

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// deadlines is a connection that remembers when it was told to end a read.
type deadlines struct {
	net.Conn
	at []time.Time
}

func (d *deadlines) SetReadDeadline(time.Time) error {
	d.at = append(d.at, time.Now())
	return nil
}

// TestAlarm: who waits is woken about watchAfter later, and nobody else is.
func TestAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a alarm
		conn := func() (*deadlines, *memberConn) {
			d := &deadlines{}
			return d, &memberConn{Conn: d}
		}
		wait := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		// Answers come in time, one connection after the other, for long.
		for range 50 {
			d, mc := conn()
			a.set(mc, time.Now())
			wait(watchAfter / 7)
			a.clear(mc)
			if len(d.at) > 0 || !mc.readBy.IsZero() {
				t.Fatalf("woken after %s", watchAfter/7)
			}
		}
		// One that does not is woken once, and at half of the time at the least.
		for _, pause := range []time.Duration{0, watchAfter / 3, 2 * watchAfter / 3, 10 * watchAfter} {
			wait(pause)
			d, mc := conn()
			began := time.Now()
			a.set(mc, began)
			wait(3 * watchAfter)
			a.clear(mc)
			if len(d.at) != 1 || mc.readBy.IsZero() {
				t.Fatalf("after a pause of %s: woken %d times, deadline %v", pause, len(d.at), mc.readBy)
			}
			if after := d.at[0].Sub(began); after < watchAfter/2 || after > watchAfter {
				t.Fatalf("after a pause of %s: woken after %s", pause, after)
			}
			mc.readUntil(time.Time{})
			if !mc.readBy.IsZero() || len(d.at) != 2 {
				t.Fatal("the deadline in the past stays")
			}
		}
		wait(time.Second)
	})
}
