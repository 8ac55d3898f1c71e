package tenants

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"jetway/test/harness"
)

// rows is how many tenants every directory has: t1 and so on, with ids from 1.
func rows() int {
	if harness.Race() {
		return 10_000 // SQLite is Go code: it would take minutes to fill
	}
	return 100_000
}

// source is a real directory that can be made to misbehave.
type source struct {
	name    string
	state   string // of loadbalancer.state_dir
	conf    string // under tenants.directory
	hosts   string // further ones, with a comma in front
	files   []harness.Option
	started func(j *harness.Jetway)
	// troubles by name; each is begun, looked at for a while, and ended.
	troubles []trouble
}

type trouble struct {
	name       string
	begin, end func()
	file       bool // the directory is a file: what it had before stays whole
}

// relay stands between Jetway and a server and can be cut or slowed down.
type relay struct {
	ln    net.Listener
	to    string
	delay atomic.Int64 // nanoseconds before each piece of an answer
	cut   atomic.Bool

	mu    sync.Mutex // guards conns
	conns map[net.Conn]bool
}

func startRelay(t *testing.T, to string) *relay {
	ln, err := net.Listen("tcp", harness.Loopback(harness.FreePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{ln: ln, to: to, conns: map[net.Conn]bool{}}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go r.serve(c)
		}
	}()
	t.Cleanup(func() { ln.Close(); r.setCut(true) })
	return r
}

func (r *relay) port() int { return r.ln.Addr().(*net.TCPAddr).Port }

func (r *relay) setCut(cut bool) {
	r.cut.Store(cut)
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.Close()
	}
}

func (r *relay) serve(c net.Conn) {
	defer c.Close()
	if r.cut.Load() {
		return
	}
	s, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer s.Close()
	r.mu.Lock()
	r.conns[c] = true
	r.mu.Unlock()
	go func() {
		defer s.Close()
		pass(s, c, nil)
	}()
	pass(c, s, &r.delay)
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
}

func pass(dst, src net.Conn, delay *atomic.Int64) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if delay != nil {
			time.Sleep(time.Duration(delay.Load()))
		}
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// overRelay are the troubles of a database behind a relay.
func overRelay(r *relay, db *harness.Database, t *testing.T, garbage, mend, empty, refill string) []trouble {
	return []trouble{
		{name: "stopped", begin: func() { r.setCut(true) }, end: func() { r.setCut(false) }},
		{name: "slow", begin: func() { r.delay.Store(int64(10 * time.Second)) }, end: func() { r.delay.Store(0); r.setCut(false) }},
		{name: "garbage", begin: func() { db.Exec(t, garbage) }, end: func() { db.Exec(t, mend) }},
		{name: "emptied", begin: func() { db.Exec(t, empty) }, end: func() { db.Exec(t, refill) }},
	}
}

func postgres(t *testing.T) source {
	db := harness.StartPostgres(t)
	fill := fmt.Sprintf("INSERT INTO UM_TENANT SELECT i, 't' || i, true FROM generate_series(1, %d) i;", rows())
	const use = "\\c jetway\n"
	db.Exec(t, use+"CREATE TABLE UM_TENANT (UM_ID INT PRIMARY KEY, UM_DOMAIN_NAME VARCHAR(255) NOT NULL UNIQUE, UM_ACTIVE BOOLEAN NOT NULL);"+fill)
	r := startRelay(t, harness.Loopback(db.Port))
	return source{name: "postgres", conf: "sql: {driver: postgres, active: true, dsn: '${DSN}'}",
		files: []harness.Option{harness.WithEnv(fmt.Sprintf("DSN=postgres://jetway@127.0.0.1:%d/jetway?sslmode=disable", r.port()))},
		troubles: overRelay(r, db, t,
			use+"ALTER TABLE UM_TENANT RENAME TO kept; CREATE VIEW UM_TENANT AS SELECT 'x' || UM_ID AS UM_ID, UM_DOMAIN_NAME, UM_ACTIVE FROM kept;",
			use+"DROP VIEW UM_TENANT; ALTER TABLE kept RENAME TO UM_TENANT;",
			use+"TRUNCATE UM_TENANT;", use+fill)}
}

