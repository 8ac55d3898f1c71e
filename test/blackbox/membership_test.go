package blackbox

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestAgentLeaves: SIGINT lets a stock agent leave; its member is removed
// within 2 s and nothing fails meanwhile.
func TestAgentLeaves(t *testing.T) {
	eachSerf(t, func(t *testing.T, serf string) {
		s := newSite(t)
		j := startSite(t, s)
		leaver := harness.StartMember(t, "leaver", nil)
		stayer := harness.StartMember(t, "stayer", nil)
		a := agent(t, serf, "leaver", s.gossip, "domain=as.shared.domain", fmt.Sprintf("http=%d", leaver.Port))
		agent(t, serf, "stayer", s.gossip, "domain=as.shared.domain", fmt.Sprintf("http=%d", stayer.Port))
		awaitState(t, j, "leaver", "up", 10*time.Second)
		awaitState(t, j, "stayer", "up", 10*time.Second)
		l := startLoad(s.http, "as.example.com")
		l.reach(t, 100)

		a.Signal(syscall.SIGINT)
		took := awaitState(t, j, "leaver", "gone", 2*time.Second)
		before := len(leaver.Requests())
		l.more(t, 200)
		l.stopClean(t)
		if n := len(leaver.Requests()) - before; n > loadConns {
			t.Errorf("the member that left got %d more requests", n)
		}
		t.Logf("removed %v after SIGINT", took.Round(time.Millisecond))
	})
}

// TestAgentAndApplicationKilled: after the first refused connection nothing
// is sent to the address any more, neither while the member is ejected nor
// when gossip has declared it failed.
func TestAgentAndApplicationKilled(t *testing.T) {
	eachSerf(t, func(t *testing.T, serf string) {
		s := newSite(t)
		j := startSite(t, s)
		victim := harness.StartMember(t, "victim", nil)
		stayer := harness.StartMember(t, "stayer", nil)
		a := agent(t, serf, "victim", s.gossip, "domain=as.shared.domain", fmt.Sprintf("http=%d", victim.Port))
		agent(t, serf, "stayer", s.gossip, "domain=as.shared.domain", fmt.Sprintf("http=%d", stayer.Port))
		awaitState(t, j, "victim", "up", 10*time.Second)
		awaitState(t, j, "stayer", "up", 10*time.Second)
		l := startLoad(s.http, "as.example.com")
		l.reach(t, 200)

		a.Kill()
		victim.Close()
		eventually(t, 5*time.Second, "a refused connection takes victim out", func() bool {
			byID, _ := members(t, j)
			return byID["victim"].State != "up"
		})
		ghost := countRequests(t, victim.Port)
		l.more(t, 1000)
		eventually(t, 20*time.Second, "gossip knows that victim failed", func() bool {
			_, body := j.Get("/api/v1/overview")
			return strings.Contains(strings.ReplaceAll(body, " ", ""), `"failed":1`)
		})
		l.more(t, 1000)
		l.stopClean(t)
		// A request may have chosen the victim before another one was refused.
		if n := ghost.Load(); n >= loadConns {
			t.Errorf("the killed member's address got %d requests after the first refused connection", n)
		}
	})
}

// countRequests takes connections at a port, answers none, and counts the
// requests: all but what active checks ask.
func countRequests(t *testing.T, port int) *atomic.Int64 {
	t.Helper()
	ln, err := net.Listen("tcp", harness.Loopback(port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	n := &atomic.Int64{}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				line, _ := bufio.NewReader(c).ReadString('\n')
				if line != "" && line != "OPTIONS * HTTP/1.1\r\n" {
					n.Add(1)
				}
			}()
		}
	}()
	return n
}

