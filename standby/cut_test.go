package standby

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"jetway/balancer/session"
)

// tableOf makes a table of sessions for one node.
func tableOf(t testing.TB, node string, most int) *session.Store {
	t.Helper()
	s, err := session.New(session.Options{Max: most, Node: session.NodeID(node), Replicated: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sessionKey(n int) (k session.Key) {
	h := mix(uint64(n) + 1)
	for i := range 8 {
		k[i], k[8+i] = byte(h>>(8*i)), byte(mix(h)>>(8*i))
	}
	return k
}

func learn(s *session.Store, n int, now time.Time) bool {
	return s.Learn(session.Session{Key: sessionKey(n), Member: session.MemberID("as.domain", fmt.Sprint("w", n%3)), Tenant: uint32(n % 100),
		Timeout: 10 * time.Minute}, now)
}

// equal reports whether two tables hold the same.
func equal(a, b *session.Store) bool {
	for i := range session.Shards {
		if a.Digest(i) != b.Digest(i) {
			return false
		}
	}
	return true
}

// pipeline is two links whose bytes pass through here.
type pipeline struct {
	now   time.Time
	ends  [2]*link
	sent  [2]int // bytes
	cutAt [2]int // bytes after which a direction is dead; 0: never
	dead  bool
}

// exchange carries frames both ways for a number of steps or until a cut.
func (p *pipeline) exchange(t testing.TB, steps int) {
	t.Helper()
	for range steps {
		p.now = p.now.Add(5 * time.Millisecond)
		for from := range p.ends {
			for range 16 {
				f := p.ends[from].next(p.now)
				if f == nil {
					break
				}
				if p.cutAt[from] > 0 && p.sent[from]+len(f) > p.cutAt[from] {
					p.dead = true // a part of a frame arrives, and is nothing
					return
				}
				p.sent[from] += len(f)
				ft, body, err := readFrame(bytes.NewReader(f), nil, frameMax)
				if err == nil {
					err = p.ends[1-from].receive(p.now, ft, body)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestCutAnywhere: wherever an exchange breaks off, after the next connection
// both have the same, and what was deleted stays so.
func TestCutAnywhere(t *testing.T) {
	clock := NewClock()
	status := func() Status { return Status{} }
	hello := func(node string, generation uint64, k Kind) *hello {
		return &hello{node: node, generation: generation, kinds: []kindShards{{k.ID, uint16(k.Shards())}}}
	}
	run := func(direction, cut int) int {
		now := time.Now()
		a, b := tableOf(t, "a", 10_000), tableOf(t, "b", 10_000)
		for n := range 30 {
			learn(a, n, now)
			learn(b, n+20, now) // ten of them on both
		}
		a.Delete(sessionKey(3), now)
		b.Delete(sessionKey(40), now)
		ka, kb := Sessions(a), Sessions(b)
		ma, mb := newMemory(2), newMemory(1)
		connect := func() *pipeline {
			return &pipeline{now: now, ends: [2]*link{
				newLink([]Kind{ka}, hello("b", 2, kb), 1, ma, status, clock, 1<<20, now),
				newLink([]Kind{kb}, hello("a", 1, ka), 2, mb, status, clock, 1<<20, now)}}
		}
		p := connect()
		p.cutAt[direction] = cut
		p.exchange(t, 20)
		total := p.sent[direction]
		a.Delete(sessionKey(25), now)
		learn(b, 60, now)
		p = connect()
		p.exchange(t, 30)
		if !equal(a, b) {
			t.Fatalf("cut of direction %d after %d bytes: the tables differ", direction, cut)
		}
		for _, n := range []int{3, 25, 40} {
			for _, s := range []*session.Store{a, b} {
				if _, ok := s.Get(sessionKey(n), now); ok {
					t.Fatalf("cut of direction %d after %d bytes: deleted session %d is back", direction, cut, n)
				}
			}
		}
		return total
	}
	for direction := range 2 {
		total := run(direction, 0)
		step := 499 // each makes two tables, which is what takes time
		if os.Getenv("JETWAY_LONG") == "1" {
			step = 1
		}
		for cut := 1; cut < total; cut += step {
			run(direction, cut)
		}
		t.Logf("direction %d: cut at every %d of %d bytes", direction, step, total)
	}
}
