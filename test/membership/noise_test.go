package membership

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestNoise: random bytes, and real packets of this very pool, whole and
// truncated, go to the gossip port for a minute, where it is encrypted with
// flipped bits, too. Nothing changes: not the list, not the table, not one
// request, and Jetway takes part in gossip as before.
func TestNoise(t *testing.T) {
	t.Parallel()
	t.Run("encrypted", func(t *testing.T) { t.Parallel(); noise(t, true) })
	t.Run("plain", func(t *testing.T) { t.Parallel(); noise(t, false) })
}

func noise(t *testing.T, encrypted bool) {
	serf := moduleSerf(t)
	s := newSite(t)
	r := newRelay(t, s.gossip)
	s.gossipMore = fmt.Sprintf(`, advertise: "%s"`, r.address)
	var options []harness.Option
	var more []string
	if encrypted {
		key := mustRun(t, "", "keygen", "gossip")
		s.gossipMore += ", key_file: gossip.key"
		options, more = append(options, harness.WithFile("gossip.key", key)), append(more, "-encrypt="+key)
	}
	j := s.start(t, options...)
	// An application each: where two announce the same address, the newer one
	// ends what is kept of one that gossip lost, as a flood may make it do.
	tags := func() string {
		return fmt.Sprintf("domain=as.domain http=%d", harness.StartMember(t, "app", nil).Port)
	}
	// Everything that could do harm when it is played again: a join, changed
	// tags, a good-bye, a return.
	stay := startAgent(t, serf, "stays", r.port, tags()+" weight=2", more...)
	awaitMember(t, j, "stays", "has weight 2", func(m state) bool { return m.Weight == 2 })
	stay.tags("-set", "weight=3")
	awaitMember(t, j, "stays", "has weight 3", func(m state) bool { return m.Weight == 3 })
	stay.tags("-set", "weight=4")
	awaitMember(t, j, "stays", "has weight 4", func(m state) bool { return m.Weight == 4 })
	tagsOfBack := tags()
	back := startAgent(t, serf, "back", r.port, tagsOfBack, more...)
	awaitState(t, j, "back", "up")
	back.Signal(syscall.SIGINT)
	awaitGone(t, j, "back")
	<-back.Gone()
	startAgentAt(t, serf, "back", back.bind, r.port, tagsOfBack+" weight=5", more...)
	awaitMember(t, j, "back", "has weight 5", func(m state) bool { return m.State == "up" && m.Weight == 5 })
	gone := startAgent(t, serf, "gone", r.port, tags(), more...)
	awaitState(t, j, "gone", "up")
	gone.Signal(syscall.SIGINT)
	awaitGone(t, j, "gone")
	time.Sleep(time.Second) // what is still under way comes to rest
	packets, streams := r.recorded()
	if len(packets) < 10 || len(streams) < 2 {
		t.Fatalf("recorded %d packets and %d streams", len(packets), len(streams))
	}

	shape := func() string {
		byID, rejected := members(t, j)
		text := ""
		for _, id := range []string{"stays", "back", "gone"} {
			text += fmt.Sprintf("%s %d %s; ", id, byID[id].Weight, byID[id].State)
		}
		return fmt.Sprintf("%d %d %s", len(byID), len(rejected), text)
	}
	before, built := shape(), generation(t, j)
	l := startLoad(t, harness.Loopback(s.http))
	length := 4 * time.Second
	if harness.Long() {
		length = time.Minute
	}
	sent := flood(t, s.gossip, packets, streams, encrypted, length, func() {
		if now := shape(); now != before {
			t.Fatalf("members became %q, were %q", now, before)
		}
	})
	if now := generation(t, j); now != built {
		t.Errorf("the table was rebuilt: generation %v, was %v", now, built)
	}
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d requests failed: %v", n, l.first.Load())
	}
	// It still listens: who comes now is in, who changes is heard.
	startAgent(t, serf, "late", r.port, tags(), more...)
	awaitState(t, j, "late", "up")
	stay.tags("-set", "weight=6")
	awaitMember(t, j, "stays", "has weight 6", func(m state) bool { return m.Weight == 6 })
	t.Logf("%d packets and streams of noise in %v, %d requests served, 0 failed", sent, length, l.good.Load())
	if n := strings.Count(j.Log(), "\n"); n > 2000 {
		t.Errorf("%d lines logged", n)
	}
}

// flood sends noise to a gossip port and looks now and then.
func flood(t *testing.T, port int, packets, streams [][]byte, flip bool, length time.Duration, look func()) (sent int) {
	t.Helper()
	udp, err := net.Dial("udp", harness.Loopback(port))
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	random := rand.New(rand.NewPCG(1, 2))
	spoil := func(p []byte) []byte {
		p = append([]byte(nil), p...)
		switch random.IntN(4) {
		case 0: // as it was
		case 1:
			p = p[:random.IntN(len(p)+1)]
		case 2:
			if !flip {
				break
			}
			for range 1 + random.IntN(8) {
				if len(p) > 0 {
					p[random.IntN(len(p))] ^= 1 << random.IntN(8)
				}
			}
		case 3:
			p = make([]byte, random.IntN(1500))
			for i := range p {
				p[i] = byte(random.Uint32())
			}
		}
		return p
	}
	looked := time.Now()
	for end := looked.Add(length); time.Now().Before(end); sent++ {
		udp.Write(spoil(packets[random.IntN(len(packets))])) // refused is not for us to judge
		if sent%20 == 0 {
			tcp(port, spoil(streams[random.IntN(len(streams))]))
			time.Sleep(5 * time.Millisecond)
		}
		if time.Since(looked) > 500*time.Millisecond {
			look()
			looked = time.Now()
		}
	}
	look()
	return sent
}

// tcp sends bytes on a connection of their own and hangs up.
func tcp(port int, content []byte) {
	conn, err := net.DialTimeout("tcp", harness.Loopback(port), time.Second)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	conn.Write(content)
}

// generation is how often the routing table was rebuilt.
func generation(t testing.TB, j *harness.Jetway) int {
	t.Helper()
	var v struct {
		Generation int `json:"generation"`
	}
	_, body := j.Get("/api/v1/overview")
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	return v.Generation
}
