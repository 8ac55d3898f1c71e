package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Database is a real database server on a free port with a directory of its
// own, run by an unprivileged user.
type Database struct {
	*Process
	Port int
	run  func(sql string) *exec.Cmd
}

// Exec runs statements.
func (d *Database) Exec(t testing.TB, sql string) {
	t.Helper()
	cmd := d.run(sql)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot run %.200q: %v\n%s", sql, err, out)
	}
}

// nobody is whom databases run as where the tests are root, which they refuse.
const nobody = 65534

// unprivileged makes cmd run as nobody, if this is root.
func unprivileged(cmd *exec.Cmd) *exec.Cmd {
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

// databaseDir is a directory of the test's that the unprivileged user owns.
func databaseDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "jetway-db-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if os.Getuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// postgresTool finds a program that Debian keeps by version.
func postgresTool(t testing.TB, name string) string {
	t.Helper()
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(found) > 0 {
		return found[len(found)-1]
	}
	return RequireTool(t, name)
}

// StartPostgres starts PostgreSQL with a user and database called jetway.
func StartPostgres(t testing.TB) *Database {
	t.Helper()
	initdb, postgres, psql := postgresTool(t, "initdb"), postgresTool(t, "postgres"), postgresTool(t, "psql")
	dir := databaseDir(t)
	data := filepath.Join(dir, "data")
	setup(t, dir, initdb, "-D", data, "-U", "jetway", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
	d := &Database{Port: FreePort(t)}
	cmd := unprivileged(exec.Command(postgres, "-D", data, "-p", fmt.Sprint(d.Port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories="+dir, "-c", "fsync=off", "-c", "shared_buffers=16MB"))
	cmd.Dir = dir
	d.Process = startProcess(t, cmd)
	d.run = func(sql string) *exec.Cmd {
		cmd := exec.Command(psql, "-h", "127.0.0.1", "-p", fmt.Sprint(d.Port), "-U", "jetway", "-d", "postgres", "-q", "-v", "ON_ERROR_STOP=1")
		cmd.Stdin = strings.NewReader(sql)
		return cmd
	}
	d.await("PostgreSQL", func() bool { return d.run("SELECT 1").Run() == nil })
	d.Exec(t, "CREATE DATABASE jetway")
	return d
}

// StartMariaDB starts MariaDB with a database called jetway and a user of that
// name without password.
func StartMariaDB(t testing.TB) *Database {
	t.Helper()
	install, mariadbd, client := RequireTool(t, "mariadb-install-db"), RequireTool(t, "mariadbd"), RequireTool(t, "mariadb")
	dir := databaseDir(t)
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "sock")
	setup(t, dir, install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	d := &Database{Port: FreePort(t)}
	cmd := unprivileged(exec.Command(mariadbd, "--no-defaults", "--datadir="+data, "--socket="+socket, "--bind-address=127.0.0.1",
		fmt.Sprintf("--port=%d", d.Port), "--pid-file="+filepath.Join(dir, "pid"), "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M"))
	cmd.Dir = dir
	d.Process = startProcess(t, cmd)
	d.run = func(sql string) *exec.Cmd {
		cmd := exec.Command(client, "--no-defaults", "--protocol=socket", "--socket="+socket, "-u", "root")
		cmd.Stdin = strings.NewReader(sql)
		return cmd
	}
	d.await("MariaDB", func() bool { return d.run("SELECT 1").Run() == nil })
	d.Exec(t, "CREATE DATABASE jetway; CREATE USER jetway@'127.0.0.1'; GRANT ALL ON jetway.* TO jetway@'127.0.0.1';")
	return d
}

// setup runs a program that prepares a database and ends.
func setup(t testing.TB, dir, path string, args ...string) {
	t.Helper()
	cmd := unprivileged(exec.Command(path, args...))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, tail(out.String(), 4<<10))
	}
}
