package directory

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"jetway/tenant"
)

// embeddedTables holds the tenants and a number that every change raises.
// Tenants that were removed keep their row: their id is not given to another
// one, and who asks is told that they are gone on purpose.
const embeddedTables = `
CREATE TABLE IF NOT EXISTS tenants (name TEXT PRIMARY KEY, id INTEGER NOT NULL UNIQUE, active INTEGER NOT NULL DEFAULT 1,
	plan TEXT NOT NULL DEFAULT '', removed INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS version (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL);
INSERT OR IGNORE INTO version VALUES (1, 1);`

// Book is the embedded directory: it is looked up by a running Jetway and
// edited by "jetway tenants". Several processes may have it open.
type Book struct{ db *sql.DB }

func openEmbedded(file string) (*Book, error) { return OpenBook(file) }

// OpenBook opens the file; it is made when it is first used.
func OpenBook(file string) (*Book, error) {
	if file == "" {
		return nil, errors.New("cannot open the embedded directory without a file")
	}
	// SQLite takes a question mark in a file name for the beginning of options.
	dsn := "file:" + (&url.URL{Path: file}).EscapedPath() + "?_pragma=busy_timeout(2000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"
	db := sql.OpenDB(bookConnector{sqliteConnector{dsn}, file})
	db.SetMaxOpenConns(4)
	return &Book{db}, nil
}

// bookConnector makes the file and its tables before the first connection.
type bookConnector struct {
	sqliteConnector
	file string
}

// Connect implements driver.Connector.
func (c bookConnector) Connect(ctx context.Context) (driver.Conn, error) {
	if _, err := os.Stat(c.file); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(c.file), 0o700); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(c.file, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		f.Close()
	}
	conn, err := c.sqliteConnector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	e, ok := conn.(driver.ExecerContext)
	if !ok {
		conn.Close()
		return nil, errors.New("BUG: the SQLite driver cannot execute")
	}
	if _, err := e.ExecContext(ctx, embeddedTables, nil); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// Close implements Source.
func (b *Book) Close() error { return b.db.Close() }

// Lookup implements tenant.Source.
func (b *Book) Lookup(ctx context.Context, name string) (tenant.Entry, error) {
	e := tenant.Entry{Name: name}
	var active, removed bool
	err := b.db.QueryRowContext(ctx, "SELECT id, active, plan, removed FROM tenants WHERE name = ?", name).Scan(&e.ID, &active, &e.Plan, &removed)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return e, tenant.ErrNotFound
	case err != nil:
		return e, err
	case removed:
		return e, tenant.ErrRemoved
	}
	e.Inactive = !active
	return e, nil
}

// Version implements tenant.Versioned.
func (b *Book) Version(ctx context.Context) (n int64, err error) {
	err = b.db.QueryRowContext(ctx, "SELECT number FROM version").Scan(&n)
	return n, err
}

// ErrExists: the book has the tenant already.
var ErrExists = errors.New("there already")

// Add enters a new tenant. Without an id it gets the next one; its id, if it
// was removed before. It returns the id.
func (b *Book) Add(ctx context.Context, e tenant.Entry) (id tenant.ID, err error) {
	err = b.change(ctx, func(tx *sql.Tx) error {
		id, err = add(ctx, tx, e)
		return err
	})
	return id, err
}

func add(ctx context.Context, tx *sql.Tx, e tenant.Entry) (tenant.ID, error) {
	e.Name = strings.ToLower(e.Name)
	var old tenant.ID
	var removed bool
	err := tx.QueryRowContext(ctx, "SELECT id, removed FROM tenants WHERE name = ?", e.Name).Scan(&old, &removed)
	switch {
	case err == nil && !removed:
		return 0, fmt.Errorf("cannot add tenant %q: it is %w, with the id %d", e.Name, ErrExists, old)
	case err == nil && e.ID == 0:
		e.ID = old
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return 0, err
	case e.ID == 0:
		if err := tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(id), 0) + 1 FROM tenants").Scan(&e.ID); err != nil {
			return 0, err
		}
	}
	return e.ID, put(ctx, tx, e)
}

