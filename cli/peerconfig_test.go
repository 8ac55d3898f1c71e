package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jetway/admin"
	"jetway/config"
	"jetway/standby"
)

// TestConfigEpoch: the epoch of a configuration is kept with its file, so that
// it survives a restart, and what is ordered is bounded.
func TestConfigEpoch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "loadbalancer.conf")
	const text = "loadbalancer:\n  listeners: [{address: \"127.0.0.1:8280\"}]\nservices:\n  app:\n    domains:\n      d: {hosts: [a.example.com]}\n"
	ordered := uint64(time.Now().Add(time.Hour).UnixMilli()) // by a host whose clock is ahead
	at, err := epochTime(ordered)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(file, []byte(text), at); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := configEpoch(c); got != ordered {
		t.Errorf("epoch %d, want %d", got, ordered)
	}
	if _, err := epochTime(uint64(time.Now().Add(epochAhead + time.Hour).UnixMilli())); err == nil {
		t.Error("an epoch of the far future is taken")
	}
	if now, err := epochTime(0); err != nil || time.Since(now) > time.Minute {
		t.Errorf("no epoch is %v, %v", now, err)
	}
}

// TestDifferingConfigs: whoever looks at one load balancer is told which peers
// have another configuration.
func TestDifferingConfigs(t *testing.T) {
	all := []standby.PeerView{
		{Name: "lb2", Connected: true, Version: "v1", Config: "aa", SameConfig: true, ConfigState: "same"},
		{Name: "lb3", Connected: true, Version: "v1", Config: "bb", ConfigState: standby.ConfigNewer},
		{Name: "lb4", Version: "v1", Config: "cc", ConfigState: standby.ConfigNewer},
		{Name: "lb5", Connected: true}, // it has not said yet
	}
	list := differing(all)
	if len(list) != 1 || list[0] != "lb3 has version bb (newer)" {
		t.Fatalf("%q", list)
	}
	var out strings.Builder
	if err := printOverview(&out, &admin.Overview{Version: "aa", Differ: list}, time.Now()); err != nil || !strings.Contains(out.String(), "DIFFERS: "+list[0]) {
		t.Fatalf("%v:\n%s", err, out.String())
	}
}
