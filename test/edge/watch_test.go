package edge

import (
	"sync"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestAnswerAsWatchBegins: answers that come just when Jetway begins to watch
// its client, 100 ms after the request, on a busy machine. The connection must
// carry the next request all the same.
func TestAnswerAsWatchBegins(t *testing.T) {
	s, _, _ := edge(t, func(c *harness.MemberConn, r *harness.Request) {
		time.Sleep(98*time.Millisecond + time.Duration(r.Conn%40)*100*time.Microsecond)
		harness.Echo(c, r)
	}, func(s *site) { s.timeouts = "connect: 10s, response_header: 10s, drain: 1s" })
	length := 3 * time.Second
	if long() {
		length = 20 * time.Second
	}
	end := time.Now().Add(length)
	var wg sync.WaitGroup
	for range 400 {
		wg.Go(func() {
			c := harness.Dial(t, s.addr())
			for n := 1; time.Now().Before(end); n++ {
				if a, status := ask(t, c, get("/")); status != 200 {
					t.Errorf("request %d of a connection: %d %.100q", n, status, a.Body)
					return
				}
			}
		})
	}
	wg.Wait()
}
