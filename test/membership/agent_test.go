package membership

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// announce runs `jetway member` with arguments.
func announce(t testing.TB, dir string, args ...string) *harness.Process {
	t.Helper()
	return harness.StartToolIn(t, dir, harness.Binary(t), append([]string{"member"}, args...)...)
}

// TestMemberAgent takes `jetway member` through its life: it waits for the
// application, is announced, changed by its file, drained by signal and by a
// failing check, killed, back, and leaves.
func TestMemberAgent(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	j := s.start(t)
	dir := t.TempDir()
	port := harness.FreePort(t)
	file := func(weight int, state string) {
		write(t, filepath.Join(dir, "member.yaml"), fmt.Sprintf(`domain: as.domain
sub_domain: mgt,worker
id: w1
http: %d
weight: %d
state: %s
drain_wait: 200ms
state_dir: state
check: {type: tcp, interval: 100ms, timeout: 500ms, fall: 2, rise: 2}
gossip: {bind: "127.0.0.1:0", join: ["127.0.0.1:%d"]}
`, port, weight, state, s.gossip))
	}
	file(2, "up")
	a := announce(t, dir, "--file=member.yaml")
	eventually(t, patience, "it waits for the application", func() bool { return strings.Contains(a.Log(), "waiting for the application") })
	if byID, _ := members(t, j); len(byID) > 0 {
		t.Fatalf("announced before its application works: %v", byID)
	}
	app := harness.StartMemberAt(t, "app", port, nil)
	awaitMember(t, j, "w1", "is up with weight 2", func(m state) bool { return m.State == "up" && m.Weight == 2 && m.Source == "gossip" })
	serves(t, s.http, "as.example.com", "app")
	serves(t, s.http, "mgt.example.com", "app")

	file(5, "up")
	a.Signal(syscall.SIGHUP)
	awaitMember(t, j, "w1", "has weight 5", func(m state) bool { return m.Weight == 5 && m.State == "up" })
	file(6, "draining") // noticed without a signal
	awaitMember(t, j, "w1", "drains with weight 6", func(m state) bool { return m.Weight == 6 && m.State == "draining" })
	write(t, filepath.Join(dir, "member.yaml"), "domain: [")
	eventually(t, patience, "a bad file is refused", func() bool { return strings.Contains(a.Log(), "member file not taken") })
	file(6, "up")
	awaitState(t, j, "w1", "up")

	a.Signal(syscall.SIGUSR1)
	awaitState(t, j, "w1", "draining")
	a.Signal(syscall.SIGUSR2)
	awaitState(t, j, "w1", "up")

	app.Close()
	awaitState(t, j, "w1", "draining")
	harness.StartMemberAt(t, "app", port, nil)
	awaitState(t, j, "w1", "up")

	a.Kill()
	awaitState(t, j, "w1", "suspect")
	// Without any address to join: it finds back by what it kept.
	a = announce(t, dir, "--file=member.yaml", "--join=127.0.0.1:1")
	awaitState(t, j, "w1", "up")
	a.Signal(syscall.SIGTERM)
	awaitGone(t, j, "w1")
}

