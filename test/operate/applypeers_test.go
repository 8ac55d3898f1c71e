package operate

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// pairConf is one configuration for two peers; what differs comes from their
// environments. listener and domain are the parts that tests change.
func pairConf(m *harness.Member, listener, domain string) string {
	return fmt.Sprintf(`loadbalancer:
  name: ${NAME}
  listeners: [{name: http, address: "127.0.0.1:${%s}"}]
  admin: {address: "127.0.0.1:${ADMIN}"}
  timeouts: {connect: 20s}
membership:
  static:
    - {id: w1, domain: shop, host: 127.0.0.1, http: %d}
standby: {listen: "127.0.0.1:${STANDBY}", peers: ["127.0.0.1:${PEER}"], key_file: peer.key}
tenants: {directory: {file: tenants.csv}}
services:
  shop: {hosts: [%s], domains: {shop: {%s}}}
`, listener, m.Port, host, domain)
}

// pair is two peers that know each other.
type pair struct {
	a, b site
	m    *harness.Member
	dir  string
	env  []string // of the command: that of a
	busy int      // the port that b is told to take and cannot
}

func startPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{m: harness.StartMember(t, "w1", nil), dir: t.TempDir()}
	var ports [8]int
	for i := range ports {
		ports[i] = harness.FreePort(t)
	}
	key := run(t, 0, "keygen", "peer")
	boot := func(i int) site {
		own, other := ports[4*i:4*i+4], ports[4*(1-i):4*(1-i)+4]
		env := []string{"NAME=" + []string{"a", "b"}[i], fmt.Sprint("HTTP=", own[0]), fmt.Sprint("ADMIN=", own[1]), fmt.Sprint("STANDBY=", own[2]),
			fmt.Sprint("PEER=", other[2]), fmt.Sprint("OTHER=", own[3])}
		if i == 0 {
			p.env = env
		}
		s := site{port: own[0], member: p.m}
		s.Jetway = harness.Start(t, pairConf(p.m, "HTTP", ""), harness.WithFile("tenants.csv", "acme,42\n"), harness.WithFile("peer.key", key),
			harness.WithEnv(env...), harness.AwaitTCP(harness.Loopback(own[1])))
		s.Admin = harness.Loopback(own[1])
		return s
	}
	p.a, p.b = boot(0), boot(1)
	p.busy = ports[7]
	// What the command is run beside: it checks nothing there by itself.
	for _, s := range []site{p.a, p.b} {
		eventually(t, "the peers know each other", func() bool {
			_, text := s.Get("/api/v1/peers")
			return strings.Contains(text, `"connected": true`) && strings.Contains(text, `"same_config": true`)
		})
	}
	return p
}

func (p *pair) file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(p.dir, "new.conf")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// versions returns those that each says of itself and of its peer, one behind
// the other; all are equal or the test fails.
func (p *pair) version(t *testing.T) string {
	t.Helper()
	var version string
	eventually(t, "all tell the same version", func() bool {
		seen := map[string]bool{}
		same := 0
		for _, s := range []site{p.a, p.b} {
			var own struct {
				Version string `json:"config_version"`
			}
			var all struct {
				Peers []struct {
					Same bool `json:"same_config"`
				}
			}
			_, text := s.Get("/api/v1/overview")
			_, peers := s.Get("/api/v1/peers")
			if json.Unmarshal([]byte(text), &own) != nil || json.Unmarshal([]byte(peers), &all) != nil || len(all.Peers) != 1 {
				return false
			}
			seen[own.Version] = true
			version = own.Version
			if all.Peers[0].Same {
				same++
			}
		}
		return len(seen) == 1 && same == 2
	})
	return version
}

// TestApplyToPeers: peers that found each other get a file all or none, in
// whatever way one of them cannot take it.
func TestApplyToPeers(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	first := p.version(t)
	apply := func(code int, text string) string {
		t.Helper()
		return runWith(t, code, p.env, "apply", "-c", p.file(t, text), "--admin", p.a.Admin)
	}
	out := apply(0, pairConf(p.m, "HTTP", "retry: {attempts: 4}"))
	second := p.version(t)
	if second == first || strings.Count(out, "applied") != 2 || strings.Count(out, second) != 2 {
		t.Fatalf("applied: version %s, before %s\n%s", second, first, out)
	}
	for _, s := range []site{p.a, p.b} {
		if out := run(t, 0, "status", "--admin", s.Admin); !strings.Contains(out, second) {
			t.Errorf("status lacks the version %s:\n%s", second, out)
		}
	}
	unchanged := func(what, out, says string) {
		t.Helper()
		if now := p.version(t); now != second || !strings.Contains(out, says) {
			t.Errorf("%s: version %s, before %s; expected %q in\n%s", what, now, second, says, out)
		}
		for _, s := range []site{p.a, p.b} {
			if text := readFile(t, filepath.Join(s.Dir, "loadbalancer.conf")); text != pairConf(p.m, "HTTP", "retry: {attempts: 4}") {
				t.Errorf("%s: a file changed:\n%s", what, text)
			}
			if a := s.ask(t, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); a.Status != 200 {
				t.Errorf("%s: %d", what, a.Status)
			}
		}
	}
	// One refuses: only a has the file that the configuration names.
	p.a.WriteFile(t, "ca.pem", certificate)
	unchanged("one refuses", apply(1, pairConf(p.m, "HTTP", "member_tls: {ca_file: ca.pem}")), "nothing was changed")
	// One fails when it does it: the port of its listener is taken.
	taken, err := net.Listen("tcp", harness.Loopback(p.busy))
	if err != nil {
		t.Fatal(err)
	}
	unchanged("one cannot bind", apply(1, pairConf(p.m, "OTHER", "retry: {attempts: 4}")), "the others go back")
	taken.Close()
	// One is not there.
	p.b.Stop()
	eventually(t, "a misses its peer", func() bool {
		_, text := p.a.Get("/api/v1/peers")
		return !strings.Contains(text, `"connected": true`)
	})
	if out := apply(1, pairConf(p.m, "HTTP", "")); !strings.Contains(out, "is not connected") {
		t.Errorf("one is down: %s", out)
	}
	time.Sleep(50 * time.Millisecond)
	if text := readFile(t, filepath.Join(p.a.Dir, "loadbalancer.conf")); text != pairConf(p.m, "HTTP", "retry: {attempts: 4}") {
		t.Errorf("one is down, and the other's file changed:\n%s", text)
	}
}
