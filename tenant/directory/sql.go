package directory

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite" // its driver is opened by name

	"jetway/tenant"
)

// The queries of the WSO2 user manager.
const (
	standardQuery       = "SELECT UM_ID FROM UM_TENANT WHERE UM_DOMAIN_NAME = ?"
	standardQueryActive = "SELECT UM_ID, UM_ACTIVE FROM UM_TENANT WHERE UM_DOMAIN_NAME = ?"
)

// database is a Source over database/sql.
type database struct {
	db    *sql.DB
	query string
}

func openSQL(cfg SQL, timeout time.Duration) (*database, error) {
	query, err := cfg.query()
	if err != nil {
		return nil, err
	}
	connector, err := cfg.connector(timeout)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(max(cfg.Connections, 1))
	db.SetMaxIdleConns(max(cfg.Connections, 1))
	db.SetConnMaxIdleTime(cfg.IdleFor)
	db.SetConnMaxLifetime(cfg.Lifetime)
	return &database{db, query}, nil
}

// query returns the query in the placeholders of its driver.
func (c *SQL) query() (string, error) {
	query := c.Query
	switch {
	case query == "" && c.Active:
		query = standardQueryActive
	case query == "":
		query = standardQuery
	}
	if c.Driver == Postgres && strings.Contains(query, "$1") {
		return query, nil
	}
	if strings.Count(query, "?") != 1 {
		return "", fmt.Errorf("cannot use query %q: expected one ? where the tenant's name belongs", query)
	}
	if c.Driver == Postgres {
		query = strings.Replace(query, "?", "$1", 1)
	}
	return query, nil
}

// Check reports what is wrong with the configuration, without its secrets.
func (c *SQL) Check() error {
	if _, err := c.query(); err != nil {
		return err
	}
	_, err := c.connector(time.Second)
	return err
}

// connector reads the DSN. What its parsers say may hold the password, so it
// is not passed on.
func (c *SQL) connector(timeout time.Duration) (driver.Connector, error) {
	switch c.Driver {
	case Postgres:
		cfg, err := pgx.ParseConfig(c.DSN)
		if err != nil {
			return nil, errors.New("cannot read the DSN; expected one of PostgreSQL, such as \"postgres://user:password@db:5432/name\"")
		}
		if cfg.ConnectTimeout == 0 || cfg.ConnectTimeout > 10*timeout {
			cfg.ConnectTimeout = 10 * timeout
		}
		return stdlib.GetConnector(*cfg), nil
	case MySQL:
		cfg, err := mysql.ParseDSN(c.DSN)
		if err != nil {
			return nil, errors.New("cannot read the DSN; expected one of MySQL, such as \"user:password@tcp(db:3306)/name\"")
		}
		cfg.Logger = &mysql.NopLogger{} // errors are counted and shown by the cache
		for _, t := range []*time.Duration{&cfg.Timeout, &cfg.ReadTimeout, &cfg.WriteTimeout} {
			if *t == 0 || *t > 10*timeout {
				*t = 10 * timeout
			}
		}
		return mysql.NewConnector(cfg)
	case SQLite:
		if c.DSN == "" {
			return nil, errors.New("cannot use an empty DSN; expected the name of a file")
		}
		return sqliteConnector{c.DSN}, nil
	}
	return nil, fmt.Errorf("cannot use driver %q; expected %s, %s or %s", c.Driver, Postgres, MySQL, SQLite)
}

// sqliteConnector opens connections to a SQLite database.
type sqliteConnector struct{ dsn string }

func (c sqliteConnector) Connect(context.Context) (driver.Conn, error) { return c.Driver().Open(c.dsn) }
func (sqliteConnector) Driver() driver.Driver                          { return &sqlite.Driver{} }

// Close implements Source.
func (d *database) Close() error { return d.db.Close() }

// Lookup implements tenant.Source.
func (d *database) Lookup(ctx context.Context, name string) (tenant.Entry, error) {
	rows, err := d.db.QueryContext(ctx, d.query, name)
	if err != nil {
		return tenant.Entry{}, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return tenant.Entry{}, err
	}
	if len(columns) < 1 || len(columns) > 3 {
		return tenant.Entry{}, garbage("the query returns %d columns, expected 1 to 3", len(columns))
	}
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return tenant.Entry{}, err
		}
		return tenant.Entry{}, tenant.ErrNotFound
	}
	e := tenant.Entry{Name: name}
	values := [3]any{&idColumn{&e}, &activeColumn{&e}, &planColumn{&e}}
	if err := rows.Scan(values[:len(columns)]...); err != nil {
		return tenant.Entry{}, garbage("%v", err)
	}
	if rows.Next() {
		return tenant.Entry{}, garbage("several rows for one name")
	}
	return e, rows.Err()
}

// idColumn, activeColumn and planColumn take what drivers return for a column.
type (
	idColumn     struct{ e *tenant.Entry }
	activeColumn struct{ e *tenant.Entry }
	planColumn   struct{ e *tenant.Entry }
)

// Scan implements sql.Scanner.
func (c idColumn) Scan(v any) error {
	switch v := v.(type) {
	case int64:
		c.e.ID = tenant.ID(v)
		return nil
	case []byte, string:
		id, err := strconv.ParseInt(text(v), 10, 64)
		c.e.ID = tenant.ID(id)
		return err
	}
	return fmt.Errorf("the id is %T, expected a number", v)
}

// Scan implements sql.Scanner. What is not known is active.
func (c activeColumn) Scan(v any) error {
	switch v := v.(type) {
	case nil:
	case bool:
		c.e.Inactive = !v
	case int64:
		c.e.Inactive = v == 0
	case []byte, string:
		s := text(v)
		if len(s) == 1 && s[0] <= 1 { // BIT(1) of MySQL
			c.e.Inactive = s[0] == 0
			return nil
		}
		active, err := tenant.ParseActive(s)
		c.e.Inactive = !active
		return err
	default:
		return fmt.Errorf("active is %T, expected true or false", v)
	}
	return nil
}

// Scan implements sql.Scanner.
func (c planColumn) Scan(v any) error {
	switch v := v.(type) {
	case nil:
	case []byte, string:
		c.e.Plan = text(v)
	default:
		return fmt.Errorf("the plan is %T, expected text", v)
	}
	return nil
}

func text(v any) string {
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return v.(string)
}
