// Package directory asks where tenants are kept: an SQL database, an HTTP
// service, or the SQLite file that Jetway keeps itself. Each is a
// tenant.Source; tenant.Cache stands in front of it and bounds everything. A
// file is no source: it is read whole into a tenant.List by config.
//
// A source owns its connections from Open to Close and starts nothing of its
// own. What it is told of tenants is checked here as far as its form goes;
// what cannot be understood is tenant.ErrGarbage.
package directory

import (
	"fmt"
	"io"
	"time"

	"jetway/tenant"
)

// Config says where tenants are kept. At most one of File, SQL, HTTP and
// Embedded is set; none knows nobody.
type Config struct {
	File     string // read whole by config
	SQL      *SQL
	HTTP     *HTTP
	Embedded *Embedded
	Cache    tenant.CacheConfig
	// MaxShrink is the share of the tenants of a file, 0..1, that may be gone
	// when it is loaded again.
	MaxShrink float64
}

// Driver names a kind of database.
type Driver string

const (
	Postgres Driver = "postgres"
	MySQL    Driver = "mysql" // MariaDB too
	SQLite   Driver = "sqlite"
)

// SQL is a database that has a table of tenants.
type SQL struct {
	Driver Driver
	DSN    string
	// Query has one placeholder for the name, "?" whatever the driver, and
	// returns the id, and if it likes whether the tenant is active, and the
	// name of its plan. Empty: that of the WSO2 user manager.
	Query string
	// Active has the standard query look at UM_ACTIVE.
	Active bool
	// Connections bounds those to the database; IdleFor is when an unused one
	// is closed, Lifetime when any is replaced.
	Connections int
	IdleFor     time.Duration
	Lifetime    time.Duration
}

// HTTP is a service that is asked by GET.
type HTTP struct {
	URL    string // {tenant} stands for the name
	CAFile string // PEM; empty: the system's authorities
	CASum  string // of its content: another one needs other connections
	Token  string // sent as bearer token; empty: none
}

// Embedded is a SQLite file of Jetway's own.
type Embedded struct{ File string }

// Source is a tenant.Source that holds connections.
type Source interface {
	tenant.Source
	io.Closer
}

// Open validates cfg and returns its source; nil where it is a file or there
// is none. Nothing is connected to yet: a directory that is down is no reason
// not to start.
func Open(cfg Config) (Source, error) {
	switch {
	case cfg.SQL != nil:
		return openSQL(*cfg.SQL, cfg.Cache.Timeout)
	case cfg.HTTP != nil:
		return openHTTP(*cfg.HTTP, cfg.Cache)
	case cfg.Embedded != nil:
		return openEmbedded(cfg.Embedded.File)
	}
	return nil, nil
}

// Kind is one word for what a directory is.
func (c *Config) Kind() string {
	switch {
	case c.File != "":
		return "file"
	case c.SQL != nil:
		return string(c.SQL.Driver)
	case c.HTTP != nil:
		return "http"
	case c.Embedded != nil:
		return "embedded"
	}
	return "none"
}

// garbage is a tenant.ErrGarbage that says more.
func garbage(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{tenant.ErrGarbage}, args...)...)
}
