package directory

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jetway/tenant"
)

func TestTarget(t *testing.T) {
	f := func(url, name, want string) {
		t.Helper()
		s, err := openHTTP(HTTP{URL: url}, tenant.CacheConfig{Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.target(name); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
	f("http://d/t/{tenant}", "acme.com", "http://d/t/acme.com")
	f("http://d/t/{tenant}/x?n={tenant}", "a/b?c&d=%", "http://d/t/a%2Fb%3Fc&d=%25/x?n=a%2Fb%3Fc%26d%3D%25")
}

func TestHTTPCheckRefuses(t *testing.T) {
	for _, url := range []string{"", "ftp://d/{tenant}", "http://d/", "http://{tenant}/", "http://{tenant}.d/x", "http://u:p@d/{tenant}", "d/{tenant}", "http://d/#{tenant}"} {
		if (&HTTP{URL: url}).Check() == nil {
			t.Errorf("%q was accepted", url)
		}
	}
	if (&HTTP{URL: "http://d/{tenant}", Token: "a\r\nX: y"}).Check() == nil {
		t.Error("a token of two lines was accepted")
	}
}

// TestHTTPOverTLS: certificates are verified, the token goes along, redirects
// are not followed, and answers are read strictly.
func TestHTTPOverTLS(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answer(w, r)
	}))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	lookup := func(cfg HTTP) (tenant.Entry, error) {
		cfg.URL = server.URL + "/{tenant}"
		s, err := openHTTP(cfg, tenant.CacheConfig{Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return s.Lookup(context.Background(), "acme.com")
	}
	f := func(body string, status int, want tenant.Entry, wantErr error) {
		t.Helper()
		answer = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
		got, err := lookup(HTTP{CAFile: ca, Token: "secret"})
		if wantErr != nil {
			if !errors.Is(err, wantErr) {
				t.Fatalf("%d %.50q: error %v, want %v", status, body, err, wantErr)
			}
			return
		}
		want.Name = "acme.com"
		if err != nil || got != want {
			t.Fatalf("%q: %+v, %v", body, got, err)
		}
	}
	f(`{"id": 42}`, 200, tenant.Entry{ID: 42}, nil)
	f(`{"id": "42"}`, 200, tenant.Entry{ID: 42}, nil)
	f(`{"id": 42, "active": false, "plan": "gold", "name": "ACME.com", "x": []}`, 200, tenant.Entry{ID: 42, Inactive: true, Plan: "gold"}, nil)
	f(``, 404, tenant.Entry{}, tenant.ErrNotFound)
	f(`{}`, 200, tenant.Entry{}, tenant.ErrGarbage)
	f(`{"id": 4.2}`, 200, tenant.Entry{}, tenant.ErrGarbage)
	f(`{"id": 42, "name": "other"}`, 200, tenant.Entry{}, tenant.ErrGarbage)
	f(`<html>`, 200, tenant.Entry{}, tenant.ErrGarbage)
	f(`{"id": 42} `+strings.Repeat(" ", answerMax), 200, tenant.Entry{}, tenant.ErrGarbage)
	for _, status := range []int{302, 401, 403, 500, 503} {
		answer = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", server.URL+"/elsewhere")
			w.WriteHeader(status)
			fmt.Fprint(w, `{"id": 42}`)
		}
		if _, err := lookup(HTTP{CAFile: ca, Token: "secret"}); err == nil || errors.Is(err, tenant.ErrNotFound) {
			t.Fatalf("%d is %v", status, err)
		}
	}
	if _, err := lookup(HTTP{Token: "secret"}); err == nil {
		t.Fatal("a certificate of nobody was accepted")
	}
	if _, err := lookup(HTTP{CAFile: ca}); err == nil || errors.Is(err, tenant.ErrNotFound) {
		t.Fatalf("without token: %v", err)
	}
}

func TestQuery(t *testing.T) {
	f := func(c SQL, want string) {
		t.Helper()
		got, err := c.query()
		if (err != nil) != (want == "") || got != want {
			t.Fatalf("%+v: %q, %v", c, got, err)
		}
	}
	f(SQL{Driver: MySQL}, standardQuery)
	f(SQL{Driver: Postgres}, "SELECT UM_ID FROM UM_TENANT WHERE UM_DOMAIN_NAME = $1")
	f(SQL{Driver: SQLite, Active: true}, standardQueryActive)
	f(SQL{Driver: Postgres, Query: "SELECT id FROM t WHERE n = $1 AND m = $1"}, "SELECT id FROM t WHERE n = $1 AND m = $1")
	f(SQL{Driver: MySQL, Query: "SELECT id FROM t"}, "")
	f(SQL{Driver: MySQL, Query: "SELECT id FROM t WHERE a = ? OR b = ?"}, "")
}

func TestDSNIsNotTold(t *testing.T) {
	for _, c := range []SQL{{Driver: Postgres, DSN: "postgres://u:hunter2@[db/x"}, {Driver: MySQL, DSN: "u:hunter2@db"}, {Driver: "oracle", DSN: "hunter2"}, {Driver: SQLite}} {
		if err := c.Check(); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", c.Driver, err)
		}
	}
}

