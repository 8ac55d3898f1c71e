package config

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"jetway/autoscale"
	"jetway/balancer"
)

// elastic are the inherited keys about a cluster's size.
type elastic struct {
	autoscale.Settings
	wait     balancer.Wait
	driverAt *yaml.Node
}

// elasticBlock decodes what a level says about size into e, which holds that
// of the level above.
func (d *decoder) elasticBlock(o object, e *elastic) {
	minAt := read(o, "min_app_instances", &e.Min, parseNumber(0, 10000))
	maxAt := read(o, "max_app_instances", &e.Max, parseNumber(1, 10000))
	if at := cmp.Or(minAt, maxAt); e.Min > e.Max && at != nil { // given here; what is inherited was judged above
		d.problem(at, fmt.Sprintf("min_app_instances %d is above max_app_instances %d", e.Min, e.Max), "a minimum up to the maximum")
	}
	w := &e.WSO2
	read(o, "max_requests_per_second", &w.MaxRequestsPerSecond, parsePositive)
	read(o, "alarming_upper_rate", &w.AlarmingUpperRate, parseShare)
	read(o, "alarming_lower_rate", &w.AlarmingLowerRate, parseShare)
	read(o, "scale_down_factor", &w.ScaleDownFactor, parseShare)
	read(o, "rounds_to_average", &w.RoundsToAverage, parseNumber(1, 1000))
	read(o, "message_expiry_time", &e.PeerExpiry, parseWait)
	a := o.section("autoscale")
	read(a, "policy", &e.Policy, parseChoice(autoscale.PolicyConcurrency, autoscale.PolicyWSO2))
	read(a, "target", &e.Concurrency.Target, parsePositive)
	read(a, "stable_window", &e.Concurrency.Stable, parseWindow)
	read(a, "panic_window", &e.Concurrency.Panic, parseWindow)
	read(a, "calm", &e.Concurrency.Calm, parseWindow)
	read(a, "drain", &e.Drain, parseDuration)
	read(a, "dry_run", &e.DryRun, parseBool)
	wait := a.section("wait")
	read(wait, "time", &e.wait.Time, parseDuration)
	read(wait, "requests", &e.wait.Requests, parseNumber(1, 100000))
	read(wait, "tenant_requests", &e.wait.TenantRequests, parseNumber(0, 100000))
	read(wait, "bytes", &e.wait.Bytes, parseSize)
	d.driver(a, e)
}

// driver decodes who starts members: one of exec, webhook and process.
func (d *decoder) driver(a object, e *elastic) {
	o := a.section("driver")
	if !a.has("driver") {
		o.node = &yaml.Node{Kind: yaml.MappingNode, Line: a.node.Line, Column: a.node.Column}
	}
	given := 0
	var next autoscale.DriverConfig
	if o.has("exec") {
		given++
		next.Exec = d.execDriver(o.section("exec"))
	}
	if o.has("webhook") {
		given++
		next.Webhook = d.webhookDriver(o.section("webhook"))
	}
	if o.has("process") {
		given++
		next.Process = d.processDriver(o.section("process"))
	}
	switch {
	case given > 1:
		d.problem(o.node, "driver has several of exec, webhook and process", "one of them")
	case given == 0 && a.has("driver") && len(o.node.Content) == 0: // a key that nobody knows was named already
		d.problem(o.node, "driver is empty", "one of exec, webhook and process")
	case given == 1:
		e.Driver, e.driverAt = next, o.node
	}
}

func (d *decoder) execDriver(o object) *autoscale.ExecConfig {
	o.inherits = false
	c := &autoscale.ExecConfig{}
	d.command(o, "start", &c.Start)
	d.command(o, "stop", &c.Stop)
	d.command(o, "list", &c.List)
	read(o, "timeout", &c.Timeout, parseWait)
	return c
}

