package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"jetway/tenant"
)

// tenantsMax bounds a tenants file in CSV; one in YAML is bounded by sizeMax
// and yamlTenantsMax.
const (
	tenantsMax     = 2 << 30
	yamlTenantsMax = 100_000
)

// identifyMax bounds the rules, which are tried one by one for each request.
const identifyMax = 16

// tenants decodes whose request is whose.
func (d *decoder) tenants(o object, c *Config) {
	t := &c.Tenants
	identify := d.identify(o, c)
	read(o, "super", &t.Super, parseTenant)
	var unknown string
	unknownAt := read(o, "unknown", &unknown, parseChoice("default", "refuse"))
	t.RefuseUnknown = unknown == "refuse"

	h := &c.Proxy.TenantHeaders
	headers := o.section("headers")
	read(headers, "id", &h.ID, parseHeaderName)
	name := read(headers, "name", &h.Name, parseHeaderName)
	if name != nil && h.Name != "" && strings.EqualFold(h.ID, h.Name) {
		d.problem(name, "id and name have the same header field", "two different fields")
	}

	d.plans(o.section("plans"), t)
	d.directory = o.has("directory")
	d.tenantDirectory(o.section("directory"), c)
	switch {
	case d.directory:
	case t.RefuseUnknown:
		d.warn(unknownAt, "every request that names a tenant is refused: there is no directory", "tenants.directory")
	case identify != nil:
		d.warn(identify, "no tenant can be found: there is no directory", "tenants.directory")
	}
}

// identify decodes the global rules, or fills in the default ones; it returns
// where they stand.
func (d *decoder) identify(o object, c *Config) *yaml.Node {
	if !o.has("identify") {
		c.Tenants.Identify = []tenant.Rule{{Path: "**/t/{tenant}/"}, {Query: "tenantDomain"}}
		return nil
	}
	c.Tenants.Identify = d.rules(o, c)
	at, _ := o.find("identify")
	return at
}

// rules decodes a list of rules.
func (d *decoder) rules(o object, c *Config) []tenant.Rule {
	var rules []tenant.Rule
	for i, s := range o.sections("identify") {
		var r tenant.Rule
		at := slices.DeleteFunc([]*yaml.Node{read(s, "path", &r.Path, parseText), read(s, "host", &r.Host, parseText),
			read(s, "header", &r.Header, parseHeaderName), read(s, "cookie", &r.Cookie, parseText), read(s, "query", &r.Query, parseText)},
			func(n *yaml.Node) bool { return n == nil })
		given := 0
		for range s.entries() {
			given++
		}
		if len(at) != 1 {
			if given != 1 && !s.inherits {
				d.problem(s.node, "a rule needs one of path, host, header, cookie and query", "such as {path: ...} or {host: ...}")
			}
			continue
		}
		if _, err := tenant.NewIdentifier([]tenant.Rule{r}); err != nil {
			d.problem(at[0], err.Error(), "") // says itself what it expected
		}
		if i == identifyMax {
			d.problem(s.node, "identify has too many rules", fmt.Sprintf("at most %d", identifyMax))
		}
		if r.Header != "" {
			c.Proxy.TenantHeaders.Naming = append(c.Proxy.TenantHeaders.Naming, r.Header)
		}
		if (r.Header != "" || r.Cookie != "") && len(c.Proxy.TrustedProxies) == 0 {
			d.warn(at[0], "this rule finds no tenant: headers and cookies are believed from trusted proxies only", "loadbalancer.trusted_proxies")
		}
		rules = append(rules, r)
	}
	return rules
}

// plans decodes limits by plan.
func (d *decoder) plans(o object, t *Tenants) {
	holder := map[string]string{} // plan by tenant
	for name, s := range o.named("tenants.plans.<plan>") {
		p := tenant.Plan{Name: name.Value, Limits: tenant.Limits{InFlight: tenant.Inherit, Rate: tenant.Inherit, Burst: tenant.Inherit, Body: tenant.Inherit}}
		at := readList(s, "tenants", &p.Tenants, parseTenant)
		for i, n := range p.Tenants {
			if other := holder[n]; other != "" {
				d.problem(at[i], fmt.Sprintf("tenant %s has the plan %s already", quote(n), quote(other)), "one plan for each tenant")
			}
			holder[n] = p.Name
		}
		read(s, "body", &p.Body, parseSize)
		readTenantLimits(s, &p.Limits)
		t.Plans = append(t.Plans, p)
	}
	if len(t.Plans) > plansMax {
		d.problem(o.node, "there are too many plans", fmt.Sprintf("at most %d", plansMax))
	}
}