// TestColumns reads what a query of the operator's own may return.
func TestColumns(t *testing.T) {
	f := func(selected string, want tenant.Entry, wantErr error) {
		t.Helper()
		d, err := openSQL(SQL{Driver: SQLite, DSN: "file:" + filepath.Join(t.TempDir(), "x.db"), Query: "SELECT " + selected + " WHERE ? = 'acme'"}, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		got, err := d.Lookup(context.Background(), "acme")
		if want.Name = "acme"; wantErr == nil && (err != nil || got != want) || !errors.Is(err, wantErr) {
			t.Fatalf("%s: %+v, %v", selected, got, err)
		}
		if _, err := d.Lookup(context.Background(), "nobody"); wantErr == nil && !errors.Is(err, tenant.ErrNotFound) {
			t.Fatalf("nobody: %v", err)
		}
	}
	f("42", tenant.Entry{ID: 42}, nil)
	f("'42', 'false'", tenant.Entry{ID: 42, Inactive: true}, nil)
	f("42, 1, 'gold'", tenant.Entry{ID: 42, Plan: "gold"}, nil)
	f("42, NULL, NULL", tenant.Entry{ID: 42}, nil)
	f("42, 0", tenant.Entry{ID: 42, Inactive: true}, nil)
	f("'x'", tenant.Entry{}, tenant.ErrGarbage)
	f("NULL", tenant.Entry{}, tenant.ErrGarbage)
	f("1.5", tenant.Entry{}, tenant.ErrGarbage)
	f("42, 'perhaps'", tenant.Entry{}, tenant.ErrGarbage)
	f("42, 1, 3", tenant.Entry{}, tenant.ErrGarbage)
	f("1, 2, 3, 4", tenant.Entry{}, tenant.ErrGarbage)
}

func TestBook(t *testing.T) {
	ctx := context.Background()
	file := filepath.Join(t.TempDir(), "st?te", "tenants.db") // a name that is no option
	b, err := OpenBook(file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	other, err := OpenBook(file) // as a running Jetway has it
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	version := func() int64 {
		n, err := other.Version(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := version()
	must := func(id tenant.ID, err error) tenant.ID {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	if a, c := must(b.Add(ctx, tenant.Entry{Name: "Acme.com"})), must(b.Add(ctx, tenant.Entry{Name: "b", ID: 7, Plan: "gold"})); a != 1 || c != 7 {
		t.Fatalf("ids %d and %d", a, c)
	}
	if id := must(b.Add(ctx, tenant.Entry{Name: "c"})); id != 8 {
		t.Fatalf("the next id is %d", id)
	}
	if _, err := b.Add(ctx, tenant.Entry{Name: "acme.com"}); !errors.Is(err, ErrExists) {
		t.Fatalf("twice: %v", err)
	}
	if _, err := b.Add(ctx, tenant.Entry{Name: "d", ID: 7}); err == nil {
		t.Fatal("an id was given twice")
	}
	if _, err := b.Add(ctx, tenant.Entry{Name: "no good", ID: 9}); err == nil {
		t.Fatal("a bad name was taken")
	}
	must(0, b.Set(ctx, "ACME.com", func(e *tenant.Entry) { e.Inactive = true }))
	if e, err := other.Lookup(ctx, "acme.com"); err != nil || e.ID != 1 || !e.Inactive {
		t.Fatalf("%+v, %v", e, err)
	}
	must(0, b.Remove(ctx, "b"))
	if _, err := other.Lookup(ctx, "b"); !errors.Is(err, tenant.ErrRemoved) {
		t.Fatalf("removed: %v", err)
	}
	if _, err := other.Lookup(ctx, "never"); errors.Is(err, tenant.ErrRemoved) || !errors.Is(err, tenant.ErrNotFound) {
		t.Fatalf("never there: %v", err)
	}
	if err := b.Remove(ctx, "b"); !errors.Is(err, tenant.ErrNotFound) {
		t.Fatalf("removed twice: %v", err)
	}
	if id := must(b.Add(ctx, tenant.Entry{Name: "b"})); id != 7 {
		t.Fatalf("it came back as %d", id)
	}
	// All of an import or nothing.
	if err := b.Import(ctx, []tenant.Entry{{Name: "x", ID: 100}, {Name: "y", ID: 7}}); err == nil {
		t.Fatal("an import gave an id twice")
	}
	must(0, b.Import(ctx, []tenant.Entry{{Name: "y", ID: 101}, {Name: "c", ID: 102}}))
	var all []string
	must(0, b.Each(ctx, func(e tenant.Entry) bool { all = append(all, fmt.Sprint(e.Name, e.ID)); return true }))
	if got := strings.Join(all, " "); got != "acme.com1 b7 y101 c102" {
		t.Fatal(got)
	}
	if version() <= before {
		t.Fatal("nobody would notice the changes")
	}
}
