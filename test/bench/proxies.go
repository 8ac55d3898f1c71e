//go:build linux

package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"
)

//go:embed configs
var configs embed.FS

const jetwayConfig = "jetway.conf"

// kind is one of the programs that are compared.
type kind struct {
	Name    string
	Path    string
	Version string
	config  string // its template in configs
	env     []string
	args    func(s *setup, config string) []string
	reload  func(p *proxy) error
	tenants bool // has what a directory of tenants does
}

// setup is what the templates of the configurations are filled from.
type setup struct {
	Dir               string
	HTTP, HTTPS       int
	Admin             int
	Members           []int // ports at 127.0.0.2
	Hosts             []string
	Tenants           int // 0: no directory
	Half, AboveHalf   int // of the tenants, for ranges
	Clusters          []string
	Sticky, Learned   bool
	TLS, Socket, Bulk bool   // what the scenario needs
	Master            bool   // reloads are to come
	Log               string // format of the access log; empty: none
	Connections       int    // of clients
	Files             int    // descriptors
	Pool              int    // kept connections to members
	HashSize          int    // of tables of names
	Weight            int    // of the first member: what a reload changes
	Profiled          bool   // Jetway may be asked for profiles
}

// proxy is one of them running.
type proxy struct {
	*kind
	setup
	file string // its configuration
	proc *process
}

// kinds returns what is to be compared, in the order of the rounds; missing
// names what is not installed.
func kinds(jetways map[string]string, order []string) (found []*kind, missing []string) {
	for _, name := range order {
		k := &kind{Name: name, Path: jetways[name], config: jetwayConfig, tenants: true,
			args:   func(_ *setup, config string) []string { return []string{"run", "-c", config} },
			reload: (*proxy).hangUp}
		var about []string
		switch {
		case k.Path != "":
			about = []string{"version"}
		case name == "haproxy":
			k.config, about = "haproxy.cfg", []string{"-v"}
			k.args = func(s *setup, config string) []string {
				if s.Master {
					return []string{"-W", "-db", "-f", config}
				}
				return []string{"-db", "-f", config}
			}
			k.reload = func(p *proxy) error { return p.proc.cmd.Process.Signal(syscall.SIGUSR2) }
		case name == "nginx":
			k.config, about = "nginx.conf", []string{"-v"}
			k.args = func(_ *setup, config string) []string { return []string{"-e", "stderr", "-c", config} }
		case name == "caddy":
			k.config, about, k.tenants = "Caddyfile", []string{"version"}, false
			k.env = []string{"GOMAXPROCS=1"}
			k.args = func(_ *setup, config string) []string {
				return []string{"run", "--adapter", "caddyfile", "--config", config}
			}
			k.reload = (*proxy).post
		}
		if k.Path == "" {
			k.Path = installed(name)
		}
		if k.Path == "" {
			missing = append(missing, name)
			continue
		}
		out, _ := exec.Command(k.Path, about...).CombinedOutput()
		k.Version, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
		found = append(found, k)
	}
	return found, missing
}

func installed(name string) string {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 && !info.IsDir() {
			return path
		}
	}
	return ""
}

// start writes the configuration, starts the program on core and waits until
// it serves.
func (k *kind) start(ctx context.Context, core int, s setup) (*proxy, error) {
	p := &proxy{kind: k, setup: s, file: filepath.Join(s.Dir, k.config)}
	if err := p.configure(); err != nil {
		return nil, err
	}
	var err error
	env := append([]string{"XDG_CONFIG_HOME=" + s.Dir, "XDG_DATA_HOME=" + s.Dir}, k.env...) // where Caddy keeps things
	if p.proc, err = start(core, nil, env, k.Path, k.args(&s, p.file)...); err != nil {
		return nil, err
	}
	if err := p.await(ctx); err != nil {
		p.proc.stop()
		return nil, fmt.Errorf("%s does not serve: %w\n%s", k.Name, err, p.proc.log.String())
	}
	return p, nil
}

// startPatience is how long a proxy may take to read what it is given.
const startPatience = 60 * time.Second

func (p *proxy) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		conn, err := net.DialTimeout("tcp", p.addr().String(), time.Second)
		if err == nil {
			conn.Close()
			return nil
		}
		select {
		case <-p.proc.gone:
			return errors.New("it ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// configure writes the configuration file, replacing it in one step.
func (p *proxy) configure() error {
	t, err := template.ParseFS(configs, "configs/"+p.config)
	if err != nil {
		return fmt.Errorf("cannot read the configuration of %s: %w", p.Name, err)
	}
	var b strings.Builder
	if err := t.Execute(&b, &p.setup); err != nil {
		return fmt.Errorf("cannot fill the configuration of %s: %w", p.Name, err)
	}
	if err := os.WriteFile(p.file+".new", []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("cannot write the configuration of %s: %w", p.Name, err)
	}
	return os.Rename(p.file+".new", p.file)
}

// renew changes the configuration and reloads it.
func (p *proxy) renew() error {
	p.Weight = 3 - p.Weight
	if err := p.configure(); err != nil {
		return err
	}
	return p.reload(p)
}

func (p *proxy) hangUp() error { return p.proc.cmd.Process.Signal(syscall.SIGHUP) }

// post reloads Caddy as `caddy reload` does.
func (p *proxy) post() error {
	f, err := os.Open(p.file)
	if err != nil {
		return fmt.Errorf("cannot reload caddy: %w", err)
	}
	defer f.Close()
	c := http.Client{Timeout: 30 * time.Second}
	res, err := c.Post(fmt.Sprintf("http://127.0.0.1:%d/load", p.Admin), "text/caddyfile", f)
	if err != nil {
		return fmt.Errorf("cannot reload caddy: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("cannot reload caddy: %s", res.Status)
	}
	return nil
}

// addr is where clients of the scenario connect.
func (p *proxy) addr() netip.AddrPort {
	port := p.HTTP
	if p.TLS {
		port = p.HTTPS
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
}

// verify looks at what a member gets: every proxy must do the same work.
func (p *proxy) verify(l load) error {
	path := "/echo"
	if i := strings.LastIndexByte(l.Path, '/'); i > 0 {
		path = l.Path[:i] + path
	}
	ask := load{Target: p.addr(), Host: l.Host, Path: path, Vary: l.Vary, HostVary: l.HostVary, TLS: l.TLS}
	conn, err := ask.connect()
	if err != nil {
		return fmt.Errorf("cannot connect to %s: %w", p.Name, err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write(ask.request(0)); err != nil {
		return fmt.Errorf("cannot ask %s: %w", p.Name, err)
	}
	head, seen, err := readHead(conn, make([]byte, 64<<10))
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	if len(seen) == 0 { // head and body came apart
		buf := make([]byte, 64<<10)
		n, _ := conn.Read(buf)
		seen = buf[:n]
	}
	want := []string{"Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Via", "X-Request-Id"}
	if p.Tenants > 0 {
		want = append(want, "X-Tenant-Id", "X-Tenant-Name")
	}
	for _, name := range want {
		if len(value(seen, strings.ToLower(name))) == 0 {
			return fmt.Errorf("%s sends members no %s: answer %.200q, request %.1000q", p.Name, name, head, seen)
		}
	}
	if len(value(head, "via")) == 0 {
		return fmt.Errorf("%s sends clients no Via: %.300q", p.Name, head)
	}
	return nil
}
