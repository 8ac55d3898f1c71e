package discovery

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// unavailable skips, or fails where everything must run.
func unavailable(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("JETWAY_REQUIRE_ALL") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// stockAgent is a real `serf agent`.
type stockAgent struct {
	t    *testing.T
	cmd  *exec.Cmd
	serf string
	bind string
	rpc  string
	done chan struct{}
}

// startStock runs `serf agent` with the tags "k=v k=v" until the test ends.
func startStock(t *testing.T, serf, node, tags string, args ...string) *stockAgent {
	t.Helper()
	port := func() string { return "127.0.0.1:" + strconv.Itoa(freePort(t)) }
	a := &stockAgent{t: t, serf: serf, bind: port(), rpc: port(), done: make(chan struct{})}
	if len(args) > 1 && args[0] == "-bind" {
		a.bind, args = args[1], args[2:]
	}
	args = append([]string{"agent", "-node", node, "-bind", a.bind, "-rpc-addr", a.rpc}, args...)
	for _, tag := range strings.Fields(tags) {
		args = append(args, "-tag", tag)
	}
	a.cmd = exec.Command(serf, args...)
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	a.cmd.Stdout, a.cmd.Stderr = &out, &out
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(a.done)
		a.cmd.Wait()
	}()
	t.Cleanup(func() {
		a.cmd.Process.Kill()
		<-a.done
		if t.Failed() {
			t.Logf("serf agent %s:\n%s", node, &out)
		}
	})
	return a
}

func (a *stockAgent) signal(s os.Signal) {
	a.t.Helper()
	if err := a.cmd.Process.Signal(s); err != nil {
		a.t.Fatal(err)
	}
}

func (a *stockAgent) tags(args ...string) {
	a.t.Helper()
	if out, err := exec.Command(a.serf, append([]string{"tags", "-rpc-addr", a.rpc}, args...)...).CombinedOutput(); err != nil {
		a.t.Fatalf("serf tags: %v\n%s", err, out)
	}
}

func TestStockAgentOfDebian(t *testing.T) {
	const debian = "/usr/bin/serf"
	if _, err := os.Stat(debian); err != nil {
		unavailable(t, "no stock agent: apt-get install serf (%v)", err)
	}
	t.Parallel()
	testStockAgent(t, debian)
}

func TestStockAgentOfModule(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	serf := filepath.Join(t.TempDir(), "serf")
	build := exec.Command("go", "build", "-C", "../test/tools", "-o", serf, "github.com/hashicorp/serf/cmd/serf")
	if out, err := build.CombinedOutput(); err != nil {
		unavailable(t, "cannot build the stock agent: %v\n%s", err, out)
	}
	t.Parallel()
	testStockAgent(t, serf)
}

// testStockAgent takes stock agents through all that a member does.
func testStockAgent(t *testing.T, serf string) {
	key := NewKey()
	lb := startGossip(t, "lb1", GossipConfig{KeyFile: writeKey(t, key, 0o600)})
	start := func(node, tags string, args ...string) *stockAgent {
		t.Helper()
		return startStock(t, serf, node, tags, append(args, "-encrypt", key, "-join", lb.addr)...)
	}
	a := start("web1", "domain=d sub_domain=worker http=9763 port.mapping.8280=9764")
	took := lb.wait("web1@d", 10*time.Second)
	t.Logf("joined %v after its start", took)
	lb.mu.Lock()
	m := lb.members[0]
	lb.mu.Unlock()
	if m.Host != "127.0.0.1" || m.HTTP != 9763 || len(m.Ports) != 1 || m.Ports[0].To != 9764 || m.SubDomains[0] != "worker" {
		t.Fatalf("member %+v", m)
	}

	a.tags("-set", "state=draining")
	lb.wait("web1@d!", 5*time.Second)
	a.tags("-delete", "state", "-set", "domain=e")
	lb.wait("web1@e", 5*time.Second)
	a.tags("-set", "http=99999")
	lb.wait("", 5*time.Second)
	if r := lb.Rejected(); len(r) != 1 || r[0].Node != "web1" || !strings.Contains(r[0].Reason, `"99999"`) {
		t.Fatalf("rejected %+v", r)
	}
	a.tags("-set", "http=80")
	lb.wait("web1@e", 5*time.Second)

	b := start("web2", "domain=e http=81")
	start("plain", "dc=eu")
	lb.wait("web1@e web2@e", 10*time.Second)
	within(t, 10*time.Second, func() error {
		if st := lb.Status(); st.Alive != 4 {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
	if r := lb.Rejected(); len(r) != 0 {
		t.Fatalf("rejected %+v", r)
	}
	a.signal(os.Interrupt)
	t.Logf("left %v after SIGINT", lb.wait("web2@e", 2*time.Second))

	b.signal(os.Kill)
	<-b.done
	t.Logf("suspect %v after SIGKILL", lb.wait("web2@e?", 30*time.Second))
	// Another node that announces its id ends it, and it may come back itself.
	c := start("web2b", "domain=e http=82 id=web2")
	t.Logf("replaced after %v", lb.wait("web2@e", 10*time.Second))
	c.signal(os.Interrupt)
	lb.wait("web2@e?", 2*time.Second)
	start("web2", "domain=e http=82", "-bind", b.bind)
	lb.wait("web2@e", 10*time.Second)

	// Without the key there is no way in.
	startStock(t, serf, "rogue", "domain=e http=83", "-retry-join", lb.addr, "-retry-interval", "1s")
	c = start("web3", "domain=e http=84") // what came later is in
	lb.wait("web2@e web3@e", 10*time.Second)
	c.signal(os.Interrupt)
	lb.wait("web2@e", 2*time.Second)
}