func mariadb(t *testing.T) source {
	db := harness.StartMariaDB(t)
	fill := fmt.Sprintf("INSERT INTO UM_TENANT SELECT seq, CONCAT('t', seq), 1 FROM seq_1_to_%d;", rows())
	const use = "USE jetway;\n"
	db.Exec(t, use+"CREATE TABLE UM_TENANT (UM_ID INT PRIMARY KEY, UM_DOMAIN_NAME VARCHAR(255) NOT NULL UNIQUE, UM_ACTIVE TINYINT NOT NULL);"+fill)
	r := startRelay(t, harness.Loopback(db.Port))
	return source{name: "mariadb", conf: "sql: {driver: mysql, dsn_file: dsn.txt}",
		files: []harness.Option{harness.WithFile("dsn.txt", fmt.Sprintf("jetway@tcp(127.0.0.1:%d)/jetway\n", r.port()))},
		troubles: overRelay(r, db, t,
			use+"RENAME TABLE UM_TENANT TO kept; CREATE VIEW UM_TENANT AS SELECT CONCAT('x', UM_ID) AS UM_ID, UM_DOMAIN_NAME, UM_ACTIVE FROM kept;",
			use+"DROP VIEW UM_TENANT; RENAME TABLE kept TO UM_TENANT;",
			use+"TRUNCATE UM_TENANT;", use+fill)}
}

// sqliteExec changes a SQLite file from outside.
func sqliteExec(t *testing.T, file string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%.100s: %v", s, err)
		}
	}
}

// sqliteSlow is a part of a query that takes far more than ten seconds.
const sqliteSlow = "(WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 1000000000) SELECT max(i) FROM s) > 0"

// sqliteView replaces a table by a view of it; end puts it back.
func sqliteView(t *testing.T, name, file, table, query string) trouble {
	return trouble{name: name, begin: func() {
		sqliteExec(t, file, "ALTER TABLE "+table+" RENAME TO kept", "CREATE VIEW "+table+" AS "+query)
	}, end: func() { sqliteExec(t, file, "DROP VIEW "+table, "ALTER TABLE kept RENAME TO "+table) }}
}

func sqlite(t *testing.T) source {
	file := filepath.Join(t.TempDir(), "wso2.db")
	fill := fmt.Sprintf("INSERT INTO UM_TENANT WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < %d) SELECT i, 't' || i, 1 FROM s", rows())
	sqliteExec(t, file, "CREATE TABLE UM_TENANT (UM_ID INTEGER PRIMARY KEY, UM_DOMAIN_NAME TEXT NOT NULL UNIQUE, UM_ACTIVE INTEGER)", fill)
	return source{name: "sqlite", conf: "sql: {driver: sqlite, dsn: '" + file + "'}, concurrency: 1",
		troubles: []trouble{
			{name: "stopped", begin: func() { sqliteExec(t, file, "ALTER TABLE UM_TENANT RENAME TO kept") },
				end: func() { sqliteExec(t, file, "ALTER TABLE kept RENAME TO UM_TENANT") }},
			sqliteView(t, "slow", file, "UM_TENANT", "SELECT UM_ID, UM_DOMAIN_NAME, UM_ACTIVE FROM kept WHERE "+sqliteSlow),
			sqliteView(t, "garbage", file, "UM_TENANT", "SELECT 'x' AS UM_ID, UM_DOMAIN_NAME, UM_ACTIVE FROM kept"),
			{name: "emptied", begin: func() { sqliteExec(t, file, "DELETE FROM UM_TENANT") }, end: func() { sqliteExec(t, file, fill) }},
		}}
}

func embedded(t *testing.T) source {
	s := source{name: "embedded", state: "state", conf: "embedded: {}, concurrency: 1"}
	var list strings.Builder
	for i := range rows() {
		fmt.Fprintf(&list, "t%d,%d\n", i+1, i+1)
	}
	s.files = []harness.Option{harness.WithFile("import.csv", list.String())}
	var file string
	s.started = func(j *harness.Jetway) {
		file = filepath.Join(j.Dir, "state", "tenants.db")
		cmd := exec.Command(harness.Binary(t), "tenants", "import", "import.csv")
		cmd.Dir = j.Dir
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), fmt.Sprint(rows(), " tenants")) {
			t.Fatalf("%v: %s", err, out)
		}
	}
	// Its file is known only once Jetway runs.
	view := func(name, query string) trouble {
		return trouble{name: name, begin: func() { sqliteView(t, name, file, "tenants", query).begin() },
			end: func() { sqliteView(t, name, file, "tenants", query).end() }}
	}
	s.troubles = []trouble{
		{name: "stopped", begin: func() { sqliteExec(t, file, "ALTER TABLE tenants RENAME TO kept") },
			end: func() { sqliteExec(t, file, "DROP TABLE IF EXISTS tenants", "ALTER TABLE kept RENAME TO tenants") }},
		view("slow", "SELECT name, id, active, plan, removed FROM kept WHERE "+sqliteSlow),
		view("garbage", "SELECT name, 'x' AS id, active, plan, removed FROM kept"),
		{name: "emptied", begin: func() {
			sqliteExec(t, file, "CREATE TABLE spare AS SELECT * FROM tenants", "DELETE FROM tenants", "UPDATE version SET number = number + 1")
		}, end: func() { sqliteExec(t, file, "INSERT INTO tenants SELECT * FROM spare", "DROP TABLE spare") }},
	}
	return s
}

