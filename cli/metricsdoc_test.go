package cli

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"jetway/config"
)

// everything is a configuration in which all parts that measure something are
// there.
const everything = `loadbalancer:
  listeners: [{name: http, address: "127.0.0.1:0"}]
  admin: {address: "127.0.0.1:0"}
membership:
  gossip: {bind: "127.0.0.1:0"}
standby: {listen: "127.0.0.1:7947", key_file: peer.key}
services:
  a: {hosts: [a.test], affinity: {mode: learn}, domains: {d: {}}}
`

// TestMetricsAreDocumented: docs/metrics.md has every metric that is registered,
// with its labels, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	write("peer.key", strings.Repeat("A", 43)+"=\n")
	cfg, err := config.Load(write("loadbalancer.conf", everything))
	if err != nil {
		t.Fatal(err)
	}
	lb, err := newBalancer(cfg, "node", newWatcher(statFile), zerolog.Nop(), newLogging(io.Discard, zerolog.ErrorLevel))
	if err != nil {
		t.Fatal(err)
	}
	registered := map[string]string{} // labels by name
	descriptions := make(chan *prometheus.Desc, 1000)
	lb.admin.Metrics().Describe(descriptions)
	close(descriptions)
	for d := range descriptions {
		m := regexp.MustCompile(`fqName: "(jetway_\w+)".*variableLabels: \{([^}]*)\}`).FindStringSubmatch(d.String())
		if m == nil {
			continue // of the Go runtime or the process
		}
		labels := strings.Split(m[2], ",")
		slices.Sort(labels)
		registered[m[1]] = strings.Join(labels, ",")
	}
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| `jetway_") {
			continue
		}
		for _, m := range regexp.MustCompile("`(jetway_\\w+)(?:\\{([^}`]*)\\})?`").FindAllStringSubmatch(strings.Split(line, "|")[1], -1) {
			labels := strings.Split(m[2], ",")
			slices.Sort(labels)
			if _, twice := documented[m[1]]; twice {
				t.Errorf("%s is documented twice", m[1])
			}
			documented[m[1]] = strings.Join(labels, ",")
		}
	}
	if len(registered) < 80 {
		t.Fatalf("only %d metrics are registered", len(registered))
	}
	for name, labels := range registered {
		if got, there := documented[name]; !there || got != labels {
			t.Errorf("%s{%s} is documented as {%s} (%v)", name, labels, got, there)
		}
	}
	for name := range documented {
		if _, there := registered[name]; !there {
			t.Errorf("%s is documented and there is no such metric", name)
		}
	}
}
