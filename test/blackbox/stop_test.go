package blackbox

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestDrainOnStop: SIGTERM refuses new connections and lets a request in
// flight finish, with Connection: close; then the process exits with 0.
func TestDrainOnStop(t *testing.T) {
	s := newSite(t)
	slow, release := slowMember(t)
	j := harness.Start(t, withSlow(oneMember(s, slow, "a.example.com"), slow.Port))
	c := harness.Dial(t, harness.Loopback(s.http))
	if err := c.Send("GET / HTTP/1.1\r\nHost: slow.example.com\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the request is in flight", func() bool { return len(slow.Requests()) == 1 })

	j.Signal(syscall.SIGTERM)
	eventually(t, 5*time.Second, "new connections are refused", func() bool {
		conn, err := net.Dial("tcp", harness.Loopback(s.http))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	select {
	case <-j.Gone():
		t.Fatal("it ended with a request in flight")
	default:
	}
	close(release)
	a, err := c.Await("GET", 5*time.Second)
	if err != nil || a.Status != 200 {
		t.Fatalf("the request in flight: %v, %+v", err, a)
	}
	if v := harness.Values(a.Fields, "Connection"); len(v) != 1 || v[0] != "close" {
		t.Errorf("Connection is %q, want close", v)
	}
	awaitExit(t, j.Process, 5*time.Second, 0)
}

// TestSecondSignal: another SIGTERM ends the process at once, with 2.
func TestSecondSignal(t *testing.T) {
	s := newSite(t)
	slow, release := slowMember(t)
	defer close(release)
	j := harness.Start(t, withSlow(oneMember(s, slow, "a.example.com"), slow.Port), harness.ExitCode(2))
	c := harness.Dial(t, harness.Loopback(s.http))
	if err := c.Send("GET / HTTP/1.1\r\nHost: slow.example.com\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the request is in flight", func() bool { return len(slow.Requests()) == 1 })
	j.Signal(syscall.SIGTERM)
	eventually(t, 5*time.Second, "it drains", func() bool {
		conn, err := net.Dial("tcp", harness.Loopback(s.http))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	j.Signal(syscall.SIGTERM)
	awaitExit(t, j.Process, time.Second, 2)
}

// TestDrainDeadline: a request that never ends is cut at timeouts.drain.
func TestDrainDeadline(t *testing.T) {
	s := newSite(t)
	slow, release := slowMember(t)
	defer close(release)
	conf := replace(t, withSlow(oneMember(s, slow, "a.example.com"), slow.Port), "drain: 5s", "drain: 1s")
	j := harness.Start(t, conf, harness.ExitCode(1))
	c := harness.Dial(t, harness.Loopback(s.http))
	if err := c.Send("GET / HTTP/1.1\r\nHost: slow.example.com\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the request is in flight", func() bool { return len(slow.Requests()) == 1 })
	j.Signal(syscall.SIGTERM)
	awaitExit(t, j.Process, 4*time.Second, 1)
}

// awaitExit waits for the end of the process and checks its exit code.
func awaitExit(t *testing.T, p *harness.Process, within time.Duration, code int) {
	t.Helper()
	select {
	case <-p.Gone():
	case <-time.After(within):
		t.Fatalf("it did not end within %v", within)
	}
	if got := p.Stop(); got != code {
		t.Errorf("it exited with %d, want %d", got, code)
	}
}

// rename replaces a file of j's directory in one step.
func rename(t testing.TB, j *harness.Jetway, name, content string) {
	t.Helper()
	j.WriteFile(t, name+".new", content)
	if err := os.Rename(filepath.Join(j.Dir, name+".new"), filepath.Join(j.Dir, name)); err != nil {
		t.Fatal(err)
	}
}