// TestSignedMembers: a domain that requires signatures serves through nobody
// else, whatever they have: the gossip key, somebody else's signature, an old
// one. Each is told of once.
func TestSignedMembers(t *testing.T) {
	t.Parallel()
	serf := moduleSerf(t)
	s := newSite(t)
	dir := t.TempDir()
	mustRun(t, dir, "keygen", "domain", "--out", "domain.key")
	mustRun(t, dir, "keygen", "domain", "--out", "rogue.key")
	key := mustRun(t, dir, "keygen", "gossip")
	write(t, filepath.Join(dir, "gossip.key"), key)
	s.gossipMore = ", key_file: gossip.key"
	s.blockMore = "    require_signature: {public_key_file: domain.pub}\n"
	j := s.start(t, harness.WithFile("gossip.key", key), harness.WithFile("domain.pub", read(t, filepath.Join(dir, "domain.pub"))))

	own, stock := harness.StartMember(t, "own", nil), harness.StartMember(t, "stock", nil)
	rogues := harness.StartMember(t, "rogue", nil)
	gossip := []string{"--bind=127.0.0.1:0", "--key-file=gossip.key", fmt.Sprintf("--join=127.0.0.1:%d", s.gossip)}
	member := func(args ...string) *harness.Process {
		return announce(t, dir, append(append([]string{"--domain=as.domain"}, args...), gossip...)...)
	}
	member("--id=own", fmt.Sprintf("--http=%d", own.Port), "--sign-key-file=domain.key")
	sign := func(key, valid string, args ...string) string {
		return mustRun(t, dir, append([]string{"sign", "--key-file=" + key, "--domain=as.domain", "--host=127.0.0.1", "--valid=" + valid}, args...)...)
	}
	good := sign("domain.key", "1h", "--node=stock", fmt.Sprintf("--http=%d", stock.Port))
	stockAgent := startAgent(t, serf, "stock", s.gossip, fmt.Sprintf("domain=as.domain http=%d sig=%s", stock.Port, good), "-encrypt="+key)
	awaitState(t, j, "own", "up")
	awaitState(t, j, "stock", "up")

	port := fmt.Sprintf("http=%d", rogues.Port)
	start := func(name, tags string) {
		startAgent(t, serf, name, s.gossip, "domain=as.domain "+tags, "-encrypt="+key)
	}
	start("bare", port)
	start("thief", fmt.Sprintf("http=%d id=stock sig=%s", rogues.Port, good)) // another's id and signature
	start("forger", port+" sig="+sign("rogue.key", "1h", "--node=forger", "--"+port))
	start("mover", port+" host=127.0.0.2 sig="+sign("domain.key", "1h", "--node=mover", "--"+port)) // signed for another address
	start("noise", port+" sig=1.99.zzz")
	start("loop", port+" host=169.254.1.1")
	eventually(t, patience, "six are left out", func() bool { _, out := members(t, j); return len(out) == 6 })
	for range 200 {
		if got := get(t, s.http, "as.example.com"); got != "200 own GET /" && got != "200 stock GET /" {
			t.Fatalf("got %q", got)
		}
	}
	// Gone and back, and the pool goes on; each is told of once.
	if _, err := run(t, dir, "sign", "--key-file=rogue.pub", "--node=x", "--domain=d", "--host=127.0.0.1", "--http=1"); err == nil {
		t.Error("signed with a public key")
	}
	byID, out := members(t, j)
	for name, reason := range out {
		if n := strings.Count(j.Log(), fmt.Sprintf("%q", name)+`,"address"`); n != 1 {
			t.Errorf("%s is told of %d times: %s", name, n, reason)
		}
	}
	if len(byID) != 2 || len(rogues.Requests()) > 0 {
		t.Errorf("members %v, %d requests to a rogue", byID, len(rogues.Requests()))
	}

	// A tag that changes what was signed takes the right away; the right ones give it back.
	stockAgent.tags("-set", "port.mapping.1=2")
	awaitGone(t, j, "stock")
	stockAgent.tags("-delete", "port.mapping.1", "-set", "weight=3") // weight is not covered
	awaitMember(t, j, "stock", "has weight 3", func(m state) bool { return m.Weight == 3 })

	// The domain's key is rotated: with both, the old ones stay; then only the new one counts.
	both := read(t, filepath.Join(dir, "domain.pub")) + read(t, filepath.Join(dir, "rogue.pub"))
	j.WriteFile(t, "domain.pub", both)
	awaitState(t, j, "forger", "up")
	if byID, _ := members(t, j); byID["own"].State != "up" {
		t.Errorf("the old key is not good any more: %v", byID)
	}
}

// TestSignatureExpires: who lets its signature run out is no member any more.
func TestSignatureExpires(t *testing.T) {
	if !harness.Long() {
		t.Skip("takes a minute: JETWAY_LONG=1")
	}
	t.Parallel()
	serf := moduleSerf(t)
	s := newSite(t)
	dir := t.TempDir()
	mustRun(t, dir, "keygen", "domain", "--out", "domain.key")
	s.blockMore = "    require_signature: {public_key_file: domain.pub}\n"
	j := s.start(t, harness.WithFile("domain.pub", read(t, filepath.Join(dir, "domain.pub"))))
	short := harness.StartMember(t, "short", nil)
	lasting := harness.StartMember(t, "lasting", nil)
	signature := mustRun(t, dir, "sign", "--key-file=domain.key", "--valid=1m", "--domain=as.domain", "--host=127.0.0.1", "--node=short", fmt.Sprintf("--http=%d", short.Port))
	startAgent(t, serf, "short", s.gossip, fmt.Sprintf("domain=as.domain http=%d sig=%s", short.Port, signature))
	announce(t, dir, "--domain=as.domain", "--id=lasting", fmt.Sprintf("--http=%d", lasting.Port), "--sign-key-file=domain.key", "--sign-valid=90s",
		"--bind=127.0.0.1:0", fmt.Sprintf("--join=127.0.0.1:%d", s.gossip))
	awaitState(t, j, "short", "up")
	awaitState(t, j, "lasting", "up")
	end := time.Now().Add(2 * time.Minute)
	eventually(t, 70*time.Second, "the short one runs out", func() bool { byID, _ := members(t, j); return byID["short"].ID == "" })
	short.Take()
	for time.Now().Before(end) {
		if got := get(t, s.http, "as.example.com"); got != "200 lasting GET /" {
			t.Fatalf("got %q", got)
		}
		time.Sleep(200 * time.Millisecond)
	}
	if n := len(short.Requests()); n > 0 {
		t.Errorf("%d requests to a member whose signature ran out", n)
	}
}