// TestHybridMembership: static and gossiping members serve one domain; one
// that is known both ways is one member, with the configuration's values.
func TestHybridMembership(t *testing.T) {
	t.Parallel()
	serf := moduleSerf(t)
	s := newSite(t)
	fixed := harness.StartMember(t, "fixed", nil)
	conf := strings.Replace(s.conf(), "membership:\n", fmt.Sprintf(`membership:
  static:
    - {id: fixed, domain: as.shared.domain, host: 127.0.0.1, http: %d, weight: 3}
`, fixed.Port), 1)
	j := harness.Start(t, conf, harness.WithFile("tenants.csv", "acme.com,7\n"))
	gossiping := harness.StartMember(t, "gossiping", nil)
	agent(t, serf, "gossiping", s.gossip, "domain=as.shared.domain", fmt.Sprintf("http=%d", gossiping.Port), "weight=3")
	agent(t, serf, "fixed-too", s.gossip, "domain=as.shared.domain", fmt.Sprintf("http=%d", fixed.Port), "weight=9")
	awaitState(t, j, "gossiping", "up", 10*time.Second)

	eventually(t, 5*time.Second, "both members answer", func() bool {
		web(s.http, "as.example.com", "/").do(t)
		return len(fixed.Requests()) > 0 && len(gossiping.Requests()) > 0
	})
	eventually(t, 10*time.Second, "gossip knows three nodes", func() bool {
		_, body := j.Get("/api/v1/overview")
		return strings.Contains(strings.ReplaceAll(body, " ", ""), `"alive":3`)
	})
	byID, _ := members(t, j)
	if len(byID) != 2 {
		t.Fatalf("members are %v, want fixed and gossiping", byID)
	}
	if m := byID["fixed"]; m.Source != "static" || m.Weight != 3 {
		t.Errorf("fixed is %+v, want the configuration's values", m)
	}
}

// TestBadTags: a node with tags that cannot be used is left out, with the
// reason, and harms nobody else.
func TestBadTags(t *testing.T) {
	t.Parallel()
	serf := moduleSerf(t)
	s := newSite(t)
	j := startSite(t, s)
	good := harness.StartMember(t, "good", nil)
	f := func(name, tag string) {
		agent(t, serf, name, s.gossip, "domain=as.shared.domain", tag)
	}
	f("no-port", "zone=z")
	f("bad-port", "http=70000")
	f("bad-host", "host=not-an-ip")
	f("own-listener", fmt.Sprintf("http=%d", s.http))
	agent(t, serf, "good", s.gossip, "domain=as.shared.domain", fmt.Sprintf("http=%d", good.Port))
	agent(t, serf, "bystander", s.gossip, "role=database") // no tags of ours: no member, no complaint
	awaitState(t, j, "good", "up", 10*time.Second)
	eventually(t, 10*time.Second, "four nodes are left out", func() bool {
		byID, rejected := members(t, j)
		return len(byID) == 1 && len(rejected) == 4
	})
	_, rejected := members(t, j)
	for _, name := range []string{"no-port", "bad-port", "bad-host", "own-listener"} {
		if rejected[name] == "" {
			t.Errorf("%s is left out without a reason", name)
		}
		if n := strings.Count(j.Log(), rejected[name]); n > 1 {
			t.Errorf("%s is reported %d times", name, n)
		}
	}
	if g := web(s.http, "as.example.com", "/").do(t); g.String() != "200 good GET /" {
		t.Errorf("the good member does not serve: %s", g)
	}
}

// TestEncryptedGossip: with a key from `jetway keygen gossip` only those who
// have it take part.
func TestEncryptedGossip(t *testing.T) {
	eachSerf(t, func(t *testing.T, serf string) {
		key := run(t, 0, "keygen", "gossip")
		s := newSite(t)
		bind := fmt.Sprintf(`{bind: "127.0.0.1:%d"`, s.gossip)
		conf := strings.Replace(s.conf(), bind, bind+", key_file: gossip.key", 1)
		j := harness.Start(t, conf, harness.WithFile("tenants.csv", "acme.com,7\n"), harness.WithFile("gossip.key", key))
		m := harness.StartMember(t, "m", nil)
		start := func(name string, more ...string) {
			args := append([]string{"agent", "-node=" + name, "-profile=local", "-bind=" + harness.Loopback(harness.FreePort(t)),
				"-rpc-addr=" + harness.Loopback(harness.FreePort(t)), "-retry-join=" + harness.Loopback(s.gossip), "-retry-interval=1s",
				"-tag", "domain=as.shared.domain", "-tag", fmt.Sprintf("http=%d", m.Port)}, more...)
			harness.StartTool(t, serf, args...)
		}
		start("stranger")
		start("friend", "-encrypt="+strings.TrimSpace(key))
		awaitState(t, j, "friend", "up", 10*time.Second)
		if byID, _ := members(t, j); len(byID) != 1 {
			t.Errorf("members are %v, want friend only", byID)
		}
	})
}
