package discovery

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"jetway/balancer"
)

func writeKey(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gossip.key")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadKey(t *testing.T) {
	f := func(content string, mode os.FileMode, wantExposed bool, wantErr string) {
		t.Helper()
		key, exposed, err := ReadKey(writeKey(t, content, mode))
		if wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), wantErr) || (len(content) > 8 && strings.Contains(err.Error(), content[:8])) {
				t.Fatalf("%q: %v", content, err)
			}
			return
		}
		if err != nil || len(key) != 32 || exposed != wantExposed {
			t.Fatalf("%q = %v, %v, %v", content, key, exposed, err)
		}
	}
	f(NewKey(), 0o600, false, "")
	f(NewKey()+"\n", 0o640, true, "")
	f(NewKey(), 0o604, true, "")
	f("", 0o600, false, "expected base64 of 32 bytes")
	f(NewKey()[:40], 0o600, false, "expected base64 of 32 bytes")
	f("!"+NewKey(), 0o600, false, "expected base64 of 32 bytes")
	f(strings.Repeat(NewKey(), 1000), 0o600, false, "expected base64 of 32 bytes")
	if one, two := NewKey(), NewKey(); one == two {
		t.Fatal("the same key twice")
	}
	if _, _, err := ReadKey("/nonexistent/gossip.key"); err == nil {
		t.Fatal("a missing file was read")
	}
}

func TestNewGossipRefuses(t *testing.T) {
	f := func(cfg GossipConfig, node, want string) {
		t.Helper()
		_, err := NewGossip(cfg, Identity{Node: node}, nil, nil, zerolog.Nop())
		if (want == "" && err != nil) || (want != "" && (err == nil || !strings.Contains(err.Error(), want))) {
			t.Fatalf("%+v: %v, want %q", cfg, err, want)
		}
	}
	key := writeKey(t, NewKey(), 0o600)
	f(GossipConfig{Bind: "127.0.0.1:0"}, "lb1", "")
	f(GossipConfig{Bind: "[::1]:7946"}, "lb1", "")
	f(GossipConfig{Bind: "10.0.0.4:7946", KeyFile: key, Join: []string{"10.0.0.5:7946", "[fd00::1]:7946", "seed.example.com:7946"}}, "lb1", "")
	f(GossipConfig{Bind: ":7946", Insecure: true}, "lb1", "")
	f(GossipConfig{Bind: "10.0.0.4:7946"}, "lb1", "without a key")
	f(GossipConfig{Bind: ":7946"}, "lb1", "without a key")
	f(GossipConfig{Bind: "127.0.0.1:7946", Advertise: "10.0.0.4:7946"}, "lb1", "without a key")
	f(GossipConfig{Bind: "127.0.0.1:7946", Advertise: "0.0.0.0:7946"}, "lb1", "advertise")
	f(GossipConfig{Bind: "127.0.0.1"}, "lb1", `gossip bind "127.0.0.1"`)
	f(GossipConfig{Bind: "localhost:1"}, "lb1", "expected ip:port")
	f(GossipConfig{}, "lb1", "gossip bind")
	f(GossipConfig{Bind: "127.0.0.1:0", KeyFile: writeKey(t, "x", 0o600)}, "lb1", "expected base64")
	f(GossipConfig{Bind: "127.0.0.1:0", Join: []string{"10.0.0.5"}}, "lb1", `"10.0.0.5" to join`)
	f(GossipConfig{Bind: "127.0.0.1:0", Join: []string{"name/10.0.0.5:1"}}, "lb1", "to join")
	f(GossipConfig{Bind: "127.0.0.1:0", Join: []string{"10.0.0.5:0"}}, "lb1", "to join")
	f(GossipConfig{Bind: "127.0.0.1:0"}, "", "node name")
	f(GossipConfig{Bind: "127.0.0.1:0"}, "a b", "node name")
}

func TestExposedKeyIsAWarning(t *testing.T) {
	var log bytes.Buffer
	if _, err := checkConfig(GossipConfig{Bind: "127.0.0.1:0", KeyFile: writeKey(t, NewKey(), 0o644)}, zerolog.New(&log)); err != nil || !strings.Contains(log.String(), "read by others") {
		t.Fatalf("%v, logged %s", err, &log)
	}
}

func TestNewAgentRefuses(t *testing.T) {
	f := func(bind string, m balancer.Member, want string) {
		t.Helper()
		cfg := AgentConfig{Gossip: GossipConfig{Bind: bind, Insecure: true}, Node: "web1", Member: m}
		_, err := NewAgent(cfg, zerolog.Nop())
		if (want == "" && err != nil) || (want != "" && (err == nil || !strings.Contains(err.Error(), want))) {
			t.Fatalf("%+v: %v, want %q", m, err, want)
		}
	}
	f("127.0.0.1:0", balancer.Member{Domain: "d", HTTP: 80}, "")
	f("10.0.0.1:0", balancer.Member{Domain: "d", HTTP: 80}, "")
	f(":0", balancer.Member{Domain: "d", HTTP: 80}, "")
	f("127.0.0.1:0", balancer.Member{}, "domain")
	f("127.0.0.1:0", balancer.Member{Domain: "d"}, "without a port")
	f("127.0.0.1:0", balancer.Member{Domain: "d", HTTP: 80, Weight: 2000}, `"weight"`)
	f("127.0.0.1:0", balancer.Member{Domain: "d", HTTP: 80, Host: "example.com"}, `"host"`)
	f("10.0.0.1:0", balancer.Member{Domain: "d", HTTP: 80, Host: "127.0.0.1"}, "loopback")
	long := balancer.Member{Domain: strings.Repeat("a", 60), HTTP: 80}
	for p := range uint16(30) {
		long.Ports = append(long.Ports, balancer.PortMapping{From: 10000 + p, To: 20000 + p})
	}
	f("127.0.0.1:0", long, "at most 512 fit")
}

func TestNetworksHoldOurselves(t *testing.T) {
	f := func(cfg GossipConfig, want string) {
		t.Helper()
		cfg.Insecure = true
		cfg.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}
		s, err := checkConfig(cfg, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		nets, err := s.networks()
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nets {
			if n.String() == want {
				return
			}
		}
		t.Fatalf("%v lacks %s", nets, want)
	}
	f(GossipConfig{Bind: "127.0.0.1:0"}, "10.9.0.0/16")
	f(GossipConfig{Bind: "127.0.0.1:0"}, "127.0.0.1/32")
	f(GossipConfig{Bind: "[::1]:0"}, "::1/128")
	f(GossipConfig{Bind: "0.0.0.0:0", Advertise: "10.8.0.1:0"}, "10.8.0.1/32")
	f(GossipConfig{Bind: "0.0.0.0:0"}, "127.0.0.1/32")
}
