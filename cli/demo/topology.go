package demo

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"text/template"
)

const (
	sharedDomain = "as.shared.domain"
	jetDomain    = "as.jet.domain"
	workerHost   = "as.example.com"
	wildcardHost = "shop.as.example.com" // under *.as.example.com
	mgtHost      = "mgt.as.example.com"

	mappedPort = 8281 // public port that is mapped to another port of each member

	sharedTenant, sharedTenantID = "acme.com", 7
	jetTenant, jetTenantID       = "jet.com", 42
)

// balancer is one `jetway run`.
type balancer struct {
	Name                        string
	HTTP, Mapped, Admin, Gossip int
	Standby                     int // where the other one connects
	Join                        int // gossip port of the other one
}

// member is one sample application with its agent.
type member struct {
	name, domain, subDomain string
	http, mapped, gossip    int
}

// topology is what the demo runs.
type topology struct {
	dir       string
	exe       string // this program, as the load balancers start it
	ports     *ports
	balancers []balancer
	members   []member // started at once
	spare     member   // started by the check
	jetRange  string
	tenants   string // path of the tenants file
	peerKey   string // path of the key by which the load balancers know each other
}

// newTopology finds ports and writes the files. broken routes the tenant of
// the private jet to the shared domain.
func newTopology(dir string, broken bool) (*topology, error) {
	t := &topology{
		dir: dir, ports: newPorts(), jetRange: strconv.Itoa(jetTenantID),
		tenants:   filepath.Join(dir, "tenants.csv"),
		peerKey:   filepath.Join(dir, "peer.key"),
		balancers: []balancer{{Name: "lb1"}, {Name: "lb2"}},
		members: []member{
			{name: "worker1", domain: sharedDomain, subDomain: "worker"},
			{name: "worker2", domain: sharedDomain, subDomain: "worker"},
			{name: "mgt1", domain: sharedDomain, subDomain: "mgt"},
			{name: "jet1", domain: jetDomain, subDomain: "worker"},
		},
		spare: member{name: "worker3", domain: sharedDomain, subDomain: "worker"},
	}
	var err error
	if t.exe, err = os.Executable(); err != nil {
		return nil, fmt.Errorf("cannot find my own binary: %w", err)
	}
	if broken {
		t.jetRange = strconv.Itoa(jetTenantID + 1)
	}
	if err := t.takePorts(); err != nil {
		t.ports.releaseAll()
		return nil, err
	}
	var key [32]byte
	rand.Read(key[:]) // never fails, says its documentation
	if err := os.WriteFile(t.peerKey, []byte(base64.StdEncoding.EncodeToString(key[:])+"\n"), 0o600); err != nil {
		t.ports.releaseAll()
		return nil, fmt.Errorf("cannot write the key of peers: %w", err)
	}
	list := fmt.Sprintf("%s,%d\n%s,%d\n", sharedTenant, sharedTenantID, jetTenant, jetTenantID)
	if err := os.WriteFile(t.tenants, []byte(list), 0o600); err != nil {
		t.ports.releaseAll()
		return nil, fmt.Errorf("cannot write the tenants file: %w", err)
	}
	return t, nil
}

func (t *topology) takePorts() error {
	for i := range t.balancers {
		b := &t.balancers[i]
		if err := t.ports.takeAll(map[*int]int{
			&b.HTTP: 8280 + 10*i, &b.Mapped: mappedPort + 10*i, &b.Admin: 9280 + 10*i, &b.Gossip: 7946 + 10*i,
			&b.Standby: 7947 + 10*i,
		}); err != nil {
			return err
		}
	}
	t.balancers[0].Join, t.balancers[1].Join = t.balancers[1].Gossip, t.balancers[0].Gossip
	for i := range len(t.members) + 1 {
		m := &t.spare
		if i < len(t.members) {
			m = &t.members[i]
		}
		if err := t.ports.takeAll(map[*int]int{
			&m.http: 9763 + 10*i, &m.mapped: 9768 + 10*i, &m.gossip: 7966 + 10*i,
		}); err != nil {
			return err
		}
	}
	return nil
}

