package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built is the binary of this test process, made at its first use.
var built = struct {
	once sync.Once
	dir  string
	path string
	err  error
}{}

// errNoMain: the program cannot be built yet.
var errNoMain = errors.New("main.go is missing: there is no jetway to run yet")

// Main runs a package's tests and removes the binary they built. Use it as
//
//	func TestMain(m *testing.M) { harness.Main(m) }
func Main(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// Binary returns the path of the jetway binary: JETWAY_BINARY, or one built
// from this module, with the race detector where the test has it too.
func Binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("JETWAY_BINARY"); path != "" {
		return path
	}
	built.once.Do(func() { built.err = build() })
	if errors.Is(built.err, errNoMain) {
		missing(t, built.err.Error())
	}
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

func build() error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(root, "main.go")); err != nil {
		return errNoMain
	}
	if built.dir, err = os.MkdirTemp("", "jetway-test-"); err != nil {
		return err
	}
	built.path = filepath.Join(built.dir, "jetway")
	// The go command keeps what it runs, but not what it builds: linking anew
	// for each package that tests would take most of their start.
	args := []string{"run", "-exec", "cp"}
	if raceEnabled {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, ".", built.path)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build jetway: %w\n%s", err, out)
	}
	return nil
}

// moduleRoot finds the directory of go.mod above the test.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("cannot find go.mod above the test")
		}
		dir = parent
	}
}

// Race reports whether the race detector is at work, under which everything,
// pure-Go database engines above all, takes many times as long.
func Race() bool { return raceEnabled }
