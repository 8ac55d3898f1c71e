package config

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"

	"jetway/tenant"
)

// tenantsMax bounds a tenants file in CSV; one in YAML is bounded by sizeMax.
const tenantsMax = 256 << 20

// identifyMax bounds the rules, which are tried one by one for each request.
const identifyMax = 16

// tenants decodes whose request is whose.
func (d *decoder) tenants(o object, c *Config) {
	t := &c.Tenants
	identify := d.identify(o, t)
	read(o, "super", &t.Super, func(s string) (string, error) {
		s = strings.ToLower(s)
		if !tenant.ValidName(s) {
			return "", errors.New("a tenant name of letters, digits, dots, hyphens and underscores")
		}
		return s, nil
	})
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

	if d.directory = o.has("directory"); d.directory {
		file := readFile(o.section("directory"), "file", &t.DirectoryFile, checkDirectory)
		if file != nil && !tenantsFormat(t.DirectoryFile) {
			d.problem(file, d.shown(t.DirectoryFile)+" has no known format", "a name that ends in .csv, .yaml or .yml")
		}
		return
	}
	switch {
	case t.RefuseUnknown:
		d.warn(unknownAt, "every request that names a tenant is refused: there is no directory", "tenants.directory")
	case identify != nil:
		d.warn(identify, "no tenant can be found: there is no directory", "tenants.directory")
	}
}

// identify decodes the rules, or fills in the default ones; it returns where
// they stand.
func (d *decoder) identify(o object, t *Tenants) *yaml.Node {
	if !o.has("identify") {
		t.Identify = []tenant.Rule{{Path: "**/t/{tenant}/"}, {Query: "tenantDomain"}}
		return nil
	}
	for i, s := range o.sections("identify") {
		var r tenant.Rule
		path := read(s, "path", &r.Path, parseText)
		query := read(s, "query", &r.Query, parseText)
		if (path == nil) == (query == nil) {
			if s.has("path") == s.has("query") && !s.inherits {
				d.problem(s.node, "a rule needs one of path and query", "{path: ...} or {query: ...}")
			}
			continue
		}
		if _, err := tenant.NewResolver(tenant.Config{Identify: []tenant.Rule{r}}, nil); err != nil {
			at := path
			if at == nil {
				at = query
			}
			d.problem(at, err.Error(), "") // says itself what it expected
		}
		if i == identifyMax {
			d.problem(s.node, "identify has too many rules", fmt.Sprintf("at most %d", identifyMax))
		}
		t.Identify = append(t.Identify, r)
	}
	at, _ := o.find("identify")
	return at
}

func tenantsFormat(path string) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".csv", ".yaml", ".yml":
		return true
	}
	return false
}

// LoadTenants reads a tenants file: .csv with "name,id" lines, or .yaml with a
// list of {name, id}. Errors name the file and the line.
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
	var syntax *csv.ParseError
	if errors.As(err, &syntax) {
		p.Line, p.Column, p.What, p.Expected = syntax.Line, syntax.Column, syntax.Err.Error(), "name,id"
	} else if n, _ := fmt.Sscanf(p.What, "line %d:", &p.Line); n == 1 {
		_, p.What, _ = strings.Cut(p.What, ": ")
	}
	return nil, Problems{p}
}

func tenantsYAML(path string, data []byte) ([]tenant.Entry, error) {
	d := &decoder{file: path, env: os.LookupEnv, keys: map[string]key{}, children: map[string][]string{"tenants": {"name", "id"}}}
	d.keys["tenants.name"] = key{path: "tenants.name", kind: "tenant name", standard: required}
	d.keys["tenants.id"] = key{path: "tenants.id", kind: "number", standard: required}
	root, problems := parseTree(path, data)
	d.problems = problems
	if root == nil {
		return nil, d.problems
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
			entries = append(entries, e)
		}
	}
	if len(d.problems) > 0 {
		return nil, d.problems.sorted()
	}
	return entries, nil
}