// confText is the configuration of each load balancer: one installation, two
// processes that differ in their ports.
const confText = `loadbalancer:
  name: {{.B.Name}}
  installation: demo
  state_dir: "{{.StateDir}}"
  listeners:
    - {name: http, address: "127.0.0.1:{{.B.HTTP}}"}
    - {name: mapped, address: "127.0.0.1:{{.B.Mapped}}", public_port: {{.MappedPort}}}
  admin: {address: "127.0.0.1:{{.B.Admin}}"}
  timeouts: {drain: 2s}
membership:
  gossip: {bind: "127.0.0.1:{{.B.Gossip}}", join: ["127.0.0.1:{{.B.Join}}"]}
standby: {listen: "127.0.0.1:{{.B.Standby}}", key_file: "{{.PeerKey}}"}
tenants:
  identify: [{path: "**/t/{tenant}/"}, {query: tenantDomain}]
  super: carbon.super
  directory: {file: "{{.Tenants}}"}
  headers: {id: X-Tenant-Id, name: X-Tenant-Name}
services:
  defaults:
    affinity: {mode: none}
    balance: least_requests
  appserver:
    domains:
      {{.Shared}}:
        tenant_range: "*"
        sub_domains:
          mgt:
            hosts: [{{.MgtHost}}]
            listeners: [http]
            allow_from: [127.0.0.1/32]
          worker:
            hosts: [{{.WorkerHost}}, "*.{{.WorkerHost}}"]
            affinity: {mode: learn}
      {{.Jet}}:
        tenant_range: "{{.JetRange}}"
        sub_domains:
          worker:
            hosts: [{{.WorkerHost}}, "*.{{.WorkerHost}}"]
`

func (t *topology) confFile(b *balancer) string { return filepath.Join(t.dir, b.Name+".conf") }

func (t *topology) writeConf(b *balancer) error {
	text := confText
	if scales() {
		text += elasticConf
	}
	tpl, err := template.New("conf").Parse(text)
	if err != nil {
		return fmt.Errorf("BUG: the demo's configuration does not parse: %w", err)
	}
	worker, err := t.workerCommand()
	if err != nil {
		return fmt.Errorf("BUG: the command of a member is no JSON: %w", err)
	}
	f, err := os.OpenFile(t.confFile(b), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write the configuration of %s: %w", b.Name, err)
	}
	err = tpl.Execute(f, map[string]any{
		"B": b, "MappedPort": mappedPort, "Tenants": filepath.ToSlash(t.tenants), "PeerKey": filepath.ToSlash(t.peerKey), "Shared": sharedDomain, "Jet": jetDomain,
		"MgtHost": mgtHost, "WorkerHost": workerHost, "JetRange": t.jetRange,
		"StateDir": filepath.ToSlash(filepath.Join(t.dir, b.Name)), "Elastic": elasticDomain, "ElasticHost": elasticHost,
		"ElasticMax": elasticMax, "ElasticTarget": elasticTarget, "WorkerCommand": worker,
	})
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("cannot write the configuration of %s: %w", b.Name, err)
	}
	return nil
}

func (t *topology) startBalancer(ps *processes, b *balancer) error {
	if err := t.writeConf(b); err != nil {
		return err
	}
	t.ports.release(b.HTTP, b.Mapped, b.Admin, b.Gossip, b.Standby)
	_, err := ps.start(b.Name, "run", "-c", t.confFile(b))
	return err
}

// startMember starts the application of m and the agent beside it.
func (t *topology) startMember(ps *processes, m *member) error {
	t.ports.release(m.http, m.mapped, m.gossip)
	if _, err := ps.start(m.name, "demo", "app", "--name", m.name, "--domain", m.domain, "--sub-domain", m.subDomain,
		"--port", strconv.Itoa(m.http), "--port", strconv.Itoa(m.mapped)); err != nil {
		return err
	}
	_, err := ps.start(m.agent(), t.agentArgs(m)...)
	return err
}

