package standby

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jetway/test/harness"
)

// world is a network of namespaces on one bridge: two hosts with a load
// balancer under keepalived, one with the members, one with the clients.
//
//	10.77.N.1 lb1   10.77.N.2 lb2   10.77.N.9 the virtual address
//	10.77.N.20 the members, on ports 9001 to 9003   10.77.N.100 the clients
type world struct {
	setup
	t       testing.TB
	prefix  string // of the names of namespaces
	net     string // "10.77.N.", or "fd77:N::"
	bits    string // of the network: "/24" or "/64"
	dir     string
	hosts   [2]*host
	members []*nsMember
}

// host is a machine with a load balancer.
type host struct {
	w          *world
	name       string // of the load balancer
	ns         string
	ip         string
	conf       string
	track      string
	guard      *proc
	keepalived *proc
}

const virtualPort = 80

// setup says what a world is like.
type setup struct {
	domain  string // added to the configuration's domain
	more    string // added after it: other domains
	ipv6    bool
	gossip  bool // peers find each other by it
	noAdmin bool // Jetway runs without CAP_NET_ADMIN
}

// newWorld builds the network, starts members, load balancers and keepalived,
// and waits until one has the address and both are warm.
func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, tool := range []string{"ip", "keepalived", "nft"} {
		harness.RequireTool(t, tool)
	}
	id := os.Getpid() % 200
	w := &world{setup: s, t: t, prefix: fmt.Sprintf("jw%d-", os.Getpid()), net: fmt.Sprintf("10.77.%d.", id), bits: "/24", dir: t.TempDir()}
	if s.ipv6 {
		w.net, w.bits = fmt.Sprintf("fd77:%x::", id), "/64"
	}
	w.ip("netns", "add", w.prefix+"sw")
	t.Cleanup(w.remove)
	w.in("sw", "ip", "link", "add", "name", "sw0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
	w.in("sw", "ip", "link", "set", "sw0", "up")
	for ns, ip := range map[string]string{"lb1": "1", "lb2": "2", "mem": "20", "cl": "100"} {
		w.ip("netns", "add", w.prefix+ns)
		w.ip("link", "add", "name", "eth0", "netns", w.prefix+ns, "type", "veth", "peer", "name", "p-"+ns, "netns", w.prefix+"sw")
		w.in("sw", "ip", "link", "set", "p-"+ns, "master", "sw0", "up")
		w.in(ns, "ip", "link", "set", "lo", "up")
		add := []string{"ip", "addr", "add", w.net + ip + w.bits, "dev", "eth0"}
		if w.ipv6 {
			add = append(add, "nodad")
		}
		w.in(ns, add...)
		w.in(ns, "ip", "link", "set", "eth0", "up")
	}
	w.in("cl", "sysctl", "-q", "-w", "net.ipv4.ip_local_port_range=2000 65000")
	for i := range 3 {
		w.members = append(w.members, w.startMember(fmt.Sprintf("w%d", i+1), 9001+i))
	}
	key := peerKey()
	for i := range w.hosts {
		w.hosts[i] = w.newHost(i, key)
	}
	for _, h := range w.hosts {
		h.start()
	}
	eventually(t, "one has the address and both are warm", 60*time.Second, func() error {
		for _, h := range w.hosts {
			if out, err := h.command("health", "--require-warm"); err != nil {
				return fmt.Errorf("%s: %s", h.name, out)
			}
		}
		if n := w.owners(); n != 1 {
			return fmt.Errorf("%d have the address", n)
		}
		return nil
	})
	return w
}

// at returns host:port of a host of the network.
func (w *world) at(host string, port int) string {
	return net.JoinHostPort(w.net+host, strconv.Itoa(port))
}

func (w *world) ip(args ...string) {
	w.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		w.t.Fatalf("ip %s: %v %s", strings.Join(args, " "), err, out)
	}
}

// in runs a command in a namespace.
func (w *world) in(ns string, args ...string) {
	w.t.Helper()
	if out, err := w.try(ns, args...); err != nil {
		w.t.Fatalf("%s: %s: %v %s", ns, strings.Join(args, " "), err, out)
	}
}

func (w *world) try(ns string, args ...string) (string, error) {
	out, err := exec.Command("ip", append([]string{"netns", "exec", w.prefix + ns}, args...)...).CombinedOutput()
	return string(out), err
}

// remove takes the namespaces down, with everything that is left in them.
func (w *world) remove() {
	for _, h := range w.hosts {
		if h != nil {
			h.keepalived.stop()
			h.guard.stop()
		}
	}
	for _, m := range w.members {
		m.close()
	}
	for _, ns := range []string{"lb1", "lb2", "mem", "cl", "sw"} {
		exec.Command("ip", "netns", "del", w.prefix+ns).Run()
	}
	if w.t.Failed() {
		for _, h := range w.hosts {
			if h != nil {
				w.t.Logf("%s:\n%s\n%s", h.name, h.guard.tail(), h.keepalived.tail())
			}
		}
	}
}