// command reads the words of a command; the first one is the program.
func (d *decoder) command(o object, name string, into *[]string) {
	nodes, k, present := o.elements(name)
	if !present {
		return
	}
	*into = nil
	for i, n := range nodes {
		v, ok := d.scalar(n, name, strings.TrimPrefix(k.kind, "list of "))
		if !ok {
			continue
		}
		if i == 0 && v.text == "" {
			d.problem(n, fmt.Sprintf("%s begins with nothing", quote(name)), "the program to run")
		}
		*into = append(*into, v.text)
	}
}

func (d *decoder) webhookDriver(o object) *autoscale.WebhookConfig {
	o.inherits = false
	c := &autoscale.WebhookConfig{}
	read(o, "url", &c.URL, func(s string) (string, error) {
		if !strings.HasPrefix(s, "http://") && !strings.HasPrefix(s, "https://") || strings.ContainsAny(s, " #") {
			return "", errors.New("an address that begins with http:// or https://")
		}
		return s, nil
	})
	secret := read(o, "secret", &c.Secret, parseText)
	file := readFile(o, "secret_file", &c.SecretFile, checkReadable)
	readFile(o, "ca_file", &c.CAFile, checkCertificates)
	read(o, "timeout", &c.Timeout, parseWait)
	read(o, "list", &c.List, parseBool)
	if secret != nil && file != nil && c.Secret != "" && c.SecretFile != "" {
		d.problem(file, "secret and secret_file are both given", "one of them")
	}
	return c
}

func (d *decoder) processDriver(o object) *autoscale.ProcessConfig {
	o.inherits = false
	c := &autoscale.ProcessConfig{}
	d.command(o, "command", &c.Command)
	readFile(o, "directory", &c.Directory, nil)
	var ports portRange
	at := read(o, "ports", &ports, parsePortRange)
	c.PortFirst, c.PortEnd = ports.first, ports.end
	read(o, "stop_wait", &c.StopWait, parseWait)
	if at == nil && strings.Contains(strings.Join(c.Command, " "), "{port}") {
		d.problem(o.node, "the command has {port}, but ports are not given", "ports: 9800-9899")
	}
	return c
}

type portRange struct{ first, end uint16 }

func (p portRange) String() string {
	return strconv.Itoa(int(p.first)) + "-" + strconv.Itoa(int(p.end))
}

func parsePortRange(s string) (portRange, error) {
	first, end, ok := strings.Cut(s, "-")
	if !ok {
		end = first
	}
	a, err1 := parsePort(first)
	b, err2 := parsePort(end)
	if err1 != nil || err2 != nil || a > b {
		return portRange{}, errors.New("a port or ports such as 9800-9899")
	}
	return portRange{a, b}, nil
}

// parsePositive reads a number above 0.
func parsePositive(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f > 0 && f <= 1e6) || strings.ContainsAny(s, "eExXpP_+-") {
		return 0, errors.New("a number above 0, such as 50")
	}
	return f, nil
}

// parseShare reads a number above 0 and up to 1.
func parseShare(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f > 0 && f <= 1) || strings.ContainsAny(s, "eExXpP_+-") {
		return 0, errors.New("a number above 0 and up to 1, such as 0.7")
	}
	return f, nil
}

func parseWindow(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && (d < time.Second || d > time.Hour) {
		err = errors.New("a duration from 1s to 1h")
	}
	return d, err
}

// scaling decodes what is the same for all clusters.
func (d *decoder) scaling(o object, c *Config) {
	read(o, "autoscaler_task_interval", &c.scaling.interval, parseWindow)
	read(o, "server_startup_delay", &c.scaling.startup, parseWait)
	read(o.section("autoscale"), "max_members", &c.scaling.maxMembers, parseNumber(0, 1000000))
}

// scalingAll are the keys of scaling.
type scalingAll struct {
	interval, startup time.Duration
	maxMembers        int
	clusters          map[balancer.Key]elastic // all, elastic or not
}