// service answers GET /tenants/NAME as a directory.
type service struct {
	*http.Server
	mode  atomic.Value // string
	asked atomic.Int64
}

func startService(t *testing.T) (*service, string) {
	s := &service{}
	s.mode.Store("")
	s.Server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		var id int
		fmt.Sscanf(r.URL.Path, "/tenants/t%d", &id)
		switch mode := s.mode.Load(); {
		case mode == "stopped":
			panic(http.ErrAbortHandler)
		case mode == "slow":
			select {
			case <-r.Context().Done():
			case <-time.After(10 * time.Second):
			}
		case r.Header.Get("Authorization") != "Bearer let-me-in":
			w.WriteHeader(http.StatusUnauthorized)
		case mode == "garbage":
			fmt.Fprint(w, "<html>"+strings.Repeat("x", 200_000))
		case mode == "emptied", id < 1 || id > rows(), r.URL.Path != fmt.Sprintf("/tenants/t%d", id):
			w.WriteHeader(http.StatusNotFound)
		default:
			json.NewEncoder(w).Encode(map[string]any{"id": id, "active": true})
		}
	})}
	ln, err := net.Listen("tcp", harness.Loopback(harness.FreePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	return s, "http://" + ln.Addr().String() + "/tenants/{tenant}"
}

func service1(t *testing.T) source {
	s, url := startService(t)
	src := source{name: "http", conf: "http: {url: '" + url + "', token_file: token}", files: []harness.Option{harness.WithFile("token", "let-me-in\n")}}
	for _, mode := range []string{"stopped", "slow", "garbage", "emptied"} {
		src.troubles = append(src.troubles, trouble{name: mode, begin: func() { s.mode.Store(mode) }, end: func() { s.mode.Store("") }})
	}
	return src
}

func file(t *testing.T) source {
	var list strings.Builder
	list.WriteString("name,id,active\n")
	for i := range rows() {
		fmt.Fprintf(&list, "t%d,%d,true\n", i+1, i+1)
	}
	s := source{name: "file", conf: "file: tenants.csv", files: []harness.Option{harness.WithFile("tenants.csv", list.String())}}
	var j *harness.Jetway
	s.started = func(running *harness.Jetway) { j = running }
	path := func() string { return filepath.Join(j.Dir, "tenants.csv") }
	mend := func() { j.WriteFile(t, "tenants.csv", list.String()) }
	var fed sync.WaitGroup
	s.troubles = []trouble{
		{"stopped", func() { os.Remove(path()) }, mend, true},
		{"slow", func() { fed.Go(func() { feed(t, path(), list.String()) }) }, func() { fed.Wait(); mend() }, true},
		{"garbage", func() { j.WriteFile(t, "tenants.csv", "t1,1\n<html>\n") }, mend, true},
		{"emptied", func() { j.WriteFile(t, "tenants.csv", "") }, mend, true},
	}
	return s
}

// feed makes a file of which a quarter is read in some seconds, and that is all:
// a list that lost most of its tenants.
func feed(t *testing.T, path, text string) {
	os.Remove(path)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Error(err)
		return
	}
	defer os.Remove(path)
	f, err := os.OpenFile(path, os.O_RDWR, 0) // does not wait for a reader
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	pieces := 2
	if harness.Long() {
		pieces = 10
	}
	for i := range pieces {
		f.WriteString(text[len(text)*i/4/pieces : len(text)*(i+1)/4/pieces])
		time.Sleep(time.Second)
	}
}
