package httpcases

import (
	"fmt"
	"strings"
	"time"
)

// newCanary sends a canary on a new connection.
func (b *bench) newCanary(s *seen) {
	c, err := b.dial()
	if err != nil {
		s.canary = fmt.Sprintf("no new connection: %v", err)
		return
	}
	defer c.Close()
	nonce := b.next()
	c.Send(canaryRequest(nonce))
	a, err := c.Await("GET", max(b.patient, 5*time.Second))
	if err != nil || a.Status != 200 || string(a.Body) != "t1 GET /canary-"+nonce {
		s.canary = fmt.Sprintf("%s; canary %s on a new connection got %d %.100q (%v)", s.canary, nonce, a.Status, a.Body, err)
	}
}

// collect waits until nothing is under way at the members and takes what they
// recorded. text is what was sent.
func (b *bench) collect(s *seen, text string) {
	for name, m := range b.members {
		host := name // of the service; the others' members are looked at once
		if name[0] != 't' {
			host = name[:1]
		}
		if name == "t1" || strings.Contains(text, host+".lb.test") {
			m.AwaitQuiet(time.Second)
		}
	}
	for deadline := time.Now().Add(5 * time.Second); b.underWay() && time.Now().Before(deadline); {
		time.Sleep(2 * time.Millisecond)
	}
	counts := map[string]int{}
	for _, r := range b.take() {
		switch {
		case strings.Contains(r.Line, "/canary-") || strings.Contains(r.Line, "/before-"):
			if counts[r.Line]++; counts[r.Line] > 1 {
				s.canary = "a canary came twice: " + r.Line
			}
			s.canaries = append(s.canaries, r)
		default:
			s.requests = append(s.requests, r)
		}
	}
}

func (b *bench) underWay() bool {
	for _, m := range b.members {
		for _, r := range m.Requests() {
			if !r.Complete && r.Err == nil {
				return true
			}
		}
	}
	return false
}
