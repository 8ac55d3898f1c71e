package harness

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Jetway is a running `jetway run`.
type Jetway struct {
	*Process
	Admin string // host:port of the admin address, "" where the configuration names none
	Dir   string // holds loadbalancer.conf and the files of WithFile

	settings settings
}

// Option changes how Start runs Jetway.
type Option func(*settings)

type settings struct {
	files    map[string]string
	args     []string
	env      []string
	awaitTCP string
	unready  bool
	exitCode int
}

// WithFile writes a further file beside the configuration, such as tenants.csv.
func WithFile(name, content string) Option {
	return func(s *settings) { s.files[name] = content }
}

// WithArgs adds arguments after `run -c FILE`.
func WithArgs(args ...string) Option { return func(s *settings) { s.args = append(s.args, args...) } }

// WithEnv adds variables in the form NAME=value.
func WithEnv(env ...string) Option { return func(s *settings) { s.env = append(s.env, env...) } }

// AwaitTCP makes Start wait for a listener at addr instead of for /ready.
func AwaitTCP(addr string) Option { return func(s *settings) { s.awaitTCP = addr } }

// Unready makes Start return at once, for tests of the start itself.
func Unready() Option { return func(s *settings) { s.unready = true } }

// ExitCode is what the program must return on SIGTERM; 0 unless said.
func ExitCode(code int) Option { return func(s *settings) { s.exitCode = code } }

var adminAddress = regexp.MustCompile(`(?m)^\s*admin:\s*\{?\s*address:\s*"?([0-9.:\[\]a-z]+)"?`)

// Start writes config to a directory of the test's own, runs Jetway on it and
// waits until it is ready: until GET /ready of the admin address answers 200.
// When the test ends it is stopped with SIGTERM; the test fails if it exits
// otherwise than told, panicked, or raced.
func Start(t testing.TB, config string, opts ...Option) *Jetway {
	t.Helper()
	s := settings{files: map[string]string{}}
	for _, o := range opts {
		o(&s)
	}
	binary := Binary(t)
	j := &Jetway{Dir: t.TempDir(), settings: s}
	s.files["loadbalancer.conf"] = config
	for name, content := range s.files {
		j.WriteFile(t, name, content)
	}
	if m := adminAddress.FindStringSubmatch(config); m != nil {
		j.Admin = m[1]
	}
	cmd := exec.Command(binary, append([]string{"run", "-c", filepath.Join(j.Dir, "loadbalancer.conf")}, s.args...)...)
	cmd.Dir = j.Dir
	cmd.Env = append(append(os.Environ(), "GORACE=halt_on_error=0"), s.env...)
	j.Process = startProcess(t, cmd)
	t.Cleanup(j.check) // runs before startProcess's cleanup

	switch {
	case s.unready:
	case s.awaitTCP != "":
		j.AwaitTCP(s.awaitTCP)
	case j.Admin != "":
		j.await("a 200 from /ready", func() bool { status, _ := j.get("/ready"); return status == http.StatusOK })
	default:
		t.Fatal("BUG: the configuration names no admin address; use AwaitTCP")
	}
	return j
}

// WriteFile replaces a file in the directory of the configuration.
func (j *Jetway) WriteFile(t testing.TB, name, content string) {
	t.Helper()
	path := filepath.Join(j.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Reload replaces the configuration and sends SIGHUP. It does not wait.
func (j *Jetway) Reload(t testing.TB, config string) {
	t.Helper()
	j.WriteFile(t, "loadbalancer.conf", config)
	j.Signal(syscall.SIGHUP)
}

// Get asks the admin address and returns status and body.
func (j *Jetway) Get(path string) (status int, body string) {
	j.t.Helper()
	status, body = j.get(path)
	if status == 0 {
		j.t.Errorf("cannot ask the admin address for %q: %s", path, body)
	}
	return status, body
}

// Metric returns the value of a line of /metrics as it is written, "" without
// one; series is the name with its labels.
func (j *Jetway) Metric(series string) string {
	j.t.Helper()
	_, body := j.Get("/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// get returns status 0 and the error's text where there was no answer.
func (j *Jetway) get(path string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+j.Admin+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(body)
}

// check stops Jetway and looks at what it left.
func (j *Jetway) check() {
	j.t.Helper()
	select {
	case <-j.gone: // the test ended it itself, or it died
		if strings.Contains(fmt.Sprint(j.err), "killed") {
			return
		}
	default:
	}
	if code := j.Stop(); code != j.settings.exitCode {
		j.t.Errorf("jetway exited with %d, want %d", code, j.settings.exitCode)
	}
	log := j.Log()
	for _, bad := range []string{"panic", "DATA RACE", "fatal error:", "runtime error:", "BUG:"} {
		if i := strings.Index(log, bad); i >= 0 {
			j.t.Errorf("jetway's log holds %q:\n%s", bad, log[max(0, i-200):min(len(log), i+3000)])
			return
		}
	}
}