// agent is the name of the process that announces m.
func (m *member) agent() string { return m.name + "-agent" }

func (t *topology) memberNames() []string {
	names := make([]string, 0, len(t.members))
	for i := range t.members {
		names = append(names, t.members[i].name)
	}
	return names
}

// print shows the processes as a tree.
func (t *topology) print(out io.Writer, ps *processes) {
	pid := func(name string) int {
		if p := ps.running(name); p != nil {
			return p.cmd.Process.Pid
		}
		return 0
	}
	fmt.Fprintf(out, "load balancers, each knows all members by gossip, and what the other has learned:\n")
	for i := range t.balancers {
		b := &t.balancers[i]
		fmt.Fprintf(out, "  %-8s pid %-7d http %s:%d, port %d mapped at %s:%d, admin %s:%d\n",
			b.Name, pid(b.Name), loopback, b.HTTP, mappedPort, loopback, b.Mapped, loopback, b.Admin)
	}
	last := ""
	for i := range t.members {
		m := &t.members[i]
		if m.domain != last {
			last = m.domain
			tenants := "tenants *"
			if m.domain == jetDomain {
				tenants = fmt.Sprintf("tenant %s (%s), a private jet", t.jetRange, jetTenant)
			}
			fmt.Fprintf(out, "domain %s, %s:\n", m.domain, tenants)
		}
		fmt.Fprintf(out, "  %-8s pid %-7d agent pid %-7d %-6s %s:%d, mapped port %d\n",
			m.name, pid(m.name), pid(m.agent()), m.subDomain, loopback, m.http, m.mapped)
	}
	t.printElastic(out)
	fmt.Fprintf(out, "configuration and logs: %s\n\n", t.dir)
}

func (t *topology) printCurl(out io.Writer) {
	b := &t.balancers[0]
	line := func(what string, port int, host, path string) {
		fmt.Fprintf(out, "  curl -H 'Host: %s' 'http://%s:%d%s'   # %s\n", host, loopback, port, path, what)
	}
	fmt.Fprintln(out, "try, in another terminal:")
	line("a worker", b.HTTP, workerHost, "/")
	line("shared tenant", b.HTTP, workerHost, "/t/"+sharedTenant+"/")
	line("private jet", b.HTTP, workerHost, "/t/"+jetTenant+"/")
	line("management", b.HTTP, mgtHost, "/")
	line("mapped port", b.Mapped, workerHost, "/")
	line("unknown host: 404", b.HTTP, "nobody.example.com", "/")
	if scales() {
		line("held until its first member is there", b.HTTP, elasticHost, "/")
		fmt.Fprintf(out, "  for i in $(seq 200); do curl -s -H 'Host: %s' 'http://%s:%d/?delay=5s' >/dev/null & sleep 0.2; done   # its members grow and shrink\n",
			elasticHost, loopback, b.HTTP)
	}
	line("the second load balancer", t.balancers[1].HTTP, workerHost, "/")
	fmt.Fprintf(out, "  kill -9 PID PID   # of a worker and its agent: the others take over\n\n")
}

// agentArgs are the arguments of the agent of m.
func (t *topology) agentArgs(m *member) []string {
	return []string{"member",
		"--id", m.name, "--installation", "demo", "--domain", m.domain, "--sub-domain", m.subDomain,
		"--http", strconv.Itoa(m.http), "--map", fmt.Sprintf("%d=%d", mappedPort, m.mapped),
		"--bind", fmt.Sprintf("%s:%d", loopback, m.gossip),
		"--join", fmt.Sprintf("%s:%d", loopback, t.balancers[0].Gossip), "--join", fmt.Sprintf("%s:%d", loopback, t.balancers[1].Gossip),
		"--drain-wait", "500ms"}
}
