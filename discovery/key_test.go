package discovery

import (
	"bytes"
	"encoding/base64"
	"errors"
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

func TestReadKeys(t *testing.T) {
	f := func(content string, mode os.FileMode, want int, wantExposed bool, wantErr string) {
		t.Helper()
		keys, exposed, err := ReadKeys(writeKey(t, content, mode))
		if wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), wantErr) || (len(content) > 8 && strings.Contains(err.Error(), content[:8])) {
				t.Fatalf("%q: %v", content, err)
			}
			return
		}
		if err != nil || len(keys) != want || len(keys[0]) != 32 || exposed != wantExposed {
			t.Fatalf("%q = %v, %v, %v", content, keys, exposed, err)
		}
	}
	one, two := NewKey(), NewKey()
	if one == two {
		t.Fatal("the same key twice")
	}
	f(one, 0o600, 1, false, "")
	f(one+"\n", 0o640, 1, true, "")
	f(one, 0o604, 1, true, "")
	f("# new\n"+one+"\r\n\n# old\n"+two+"\n"+one, 0o600, 2, false, "")
	f("", 0o600, 0, false, "expected base64 of 32 bytes")
	f("# nothing\n", 0o600, 0, false, "expected base64 of 32 bytes")
	f(one[:40], 0o600, 0, false, "expected base64 of 32 bytes")
	f("!"+one, 0o600, 0, false, "expected base64 of 32 bytes")
	f(one+" "+two, 0o600, 0, false, "expected base64 of 32 bytes")
	f(strings.Repeat(one, 1000), 0o600, 0, false, "expected base64 of 32 bytes")
	many := ""
	for range keysMax + 1 {
		many += NewKey() + "\n"
	}
	f(many, 0o600, 0, false, "at most 8")
	if _, _, err := ReadKeys("/nonexistent/gossip.key"); err == nil {
		t.Fatal("a missing file was read")
	}
}

// A rotation is not undone by a restart, unless the key file was changed since.
func TestKeyringIsKept(t *testing.T) {
	dir := t.TempDir()
	one, two, three := NewKey(), NewKey(), NewKey()
	file := writeKey(t, one, 0o600)
	first := func() string {
		t.Helper()
		k, err := newKeyring(file, dir, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		if err := k.keep(); err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(k.ring.GetPrimaryKey())
	}
	if first() != one {
		t.Fatal("not the key of the file")
	}
	if _, err := os.Stat(filepath.Join(dir, ringFile)); err == nil {
		t.Fatal("a copy of the key file is kept")
	}
	k, _ := newKeyring(file, dir, zerolog.Nop())
	raw, _ := base64.StdEncoding.DecodeString(two)
	if err := errors.Join(k.ring.AddKey(raw), k.ring.UseKey(raw), k.keep()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first look writes, the second must find that
		if first() != two {
			t.Fatal("the rotated key is lost")
		}
	}
	if info, _ := os.Stat(filepath.Join(dir, ringFile)); info.Mode().Perm() != 0o600 {
		t.Fatalf("keys are kept with mode %v", info.Mode())
	}
	os.WriteFile(file, []byte(three), 0o600)
	if first() != three {
		t.Fatal("a changed key file is not taken")
	}
	os.WriteFile(filepath.Join(dir, ringFile), []byte("\x00\x01broken"), 0o600)
	if first() != three {
		t.Fatal("a broken file does harm")
	}

	// While it runs: only what changed in the file counts.
	k, _ = newKeyring(file, dir, zerolog.Nop())
	k.ring.AddKey(raw)
	k.ring.UseKey(raw)
	if err := k.reread(); err != nil || !bytes.Equal(k.ring.GetPrimaryKey(), raw) {
		t.Fatalf("an unchanged file undid the rotation: %v", err)
	}
	os.WriteFile(file, []byte(one+"\n"+two), 0o600)
	if err := k.reread(); err != nil || base64.StdEncoding.EncodeToString(k.ring.GetPrimaryKey()) != one || len(k.ring.GetKeys()) != 2 {
		t.Fatalf("the changed file is not in force: %v, %d keys", err, len(k.ring.GetKeys()))
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
		cfg := AgentConfig{Gossip: GossipConfig{Bind: bind, Insecure: true}, Node: "web1", Announcement: Announcement{Member: m}}
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
