package autoscale

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// run runs a command of Jetway's and returns what it printed.
func run(t *testing.T, code int, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(t), args...)
	cmd.Dir = t.TempDir()
	out, _ := cmd.CombinedOutput() // the exit code says more than the error
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("jetway %s exited with %d, want %d:\n%s", strings.Join(args, " "), got, code, out)
	}
	return string(out)
}
