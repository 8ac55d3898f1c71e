// Package config turns loadbalancer.conf into one validated Config value. It
// is the only importer of yaml, so the tenants file is read here too.
//
// Reading is strict and complete: the file becomes a tree first, so that every
// problem has a position and all of them are found in one go. One table
// (schema.go) says which keys exist and what they are when left out; the
// decoder, the messages and docs/configuration.md follow it. Variables of the
// environment are put in after YAML has been parsed and cannot change the
// structure.
//
// A Config is never changed after Load returned it. The package starts nothing.
package config

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"jetway/autoscale"
	"jetway/balancer"
	"jetway/discovery"
	"jetway/proxy"
	"jetway/standby"
	"jetway/tenant"
	"jetway/tenant/directory"
)

// Config is everything that loadbalancer.conf says, defaults filled in and
// file names made absolute.
type Config struct {
	File         string    // as it was given
	Changed      time.Time // when the file was last written; zero where it is not known
	Name         string
	Installation string
	StateDir     string // empty: nothing is kept
	Proxy        proxy.Config
	Admin        Admin
	Gossip       *discovery.GossipConfig // nil: no gossip
	Standby      *standby.Config         // nil: no peers
	Static       []balancer.Member
	Exec         []discovery.ExecConfig
	DNS          discovery.DNSConfig
	Signatures   map[balancer.Key]string // files with the public keys that members of a cluster need signatures of
	Tenants      Tenants
	FailOver     bool
	// SessionTimeout is the default of affinity.timeout; SessionsMax caps the
	// learned sessions.
	SessionTimeout time.Duration
	SessionsMax    int
	Clusters       []balancer.ClusterConfig // in the order of the file, the clusters of a service together
	Warnings       []Problem                // legal, but probably not what was meant

	Autoscale autoscale.Config // the clusters whose size follows their load

	scaling scalingAll
	masked  map[string]bool // values that Print must not show
}

// Tenants says whose requests are whose.
type Tenants struct {
	tenant.Config
	Directory  directory.Config // without what stands in the files below, see Config.Directory
	SecretFile string           // holds the DSN
	TokenFile  string
	Plans      []tenant.Plan
}

// Load reads and checks the file at path, and the certificates, keys and other
// files it names, with the variables of the process's environment. What is
// wrong in the file comes back as Problems.
func Load(path string) (*Config, error) {
	info, err := os.Stat(path) // before it is read: one that changes meanwhile counts as the older one
	if err != nil {
		return nil, fmt.Errorf("cannot read configuration %q: %w", path, err)
	}
	data, err := readFileMax(path, sizeMax)
	if err != nil {
		return nil, fmt.Errorf("cannot read configuration %q: %w", path, err)
	}
	c, d := decodeFile(path, data, os.LookupEnv)
	for _, f := range d.files {
		if err := f.check(f.path); err != nil {
			what, expected, _ := strings.Cut(err.Error(), "; expected ")
			d.problem(f.at, d.shown(f.path)+" "+what, expected)
		}
	}
	if len(d.problems) > 0 {
		return nil, d.problems.sorted()
	}
	c.Changed = info.ModTime()
	return c, nil
}

// readFileMax reads a file up to one byte more than max, which is left to the
// caller to refuse.
func readFileMax(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer // of the right size at once: a list of tenants may have 100 MB
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		b.Grow(int(min(info.Size(), max)) + bytes.MinRead)
	}
	_, err = b.ReadFrom(io.LimitReader(f, max+1))
	return b.Bytes(), err
}

// Parse decodes data as the configuration file called file. It opens no other
// file; env looks variables up, nil has none. The error is always Problems.
func Parse(file string, data []byte, env func(string) (string, bool)) (*Config, error) {
	c, d := decodeFile(file, data, env)
	if len(d.problems) > 0 {
		return nil, d.problems.sorted()
	}
	return c, nil
}

func decodeFile(file string, data []byte, env func(string) (string, bool)) (*Config, *decoder) {
	d := newDecoder(file, env, schema())
	root, problems := parseTree(file, data, "at least loadbalancer and services")
	d.problems = problems
	if root == nil {
		return nil, d
	}
	d.root = root
	c := &Config{File: file, masked: d.masked, Signatures: map[balancer.Key]string{},
		scaling: scalingAll{clusters: map[balancer.Key]elastic{}}}
	o := d.open(root, "", "the configuration").strict()
	var claims claims
	d.loadbalancer(o.section("loadbalancer"), c, &claims)
	membership := o.section("membership")
	d.dns(membership.section("dns"), c)
	d.gossip(membership, c, &claims)
	d.exec(membership, c)
	d.standby(o, c, &claims)
	c.freeBind()
	d.tenants(o.section("tenants"), c)
	services := d.services(o.section("services"), c)
	c.Autoscale.StateDir, c.Autoscale.MaxMembers = c.StateDir, c.scaling.maxMembers
	members := d.static(membership, c)
	d.checkClusters(services)
	d.checkAffinity(c, services)
	d.checkMembers(c, services, members)
	c.Warnings = d.warnings.sorted()
	return c, d
}

// loadbalancer decodes what concerns this process.
func (d *decoder) loadbalancer(o object, c *Config, claims *claims) {
	read(o, "name", &c.Name, parseName)
	read(o, "installation", &c.Installation, parseName)
	readFile(o, "state_dir", &c.StateDir, nil)
	read(o, "session_timeout", &c.SessionTimeout, parseSessionTimeout)
	read(o, "fail_over", &c.FailOver, parseBool)
	names := make(map[string]*yaml.Node)
	for _, l := range o.sections("listeners") {
		d.listener(l, c, claims, names)
	}
	d.admin(o.section("admin"), &c.Admin, claims)
	d.scaling(o, c)
	d.limits(o.section("limits"), &c.Proxy.Limits)
	read(o.section("limits"), "sessions", &c.SessionsMax, parseNumber(1000, 500_000_000))
	d.accessLog(o.section("access_log"), &c.Proxy.AccessLog)
	readList(o, "trusted_proxies", &c.Proxy.TrustedProxies, parsePrefix)
	t := &c.Proxy.Timeouts
	o = o.section("timeouts")
	read(o, "header", &t.Header, parseWait)
	read(o, "body_min_rate", &t.BodyMinRate, parseSize)
	read(o, "idle", &t.Idle, parseWait)
	read(o, "connect", &t.Connect, parseWait)
	read(o, "response_header", &t.ResponseHeader, parseDuration)
	read(o, "response_idle", &t.ResponseIdle, parseDuration)
	read(o, "total", &t.Total, parseDuration)
	read(o, "upgrade_idle", &t.UpgradeIdle, parseDuration)
	read(o, "drain", &t.Drain, parseDuration)
}

// limits decodes what one client may send.
func (d *decoder) limits(o object, l *proxy.Limits) {
	read(o, "header_bytes", &l.HeaderBytes, func(s string) (int, error) {
		n, err := parseSize(s)
		if err == nil && (n < 1<<10 || n > 1<<20) {
			err = fmt.Errorf("a size from 1KiB to 1MiB")
		}
		return int(n), err
	})
	read(o, "header_fields", &l.HeaderFields, parseNumber(1, 10000))
	read(o, "connections", &l.Connections, parseNumber(0, 1<<30))
	read(o, "connections_per_source", &l.ConnectionsPerSource, parseNumber(0, 1<<30))
	read(o, "requests_per_connection", &l.RequestsPerConnection, parseNumber(0, 1<<30))
	read(o, "upgrades", &l.Upgrades, parseNumber(0, 1<<30))
}