// enter moves the calling goroutine's thread into a namespace for good: the
// thread ends with the goroutine.
func (w *world) enter(ns string) error {
	runtime.LockOSThread()
	f, err := os.Open("/run/netns/" + w.prefix + ns)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
}

// within runs f in a namespace.
func (w *world) within(ns string, f func()) {
	w.t.Helper()
	done := make(chan error, 1)
	go func() {
		err := w.enter(ns)
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
}

// nsMember is an application in the members' namespace. It makes a session for
// requests to /login and tells its name.
type nsMember struct {
	name   string
	server *http.Server
	broken atomic.Bool  // it hangs up instead of answering
	asked  atomic.Int64 // requests that reached it
	mu     sync.Mutex   // guards made
	made   int
}

func (w *world) startMember(name string, port int) *nsMember {
	m := &nsMember{name: name}
	var l net.Listener
	var err error
	w.within("mem", func() { l, err = net.Listen("tcp", w.at("20", port)) })
	if err != nil {
		w.t.Fatal(err)
	}
	m.server = &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			m.mu.Lock()
			m.made++
			n := m.made
			m.mu.Unlock()
			http.SetCookie(rw, &http.Cookie{Name: "JSESSIONID", Value: fmt.Sprintf("%s%012x", name, n), Path: "/"})
		}
		m.asked.Add(1)
		if m.broken.Load() {
			panic(http.ErrAbortHandler)
		}
		switch r.URL.Path {
		case "/slow":
			time.Sleep(300 * time.Millisecond)
		case "/long":
			select {
			case <-r.Context().Done():
			case <-time.After(30 * time.Second):
			}
		}
		fmt.Fprint(rw, name)
	})}
	go m.server.Serve(l)
	return m
}

func (m *nsMember) close() { m.server.Close() }

func (w *world) newHost(i int, key string) *host {
	h := &host{w: w, name: fmt.Sprintf("lb%d", i+1), ns: fmt.Sprintf("lb%d", i+1), ip: fmt.Sprint(w.net, i+1)}
	dir := filepath.Join(w.dir, h.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	h.conf, h.track = filepath.Join(dir, "loadbalancer.conf"), filepath.Join(dir, h.name+".track")
	var static strings.Builder
	for j := range 3 {
		for _, domain := range []string{"as.domain", "cookie.domain", "route.domain"} {
			if domain == "as.domain" || strings.Contains(w.more, domain) {
				fmt.Fprintf(&static, "    - {id: w%d, domain: %s, host: \"%s20\", http: %d}\n", j+1, domain, w.net, 9001+j)
			}
		}
	}
	peers, gossip := fmt.Sprintf("%q, %q", w.at("1", 7947), w.at("2", 7947)), ""
	if w.gossip {
		peers = ""
		gossip = fmt.Sprintf("  gossip: {bind: %q, join: [%q, %q], key_file: gossip.key, allowed_cidrs: [\"%s/%s\"]}\n", w.at(strconv.Itoa(i+1), 7946),
			w.at("1", 7946), w.at("2", 7946), w.net+map[bool]string{true: "", false: "0"}[w.ipv6], w.bits[1:])
	}
	text := fmt.Sprintf(`loadbalancer:
  name: %[1]s
  state_dir: %[2]s
  listeners: [{address: %[3]q}]
  admin: {address: "127.0.0.1:9280"}
  timeouts: {drain: 10s}
membership:
%[4]s  static:
%[5]sstandby:
  listen: %[6]q
  peers: [%[7]s]
  key_file: peer.key
  priority: %[8]d
  handover_drain: 500ms
  virtual_address: "%[9]s9%[10]s"
  interface: eth0
services:
  app:
    domains:
      as.domain:
        hosts: [as.example.com]
%[11]s%[12]s`, h.name, dir, w.at("9", virtualPort), gossip, static.String(), w.at(strconv.Itoa(i+1), 7947), peers, 100+10*(1-i), w.net, w.bits, w.domain, w.more)
	for name, content := range map[string]string{"loadbalancer.conf": text, "peer.key": key, "cookie.key": key, "gossip.key": gossipKey} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	return h
}

// start starts the load balancer and keepalived of a host.
func (h *host) start() {
	h.w.t.Helper()
	h.startJetway()
	h.startKeepalived()
}

func (h *host) startJetway() {
	var without []string
	if h.w.noAdmin {
		without = []string{harness.RequireTool(h.w.t, "setpriv"), "--bounding-set=-net_admin"}
	}
	h.guard = h.run(append(without, harness.Binary(h.w.t), "guard", "-c", h.conf)...)
}

func (h *host) startKeepalived() {
	h.w.t.Helper()
	args := []string{"keepalived"}
	if h.w.gossip { // which keepalived does not know
		args = append(args, "--peer", h.w.net+"1", "--peer", h.w.net+"2")
	}
	out, err := h.command(args...)
	if err != nil {
		h.w.t.Fatalf("jetway keepalived: %v %s", err, out)
	}
	dir := filepath.Dir(h.conf)
	file := filepath.Join(dir, "keepalived.conf")
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		h.w.t.Fatal(err)
	}
	h.keepalived = h.run(harness.RequireTool(h.w.t, "keepalived"), "--vrrp", "-n", "-l", "-D", "-f", file,
		"-p", filepath.Join(dir, "ka.pid"), "-r", filepath.Join(dir, "vrrp.pid"))
}

