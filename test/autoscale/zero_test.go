package autoscale

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestOrderedAtOnce measures how long it takes from a request for an empty
// cluster to the order to start its first member: until the command of the
// driver writes what time it is, its own start included. Each request is for
// another cluster, at another moment between two ticks.
func TestOrderedAtOnce(t *testing.T) {
	if !harness.Long() {
		t.Parallel()
	}
	const most = 10 * time.Millisecond
	clusters := harness.Scale(5, 100)
	dir := t.TempDir()
	var services strings.Builder
	for i := range clusters {
		fmt.Fprintf(&services, "  app%d:\n    hosts: [e%d.test]\n    domains:\n      e%d.domain: {}\n", i, i, i)
	}
	web, admin := harness.FreePort(t), harness.FreePort(t)
	j := harness.Start(t, fmt.Sprintf(`loadbalancer:
  listeners: [{name: http, address: "127.0.0.1:%d"}]
  admin: {address: "127.0.0.1:%d"}
services:
  defaults:
    min_app_instances: 0
    autoscale:
      driver: {exec: {start: [/bin/sh, -c, "date +%%s%%N > %s/$JETWAY_DOMAIN.new; mv %s/$JETWAY_DOMAIN.new %s/$JETWAY_DOMAIN"], stop: [/bin/true]}}
%s`, web, admin, dir, dir, dir, services.String()))
	var times []time.Duration
	for i := range clusters {
		time.Sleep(137 * time.Millisecond)
		conn, err := net.Dial("tcp", harness.Loopback(web))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: e%d.test\r\n\r\n", i)
		var stamp []byte
		for end := begun.Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if stamp, err = os.ReadFile(filepath.Join(dir, fmt.Sprintf("e%d.domain", i))); err == nil {
				break
			}
		}
		conn.Close()
		ns, err := strconv.ParseInt(strings.TrimSpace(string(stamp)), 10, 64)
		if err != nil {
			t.Fatalf("no order for cluster %d: %v\n%s", i, err, j.Log())
		}
		times = append(times, time.Unix(0, ns).Sub(begun))
	}
	slices.Sort(times)
	median, worst := times[len(times)/2], times[len(times)-1]
	t.Logf("the first order after %s at the median of %d, at the worst %s", median, clusters, worst)
	if harness.Long() && times[len(times)*95/100] > most {
		t.Errorf("95 of 100 first orders after up to %s, want %s", times[len(times)*95/100], most)
	}
}
