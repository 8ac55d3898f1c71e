package harness

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// InNamespace runs the test that calls it once more, as a process of its own in
// a network namespace of its own, with env added to its environment: by that it
// tells that it is inside. It skips without root, and fails as the inner one does.
func InNamespace(t testing.TB, env ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	unshare, ip := RequireTool(t, "unshare"), RequireTool(t, "ip")
	RequireTool(t, "nft")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(unshare, "--net", "sh", "-c", ip+` link set lo up && exec "$0" -test.run '^`+t.Name()+`$' -test.v`, exe)
	cmd.Env = append(append(os.Environ(), "JETWAY_BINARY="+Binary(t)), env...)
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "_test.go:") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