// plansMax bounds the plans that a directory can tell apart.
const plansMax = 200

func readTenantLimits(o object, l *tenant.Limits) {
	read(o, "tenant_in_flight", &l.InFlight, parseNumber(0, 1<<30))
	read(o, "tenant_rate", &l.Rate, parseRate)
	read(o, "tenant_burst", &l.Burst, parseNumber(0, 1_000_000))
}

func tenantsFormat(path string) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".csv", ".yaml", ".yml":
		return true
	}
	return false
}

// LoadTenants reads a tenants file: .csv with lines of name, id, active and
// plan, or .yaml with a list of such sections. Errors name the file and the line.
func LoadTenants(path string) ([]tenant.Entry, error) {
	limit := int64(tenantsMax)
	isCSV := strings.EqualFold(filepath.Ext(path), ".csv")
	if !isCSV {
		limit = sizeMax
	}
	if !tenantsFormat(path) {
		return nil, fmt.Errorf("cannot read tenants file %q: expected a name that ends in .csv, .yaml or .yml", path)
	}
	data, err := readFileMax(path, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot read tenants file: %w", err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("cannot read tenants file %q: it is larger than %d MiB", path, limit>>20)
	}
	if isCSV {
		return tenantsCSV(path, data)
	}
	return tenantsYAML(path, data)
}

func tenantsCSV(path string, data []byte) ([]tenant.Entry, error) {
	entries, err := tenant.ReadCSV(bytes.NewReader(data))
	if err == nil {
		return entries, nil
	}
	p := Problem{File: path, What: err.Error()}
	if n, _ := fmt.Sscanf(p.What, "line %d:", &p.Line); n == 1 {
		_, p.What, _ = strings.Cut(p.What, ": ")
	}
	return nil, Problems{p}
}

func tenantsYAML(path string, data []byte) ([]tenant.Entry, error) {
	d := &decoder{file: path, env: os.LookupEnv, keys: map[string]key{}, children: map[string][]string{"tenants": {"name", "id", "active", "plan"}}}
	d.keys["tenants.name"] = key{path: "tenants.name", kind: "tenant name", standard: required}
	d.keys["tenants.id"] = key{path: "tenants.id", kind: "number", standard: required}
	d.keys["tenants.active"] = key{path: "tenants.active", kind: "true or false", standard: "true"}
	d.keys["tenants.plan"] = key{path: "tenants.plan", kind: "name", standard: `""`}
	root, problems := parseTree(path, data, "a list of tenants, each with name and id")
	d.problems = problems
	if root == nil {
		return nil, d.problems
	}
	if len(root.Content) > yamlTenantsMax {
		return nil, fmt.Errorf("tenants file %q lists %d tenants; expected at most %d in YAML, more as .csv", path, len(root.Content), yamlTenantsMax)
	}
	if root.Kind != yaml.SequenceNode {
		d.problem(root, kindName(root)+" stands where the list of tenants belongs", "- {name: acme.com, id: 1}")
	}
	var entries []tenant.Entry
	if root.Kind == yaml.SequenceNode {
		for _, n := range root.Content {
			o := d.open(n, "tenants", "a tenant").strict()
			var e tenant.Entry
			read(o, "name", &e.Name, parseText)
			read(o, "id", &e.ID, func(s string) (tenant.ID, error) {
				n, err := parseNumber(1, 1<<62-1)(s)
				return tenant.ID(n), err
			})
			active := true
			read(o, "active", &active, parseBool)
			e.Inactive = !active
			read(o, "plan", &e.Plan, parseName)
			entries = append(entries, e)
		}
	}
	if len(d.problems) > 0 {
		return nil, d.problems.sorted()
	}
	return entries, nil
}