// killKeepalived ends keepalived as the loss of its machine does. Its child
// need not be in its process group, and a pid file that is left lets the next
// one believe that somebody else runs.
func (h *host) killKeepalived() {
	h.w.t.Helper()
	file := filepath.Join(filepath.Dir(h.conf), "vrrp.pid")
	b, _ := os.ReadFile(file)
	child, err := strconv.Atoi(strings.TrimSpace(string(b)))
	h.keepalived.kill()
	if err == nil && child > 0 {
		syscall.Kill(child, syscall.SIGKILL)
		eventually(h.w.t, "keepalived's child is gone", 5*time.Second, func() error {
			if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child)); err == nil && strings.HasPrefix(string(name), "keepalived") {
				return fmt.Errorf("%d is there", child)
			}
			return nil
		})
	}
	os.Remove(file)
}

// command runs jetway on the host.
func (h *host) command(args ...string) (string, error) {
	all := append([]string{harness.Binary(h.w.t), args[0], "-c", h.conf}, args[1:]...)
	return h.w.try(h.ns, all...)
}

// has reports whether the host has the virtual address.
func (h *host) has() bool {
	out, err := h.w.try(h.ns, "ip", "-o", "addr", "show", "dev", "eth0")
	return err == nil && strings.Contains(out, " "+h.w.net+"9/")
}

func (w *world) owners() (n int) {
	for _, h := range w.hosts {
		if h.has() {
			n++
		}
	}
	return n
}

// active returns the host that has the address, and the other.
func (w *world) active() (active, other *host) {
	w.t.Helper()
	if w.hosts[0].has() {
		return w.hosts[0], w.hosts[1]
	}
	return w.hosts[1], w.hosts[0]
}

// settled waits until both are warm, exactly one has the address, and the
// other could take it.
func (w *world) settled() {
	w.t.Helper()
	eventually(w.t, "both hosts are fit and warm", 40*time.Second, func() error {
		for _, h := range w.hosts {
			if out, err := h.command("health", "--require-warm"); err != nil {
				return fmt.Errorf("%s: %s", h.name, out)
			}
			if b, _ := os.ReadFile(h.track); strings.TrimSpace(string(b)) != "0" {
				return fmt.Errorf("%s: track file says %q", h.name, b)
			}
			if !strings.Contains(h.keepalived.lastState(), "BACKUP") && !strings.Contains(h.keepalived.lastState(), "MASTER") {
				return fmt.Errorf("%s: keepalived is %q", h.name, h.keepalived.lastState())
			}
		}
		if n := w.owners(); n != 1 {
			return fmt.Errorf("%d have the address", n)
		}
		return nil
	})
}

// proc is a program in a namespace, with all that it starts.
type proc struct {
	cmd  *exec.Cmd
	mu   sync.Mutex // guards log
	log  bytes.Buffer
	gone chan struct{}
}

func (p *proc) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log.Len() < 8<<20 {
		p.log.Write(b)
	}
	return len(b), nil
}

func (p *proc) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *proc) tail() string {
	s := p.text()
	return s[max(0, len(s)-6000):]
}

// lastState returns the last line of keepalived about its state.
func (p *proc) lastState() string {
	last := ""
	for line := range strings.Lines(p.text()) {
		if strings.Contains(line, "Entering ") {
			last = line
		}
	}
	return last
}

func (h *host) run(args ...string) *proc {
	h.w.t.Helper()
	p := &proc{cmd: exec.Command("ip", append([]string{"netns", "exec", h.w.prefix + h.ns}, args...)...), gone: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		h.w.t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.gone)
	}()
	return p
}

// stop ends the program by SIGTERM, or else by SIGKILL.
func (p *proc) stop() {
	if p == nil {
		return
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.gone:
	case <-time.After(12 * time.Second):
		p.kill()
	}
}

// kill ends the program and its children at once.
func (p *proc) kill() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.gone
}

// jetway returns the process of the load balancer itself, below its guard.
func (p *proc) jetway(t testing.TB) int {
	t.Helper()
	pid := 0
	eventually(t, "guard has a child", 5*time.Second, func() error {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.cmd.Process.Pid))
		for _, task := range tasks {
			b, _ := os.ReadFile(task)
			if _, err := fmt.Sscan(string(b), &pid); err == nil {
				return nil
			}
		}
		return fmt.Errorf("none of %d threads has one", len(tasks))
	})
	return pid
}