const (
	putInto   = "INSERT INTO tenants (name, id, active, plan) VALUES "
	putRow    = "(?, ?, ?, ?)"
	putUpdate = " ON CONFLICT (name) DO UPDATE SET id = excluded.id, active = excluded.active, plan = excluded.plan, removed = 0"
	// putRows is how many go into one statement, which is what an import costs.
	putRows = 500
)

// put enters or replaces tenants.
func put(ctx context.Context, tx *sql.Tx, entries ...tenant.Entry) error {
	for chunk := range slices.Chunk(entries, putRows) {
		values := make([]any, 0, 4*len(chunk))
		for i := range chunk {
			e := &chunk[i]
			if err := e.Check(); err != nil {
				return err
			}
			values = append(values, e.Name, e.ID, !e.Inactive, e.Plan)
		}
		query := putInto + putRow + strings.Repeat(", "+putRow, len(chunk)-1) + putUpdate
		if _, err := tx.ExecContext(ctx, query, values...); err != nil {
			return cmp.Or(takenID(ctx, tx, chunk), err)
		}
	}
	return nil
}

// takenID finds an entry whose id another tenant has, nil where none has.
func takenID(ctx context.Context, tx *sql.Tx, entries []tenant.Entry) error {
	names := map[tenant.ID]string{}
	for i := range entries {
		e := &entries[i]
		other := names[e.ID]
		if other == "" {
			if err := tx.QueryRowContext(ctx, "SELECT name FROM tenants WHERE id = ? AND name <> ?", e.ID, e.Name).Scan(&other); err != nil {
				other = ""
			}
		}
		if other != "" && other != e.Name {
			return fmt.Errorf("cannot give tenant %q the id %d: it is that of %q", e.Name, e.ID, other)
		}
		names[e.ID] = e.Name
	}
	return nil
}

// Set changes a tenant that is there: change is given what is known of it.
func (b *Book) Set(ctx context.Context, name string, change func(*tenant.Entry)) error {
	name = strings.ToLower(name)
	return b.change(ctx, func(tx *sql.Tx) error {
		e := tenant.Entry{Name: name}
		var active bool
		err := tx.QueryRowContext(ctx, "SELECT id, active, plan FROM tenants WHERE name = ? AND NOT removed", name).Scan(&e.ID, &active, &e.Plan)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("cannot change tenant %q: %w", name, tenant.ErrNotFound)
		}
		if err != nil {
			return err
		}
		e.Inactive = !active
		change(&e)
		return put(ctx, tx, e)
	})
}

// Remove takes a tenant out; its id stays its own.
func (b *Book) Remove(ctx context.Context, name string) error {
	return b.change(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE tenants SET removed = 1 WHERE name = ? AND NOT removed", strings.ToLower(name))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, fmt.Errorf("cannot remove tenant %q: %w", name, tenant.ErrNotFound))
		}
		return nil
	})
}

// Import enters or replaces tenants, all of them or none.
func (b *Book) Import(ctx context.Context, entries []tenant.Entry) error {
	return b.change(ctx, func(tx *sql.Tx) error { return put(ctx, tx, entries...) })
}

// change runs f as one change that a running Jetway notices.
func (b *Book) change(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// First, so that writers wait for each other here and not halfway.
	if _, err := tx.ExecContext(ctx, "UPDATE version SET number = number + 1"); err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Each calls f for every tenant in the order of ids until it returns false.
func (b *Book) Each(ctx context.Context, f func(tenant.Entry) bool) error {
	rows, err := b.db.QueryContext(ctx, "SELECT name, id, active, plan FROM tenants WHERE NOT removed ORDER BY id")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var e tenant.Entry
		var active bool
		if err := rows.Scan(&e.Name, &e.ID, &active, &e.Plan); err != nil {
			return err
		}
		e.Inactive = !active
		if !f(e) {
			return nil
		}
	}
	return rows.Err()
}
