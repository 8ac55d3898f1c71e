package cli

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"jetway/config"
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
