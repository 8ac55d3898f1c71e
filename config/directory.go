package config

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"jetway/tenant"
	"jetway/tenant/directory"
)

// tenantDirectory decodes where tenants are kept.
func (d *decoder) tenantDirectory(o object, c *Config) {
	t := &c.Tenants.Directory
	file := readFile(o, "file", &t.File, checkDirectory)
	if file != nil && !tenantsFormat(t.File) {
		d.problem(file, d.shown(t.File)+" has no known format", "a name that ends in .csv, .yaml or .yml")
	}
	read(o, "max_shrink", &t.MaxShrink, parsePercent)
	read(o, "ttl", &t.Cache.TTL, parseWait)
	read(o, "negative_ttl", &t.Cache.NegativeTTL, parseWait)
	read(o, "timeout", &t.Cache.Timeout, func(s string) (time.Duration, error) {
		w, err := parseWait(s)
		if err == nil && w > 10*time.Second {
			err = fmt.Errorf("a duration of at most 10s: requests wait for it")
		}
		return w, err
	})
	read(o, "entries", &t.Cache.Entries, parseNumber(1000, 100_000_000))
	read(o, "concurrency", &t.Cache.Concurrency, parseNumber(1, 1000))
	read(o, "rate", &t.Cache.Rate, parseNumber(0, 1_000_000))
	d.sqlDirectory(o.section("sql"), o.has("sql"), c)
	d.httpDirectory(o.section("http"), o.has("http"), c)
	d.embeddedDirectory(o.section("embedded"), o.has("embedded"), c)
	kinds := 0
	for _, name := range []string{"file", "sql", "http", "embedded"} {
		if o.has(name) {
			kinds++
		}
	}
	if d.directory && kinds != 1 && !o.inherits {
		d.problem(o.node, fmt.Sprintf("the directory has %d sources", kinds), "one of file, sql, http and embedded")
	}
}

func (d *decoder) sqlDirectory(o object, given bool, c *Config) {
	if !given {
		return
	}
	var s directory.SQL
	driver := read(o, "driver", &s.Driver, parseChoice(directory.Postgres, directory.MySQL, directory.SQLite))
	dsn := read(o, "dsn", &s.DSN, parseText)
	file := readFile(o, "dsn_file", &c.Tenants.SecretFile, checkReadable)
	query := read(o, "query", &s.Query, parseText)
	active := read(o, "active", &s.Active, parseBool)
	read(o, "connections", &s.Connections, parseNumber(1, 1000))
	read(o, "idle", &s.IdleFor, parseWait)
	read(o, "lifetime", &s.Lifetime, parseWait)
	c.Tenants.Directory.SQL = &s
	if (dsn == nil) == (file == nil) && !o.inherits {
		d.problem(o.node, "sql needs one of dsn and dsn_file", "dsn: ${TENANTS_DSN}, or dsn_file: FILE")
		return
	}
	if query != nil && s.Query != "" && active != nil && s.Active {
		d.problem(active, "active belongs to the standard query", "a second column in query instead")
	}
	if driver == nil || dsn == nil && file == nil {
		return
	}
	at, check := query, s
	if dsn == nil {
		check.DSN = "" // its file is looked into later
	}
	if at == nil {
		at = driver
	}
	if dsn != nil {
		at = dsn
		if s.Driver == directory.SQLite && !strings.HasPrefix(s.DSN, "file:") && !filepath.IsAbs(s.DSN) {
			s.DSN = filepath.Join(d.dir, s.DSN)
		}
	} else if s.Driver == directory.SQLite {
		check.DSN = "x"
	}
	if err := check.Check(); err != nil {
		d.problem(at, err.Error(), "")
	}
}

func (d *decoder) httpDirectory(o object, given bool, c *Config) {
	if !given {
		return
	}
	var h directory.HTTP
	url := read(o, "url", &h.URL, parseText)
	readFile(o, "ca_file", &h.CAFile, checkCertificates)
	token := read(o, "token", &h.Token, parseText)
	file := readFile(o, "token_file", &c.Tenants.TokenFile, checkReadable)
	c.Tenants.Directory.HTTP = &h
	if token != nil && file != nil {
		d.problem(token, "there are both token and token_file", "one of them")
	}
	if url == nil {
		return
	}
	if err := h.Check(); err != nil {
		d.problem(url, err.Error(), "")
	}
	if (token != nil || file != nil) && strings.HasPrefix(strings.ToLower(h.URL), "http:") {
		d.warn(url, "the token is sent in the clear", "https://")
	}
}

func (d *decoder) embeddedDirectory(o object, given bool, c *Config) {
	if !given {
		return
	}
	name := "tenants.db"
	at := read(o, "file", &name, parseText)
	if c.StateDir == "" {
		d.problem(o.node, "the embedded directory has no place: there is no state_dir", "loadbalancer.state_dir")
	}
	if at != nil && name == "" {
		d.problem(at, "file is empty", "the name of a file")
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(c.StateDir, name)
	}
	c.Tenants.Directory.Embedded = &directory.Embedded{File: name}
}

// Directory returns where tenants are kept, with what stands in files of its
// own filled in.
func (c *Config) Directory() (directory.Config, error) {
	dir := c.Tenants.Directory
	if dir.SQL != nil {
		s := *dir.SQL
		if c.Tenants.SecretFile != "" {
			text, err := secretLine(c.Tenants.SecretFile)
			if err != nil {
				return dir, fmt.Errorf("dsn_file %w", err)
			}
			s.DSN = text
		}
		dir.SQL = &s
	}
	if dir.HTTP != nil {
		h := *dir.HTTP
		if c.Tenants.TokenFile != "" {
			text, err := secretLine(c.Tenants.TokenFile)
			if err != nil {
				return dir, fmt.Errorf("token_file %w", err)
			}
			h.Token = text
		}
		if h.CAFile != "" {
			data, err := readSmall(h.CAFile)
			if err != nil {
				return dir, fmt.Errorf("ca_file %q %w", h.CAFile, err)
			}
			h.CASum = fmt.Sprintf("%x", sha256.Sum256(data))
		}
		dir.HTTP = &h
	}
	return dir, nil
}

func secretLine(path string) (string, error) {
	data, err := readSmall(path)
	if err != nil {
		return "", fmt.Errorf("%q %w", path, err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" || strings.ContainsAny(text, "\r\n\x00") {
		return "", fmt.Errorf("%q does not hold one line", path)
	}
	return text, nil
}

// List reads the tenants file; nil where there is none.
func (c *Config) List(numbers *tenant.Plans) (*tenant.List, error) {
	path := c.Tenants.Directory.File
	if path == "" {
		return nil, nil
	}
	entries, err := LoadTenants(path)
	if err != nil {
		return nil, err
	}
	list, err := tenant.NewList(entries, numbers)
	if err != nil {
		return nil, fmt.Errorf("cannot use tenants file %q: %w", path, err)
	}
	return list, nil
}

// identifyServices decodes the rules of a service of its own.
func (d *serviceDecoder) identifyService(o object, name *yaml.Node, c *Config) {
	if !o.has("identify") {
		return
	}
	if c.Tenants.Services == nil {
		c.Tenants.Services = map[string][]tenant.Rule{}
	}
	c.Tenants.Services[name.Value] = slices.Clip(d.rules(o, c))
}