// TestKeyRotation: install, use, remove, each proved, over Jetway, an own agent
// and a stock one, while requests go on; a restart takes nothing back.
func TestKeyRotation(t *testing.T) {
	eachSerf(t, func(t *testing.T, serf string) {
		s := newSite(t)
		dir := t.TempDir()
		for _, name := range []string{"old.key", "new.key"} {
			mustRun(t, dir, "keygen", "gossip", "--out", name)
		}
		oldKey, newKey := read(t, filepath.Join(dir, "old.key")), read(t, filepath.Join(dir, "new.key"))
		s.gossipMore = ", key_file: gossip.key"
		j := s.start(t, harness.WithFile("gossip.key", oldKey))
		app := harness.StartMember(t, "app", nil)
		member := func() *harness.Process {
			return announce(t, dir, "--domain=as.domain", "--id=own", fmt.Sprintf("--http=%d", app.Port), "--state-dir=state",
				"--bind=127.0.0.1:0", "--key-file=old.key", fmt.Sprintf("--join=127.0.0.1:%d", s.gossip))
		}
		own := member()
		stock := harness.StartMember(t, "stock", nil)
		startAgent(t, serf, "stock", s.gossip, fmt.Sprintf("domain=as.domain http=%d", stock.Port), "-encrypt="+strings.TrimSpace(oldKey))
		awaitState(t, j, "own", "up")
		awaitState(t, j, "stock", "up")
		keys := func(args ...string) string {
			t.Helper()
			out, err := run(t, dir, append(append([]string{"gossip", "keys"}, args...), "--admin="+j.Admin)...)
			if err != nil {
				return err.Error()
			}
			return out
		}
		has := func(out, want string) {
			t.Helper()
			if !strings.Contains(out, want) {
				t.Fatalf("no %q in:\n%s", want, out)
			}
		}
		has(keys("use", "new.key"), "cannot find key")
		has(keys("list"), "3/3")
		if out := keys("install", "new.key"); strings.Count(out, "3/3") != 2 {
			t.Fatalf("the key is not everywhere:\n%s", out)
		}
		has(keys("remove", "old.key"), "encrypt with key")
		has(keys("use", "new.key"), "in use")
		if out := keys("remove", "old.key"); strings.Count(out, "3/3") != 1 {
			t.Fatalf("the old key is still somewhere:\n%s", out)
		}
		if out := keys("list"); strings.Contains(out, strings.TrimSpace(newKey)) || strings.Contains(j.Log(), strings.TrimSpace(newKey)) {
			t.Error("a key is told")
		}
		// With the old key nobody comes in; those who know better do, over a restart.
		startAgent(t, serf, "late", s.gossip, "domain=as.domain http=1", "-encrypt="+strings.TrimSpace(oldKey))
		for _, state := range []string{filepath.Join(dir, "state"), filepath.Join(j.Dir, "state")} {
			eventually(t, patience, "the rotated keys are kept", func() bool {
				data, _ := os.ReadFile(filepath.Join(state, "gossip.keys"))
				return strings.Contains(string(data), strings.TrimSpace(newKey)) && !strings.Contains(string(data), strings.TrimSpace(oldKey))
			})
		}
		own.Kill()
		awaitState(t, j, "own", "suspect")
		member()
		awaitState(t, j, "own", "up")
		if byID, _ := members(t, j); byID["late"].ID != "" {
			t.Error("a node with the removed key is a member")
		}
		// The operator catches up: the file counts again, and nothing is kept beside it.
		j.WriteFile(t, "gossip.key", newKey)
		eventually(t, patience, "the file is taken", func() bool {
			_, err := os.Stat(filepath.Join(j.Dir, "state", "gossip.keys"))
			return os.IsNotExist(err)
		})
		has(keys("list"), "3/3")
	})
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
