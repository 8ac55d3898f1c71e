package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
	"jetway/balancer/session"
	"jetway/config"
)

// TestSavedSessionsRefused: what cannot be used is kept beside, and the next
// save does not touch it.
func TestSavedSessionsRefused(t *testing.T) {
	dir := t.TempDir()
	key := func(name string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(session.NewSecret()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	start := func(keyFile string) (*sessions, *strings.Builder) {
		var log strings.Builder
		cfg := &config.Config{StateDir: dir, Installation: "default", SessionsMax: 1000}
		s, err := newSessions(cfg, "n", zerolog.New(&log))
		if err != nil {
			t.Fatal(err)
		}
		routing := &balancer.Config{Clusters: []balancer.ClusterConfig{{Key: balancer.Key{Domain: "d", SubDomain: "worker"},
			Affinity: balancer.Affinity{Mode: balancer.AffinityLearn, KeyFile: keyFile}}}}
		if err := s.seal(cfg, routing); err != nil {
			t.Fatal(err)
		}
		s.restore()
		return s, &log
	}
	good, wrong := key("good.key"), key("wrong.key")
	s, _ := start(good)
	s.store.Learn(session.Session{Key: session.Key{1}, Member: 1, Timeout: time.Hour}, time.Now())
	s.save()

	s, log := start(wrong)
	if n := s.store.Stats().Sessions; n != 0 || !strings.Contains(log.String(), `"kept_as"`) || !strings.Contains(log.String(), "another key") {
		t.Fatalf("%d sessions under another key: %s", n, log)
	}
	s.save()
	saved := filepath.Join(dir, savedName)
	if err := os.Rename(saved+refusedEnding, saved); err != nil {
		t.Fatal(err)
	}
	if s, log = start(good); s.store.Stats().Sessions != 1 {
		t.Fatalf("put right, there are %d sessions: %s", s.store.Stats().Sessions, log)
	}
}
