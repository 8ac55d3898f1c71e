package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// overTLS completes the client's side of a handshake.
func overTLS(conn net.Conn, cfg *tls.Config) (net.Conn, error) {
	c := tls.Client(conn, cfg)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return c, c.HandshakeContext(ctx)
}

// TestLongSlowHTTP attacks with slowhttptest and 4,000 connections, in each of
// its modes, with the default time-outs. A normal client beside it hardly
// notices.
func TestLongSlowHTTP(t *testing.T) {
	onlyLong(t)
	tool := harness.RequireTool(t, "slowhttptest")
	port := startAttacked(t)
	keepToCore(t, 1) // Jetway's alone
	s, j, _ := edge(t, nil, func(s *site) {
		s.services = "  slow:\n    hosts: [\"127.0.0.1\"]\n    domains: {slow: {}}\n"
		s.static = fmt.Sprintf("    - {id: slow, domain: slow, host: 127.0.0.1, http: %d}\n", port)
	})
	keepToCore(t, 0)
	attack := func(name string, args ...string) {
		t.Run(name, func(t *testing.T) { besideAttack(t, s, j, append([]string{tool}, args...)) })
	}
	url := "http://" + s.addr() + "/"
	attack("headers", "-H", "-i", "5", "-x", "24", "-u", url)
	attack("body", "-B", "-i", "5", "-s", "8192", "-x", "10", "-t", "POST", "-u", url)
	attack("read", "-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-u", url+"big")
}

// attackedPort names the variable with which the test runs itself as the member
// that the attacks reach: on a machine of its own in life, so not in the
// process that measures how the others fare.
const attackedPort = "JETWAY_TEST_EDGE_ATTACKED"

func startAttacked(t *testing.T) (port int) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	port = harness.FreePort(t)
	cmd := elsewhere(exe, "-test.run", "^TestAttacked$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", attackedPort, port))
	end, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end.Close(); cmd.Wait() })
	eventually(t, 20*time.Second, "the attacked member listens", func() bool { return !refused(harness.Loopback(port)) })
	return port
}

// elsewhere is a command of the attacker, who in life has a machine of his own.
// Here he gets what nobody else wants of the core that Jetway does not have.
// (With nice alone he would keep it for milliseconds.)
func elsewhere(command ...string) *exec.Cmd {
	return exec.Command("taskset", append([]string{"-c", "0", "chrt", "--idle", "0"}, command...)...)
}

// keepToCore keeps this process, and what it starts from now on, to one core
// until the test ends, before the attack as under it.
func keepToCore(t *testing.T, core int) {
	if runtime.NumCPU() < 2 {
		t.Skip("attacker and attacked would share the only core")
	}
	set := func(cores string) {
		if out, err := exec.Command("taskset", "-a", "-p", "-c", cores, fmt.Sprint(os.Getpid())).CombinedOutput(); err != nil {
			t.Fatalf("taskset: %v\n%s", err, out)
		}
	}
	set(fmt.Sprint(core))
	t.Cleanup(func() { set(fmt.Sprintf("0-%d", runtime.NumCPU()-1)) })
}

// TestAttacked is that member, until its standard input ends.
func TestAttacked(t *testing.T) {
	port := os.Getenv(attackedPort)
	if port == "" {
		t.Skip("a part of TestLongSlowHTTP")
	}
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/big" {
			io.Copy(io.Discard, r.Body)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(8<<20))
		io.CopyN(w, zeros{}, 8<<20)
	}
	srv := &http.Server{Addr: "127.0.0.1:" + port, Handler: http.HandlerFunc(h), ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		c.(*net.TCPConn).SetWriteBuffer(64 << 10) // what waits here is memory of the member's machine, not of Jetway's
		return ctx
	}}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		srv.Close()
	}()
	if err := srv.ListenAndServe(); err != http.ErrServerClosed {
		t.Error(err)
	}
}

// besideAttack measures a normal client before, during and after an attack.
func besideAttack(t *testing.T, s *site, j *harness.Jetway, args []string) {
	l := startLoad(t, s.addr(), get("/"), 8, 4*time.Millisecond)
	time.Sleep(10 * time.Second) // measures what is normal
	before, beginning := l.p99(), l.done.Load()
	args = append(args, "-c", "4000", "-r", "1000", "-l", "30")
	var out bytes.Buffer
	cmd := elsewhere(args...)
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(6 * time.Second) // until all connections are made: that is the attacker's own load
	ramp := l.p99()
	sockets, _ := os.ReadFile("/proc/net/sockstat")
	t.Logf("kernel buffers of all sockets here: %s", strings.Join(strings.Fields(string(sockets)), " "))
	cmd.Wait() // its status tells whether the service was down
	under, done := l.p99(), l.done.Load()-beginning
	page, took := adminGet(harness.Loopback(s.admin), "/metrics")
	eventually(t, 60*time.Second, "the attack is over", func() bool { return metricOf(metrics(s), "jetway_open_connections") == "8" })
	l.p99()
	time.Sleep(10 * time.Second) // and normal again
	after := l.p99()
	t.Logf("%d requests beside it, %d failed (%v), p99 %v before, %v while connecting, %v under attack, %v after; %s connections, RSS %d MiB, admin %v; %s",
		done, l.failed.Load(), l.first.Load(), before, ramp, under, after, metricOf(page, "jetway_open_connections"), j.RSS()>>20, took, summary(out.String()))
	if l.failed.Load()*1000 > done {
		t.Errorf("less than 99.9 %% of the requests succeeded")
	}
	if normal := max(before, after); under > 2*normal {
		t.Errorf("p99 %v, want at most twice %v", under, normal)
	}
	l.cancel()
	l.wg.Wait()
}

func metrics(s *site) string {
	page, _ := adminGet(harness.Loopback(s.admin), "/metrics")
	return page
}

// summary is the last picture that slowhttptest draws, in one line.
func summary(out string) string {
	colours := regexp.MustCompile("\x1b\\[[0-9;]*m")
	var parts []string
	for _, key := range []string{"initializing:", "pending:", "connected:", "error:", "closed:", "service available:"} {
		if i := strings.LastIndex(out, key); i >= 0 {
			line, _, _ := strings.Cut(out[i:], "\n")
			parts = append(parts, strings.Join(strings.Fields(colours.ReplaceAllString(line, "")), " "))
		}
	}
	return strings.Join(parts, ", ")
}
