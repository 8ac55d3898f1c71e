package edge

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

func tryDial(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, 10*time.Second) }

// TestReloadListeners: listeners come and go under load; not a request fails
// on those that stay, and those that come serve at once.
func TestReloadListeners(t *testing.T) {
	t.Parallel()
	s, j, _ := edge(t, nil, nil)
	l := startLoad(t, s.addr(), get("/"), 4, 2*time.Millisecond)
	for i := range 10 {
		extra := harness.FreePort(t)
		with := *s
		with.listeners = fmt.Sprintf("    - {name: extra%d, address: \"127.0.0.1:%d\"}\n", i, extra)
		mustReload(t, j, with.String())
		want(t, harness.Loopback(extra), get("/"), 200)
		mustReload(t, j, s.String())
		if !refused(harness.Loopback(extra)) {
			t.Fatal("the removed listener still accepts")
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	with := *s
	with.listeners = fmt.Sprintf("    - {name: taken, address: %q}\n", taken.Addr())
	with.service = "    hosts: [b.test]\n"
	with.services = strings.Replace(with.services, "a.test", "b.test", 1)
	if ok, reason := tryReload(t, j, strings.Replace(with.String(), "    hosts: [a.test]\n", "", 1)); ok || !strings.Contains(reason, taken.Addr().String()) {
		t.Errorf("a taken address: ok %v, %s", ok, reason)
	}
	want(t, s.addr(), get("/"), 200)
	l.stopClean(t)
}

// TestLongReload: ten reloads a second under load: no request fails, and
// memory stays flat.
func TestLongReload(t *testing.T) {
	length := 3 * time.Second
	if long() {
		length = 30 * time.Second
	}
	ca := newAuthority(t, "ca")
	m, other := harness.StartMember(t, "m", nil), harness.StartMember(t, "other", nil)
	s, opts := secureSite(t, m, "", map[string]pair{"site": ca.issue(t, nil, "a.test")}, "site")
	plain := harness.FreePort(t)
	s.listeners = fmt.Sprintf("    - {name: plain, address: \"127.0.0.1:%d\"}\n", plain)
	s.timeouts = "drain: 5s"
	j := s.start(t, opts...)
	confs := [2]string{s.String(), ""}
	s.member, s.limits, s.service = other.Port, "header_bytes: 16KiB", s.service+"    rewrite: {location: true}\n"
	s.services = "  more:\n    hosts: [\"*.more.test\"]\n    domains: {e: {}}\n"
	confs[1] = s.String()
	l := startLoad(t, harness.Loopback(plain), get("/"), 4, time.Millisecond)
	l.reach(t, 100)
	var rss []int64
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	reloads := 0
	for start := time.Now(); time.Since(start) < length; <-tick.C {
		replace(t, j, confs[reloads%2])
		j.Signal(syscall.SIGHUP)
		reloads++
		if reloads%10 == 0 {
			rss = append(rss, j.RSS()>>20)
		}
	}
	l.stopClean(t)
	if ok, _, reason := lastReload(t, j); !ok {
		t.Errorf("the last reload: %s", reason)
	}
	done := strings.Count(j.Log(), "configuration reloaded")
	t.Logf("%d signals, %d reloads, %d requests, RSS in MiB %v, p99 %v", reloads, done, l.done.Load(), rss, l.p99())
	if strings.Contains(j.Log(), "not reloaded") || done < reloads*8/10 {
		t.Error("reloads failed or were lost")
	}
	if half := rss[len(rss)/2]; long() && rss[len(rss)-1] > half+half/4+8 {
		t.Errorf("memory grows: %v MiB", rss)
	}
}

// replace puts a file in place of the configuration, as an operator's tool
// does: there is no moment at which half of it stands there.
func replace(t testing.TB, j *harness.Jetway, conf string) {
	t.Helper()
	j.WriteFile(t, "next.conf", conf)
	if err := os.Rename(j.Dir+"/next.conf", j.Dir+"/loadbalancer.conf"); err != nil {
		t.Fatal(err)
	}
}

// TestUnprivilegedPort: as a user without rights but CAP_NET_BIND_SERVICE,
// Jetway serves port 80. It happens in a network namespace of its own.
func TestUnprivilegedPort(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	for _, tool := range []string{"unshare", "setpriv", "ip", "curl", "sh"} {
		harness.RequireTool(t, tool)
	}
	dir, err := os.MkdirTemp("", "jetway-port80-") // t.TempDir is for its owner only
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, err := os.ReadFile(harness.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, nil)
	s.port = 80
	s.services = "" // no member is up: Jetway's own answer is enough
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(dir+"/jetway", binary, 0o755), os.WriteFile(dir+"/lb.conf", []byte(s.String()), 0o644)); err != nil {
		t.Fatal(err)
	}
	user := "--reuid=65534 --regid=65534 --clear-groups --no-new-privs"
	script := `ip link set lo up && cd ` + dir + ` || exit 9
sysctl -qw net.ipv4.ip_unprivileged_port_start=80 2>/dev/null; echo 1024 > /proc/sys/net/ipv4/ip_unprivileged_port_start 2>/dev/null
setpriv ` + user + ` ./jetway run -c lb.conf; echo "without: $?"
setpriv ` + user + ` --inh-caps=+net_bind_service --ambient-caps=+net_bind_service ./jetway run -c lb.conf & pid=$!
for i in 1 2 3 4 5 6 7 8 9 10; do curl -s --retry 5 --retry-connrefused --retry-delay 1 -o /dev/null -w 'served: %{http_code}\n' -H 'Host: unknown.test' http://127.0.0.1/ && break; done
grep -E 'Uid|CapEff' /proc/$pid/status
kill -TERM $pid; wait $pid; echo "stopped: $?"`
	p := harness.StartTool(t, harness.RequireTool(t, "unshare"), "--net", "sh", "-c", script)
	select {
	case <-p.Gone():
	case <-time.After(20 * time.Second):
		t.Error("it does not end")
	}
	for _, line := range []string{"without: 1", "served: 404", "stopped: 0", "CapEff:\t0000000000000400"} {
		if !strings.Contains(p.Log(), line) {
			t.Errorf("no line %q in\n%s", line, p.Log())
		}
	}
}