// makeElastic completes the clusters whose size follows their load: those that
// have a driver, or are a dry run.
func (d *decoder) makeElastic(c *Config, cl *balancer.ClusterConfig, e elastic) {
	e.StartupDelay, e.WSO2.Interval = c.scaling.startup, c.scaling.interval
	driverAt := e.driverAt
	e.driverAt = nil // a position says nothing about what is configured
	c.scaling.clusters[cl.Key] = e
	if !e.Driver.Any() && !e.DryRun {
		return
	}
	cl.Elastic = true
	if e.Driver.Any() && !e.DryRun {
		cl.Wait = e.wait
		cl.Wait.PerMember = max(int(e.Concurrency.Target), 1)
		if e.Policy == autoscale.PolicyWSO2 {
			w := &e.WSO2
			cl.Wait.PerMember = max(int(w.MaxRequestsPerSecond*w.Interval.Seconds()*w.AlarmingUpperRate), 1)
		}
	}
	if e.Policy == autoscale.PolicyConcurrency && e.Concurrency.Panic > e.Concurrency.Stable && driverAt != nil {
		d.problem(driverAt, fmt.Sprintf("panic_window %s of %s is longer than stable_window %s", e.Concurrency.Panic, cl.Key, e.Concurrency.Stable), "a panic_window up to the stable_window")
	}
	if e.Driver.Process != nil && c.StateDir == "" && !e.DryRun {
		d.warn(driverAt, fmt.Sprintf("%s has the driver process without state_dir: after a restart Jetway does not know the processes it started", cl.Key), "loadbalancer.state_dir")
	}
	c.Autoscale.Clusters = append(c.Autoscale.Clusters, autoscale.ClusterConfig{Key: cl.Key, Settings: e.Settings})
}

func (p printer) elastic(e elastic) {
	p.plain("min_app_instances", e.Min)
	p.plain("max_app_instances", e.Max)
	number := func(name string, f float64) { p.plain(name, strconv.FormatFloat(f, 'f', -1, 64)) }
	number("max_requests_per_second", e.WSO2.MaxRequestsPerSecond)
	number("alarming_upper_rate", e.WSO2.AlarmingUpperRate)
	number("alarming_lower_rate", e.WSO2.AlarmingLowerRate)
	number("scale_down_factor", e.WSO2.ScaleDownFactor)
	p.plain("rounds_to_average", e.WSO2.RoundsToAverage)
	p.text("message_expiry_time", formatDuration(e.PeerExpiry))
	a := p.section("autoscale")
	a.text("policy", string(e.Policy))
	a.plain("target", strconv.FormatFloat(e.Concurrency.Target, 'f', -1, 64))
	a.text("stable_window", formatDuration(e.Concurrency.Stable))
	a.text("panic_window", formatDuration(e.Concurrency.Panic))
	a.text("calm", formatDuration(e.Concurrency.Calm))
	a.text("drain", formatDuration(e.Drain))
	a.plain("dry_run", e.DryRun)
	wait := a.section("wait")
	wait.text("time", formatDuration(e.wait.Time))
	wait.plain("requests", e.wait.Requests)
	wait.plain("tenant_requests", e.wait.TenantRequests)
	wait.text("bytes", formatSize(e.wait.Bytes))
	if e.Driver.Any() {
		a.section("driver").driver(&e.Driver)
	}
}

func (p printer) driver(c *autoscale.DriverConfig) {
	switch {
	case c.Exec != nil:
		s := p.section("exec")
		s.texts("start", c.Exec.Start)
		s.texts("stop", c.Exec.Stop)
		s.texts("list", c.Exec.List)
		s.text("timeout", formatDuration(c.Exec.Timeout))
	case c.Webhook != nil:
		s := p.section("webhook")
		s.text("url", c.Webhook.URL)
		s.text("secret", c.Webhook.Secret)
		s.text("secret_file", c.Webhook.SecretFile)
		s.text("ca_file", c.Webhook.CAFile)
		s.text("timeout", formatDuration(c.Webhook.Timeout))
		s.plain("list", c.Webhook.List)
	case c.Process != nil:
		s := p.section("process")
		s.texts("command", c.Process.Command)
		s.text("directory", c.Process.Directory)
		if c.Process.PortFirst > 0 {
			s.text("ports", portRange{c.Process.PortFirst, c.Process.PortEnd}.String())
		}
		s.text("stop_wait", formatDuration(c.Process.StopWait))
	}
}
