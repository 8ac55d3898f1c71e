package autoscale

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestOrderedAtOnce measures how long it takes from a request for an empty
// cluster until the order to start its first member is with the driver, a
// webhook here: the start of a command would be most of what is measured. Each
// request is for another cluster, at another moment between two ticks.
func TestOrderedAtOnce(t *testing.T) {
	if !harness.Long() {
		t.Parallel()
	}
	const most = 10 * time.Millisecond
	hook, err := net.Listen("tcp", harness.Loopback(harness.FreePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan time.Time, 1)
	orders := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		now := time.Now()
		var order struct{ Action string }
		if json.NewDecoder(r.Body).Decode(&order) == nil && order.Action == "start" {
			arrived <- now
		}
	})}
	go orders.Serve(hook)
	defer orders.Close()
	clusters := harness.Scale(5, 100)
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
      driver: {webhook: {url: "http://%s/"}}
%s`, web, admin, hook.Addr(), services.String()))
	var times []time.Duration
	for i := range clusters {
		time.Sleep(137 * time.Millisecond)
		conn, err := net.Dial("tcp", harness.Loopback(web))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: e%d.test\r\n\r\n", i)
		select {
		case at := <-arrived:
			times = append(times, at.Sub(begun))
		case <-time.After(30 * time.Second):
			t.Fatalf("no order for cluster %d\n%s", i, j.Log())
		}
		conn.Close()
	}
	slices.Sort(times)
	median, worst := times[len(times)/2], times[len(times)-1]
	t.Logf("the first order after %s at the median of %d, 95 of 100 after up to %s, at the worst %s", median, clusters, times[len(times)*95/100], worst)
	if harness.Long() && times[len(times)*95/100] > most {
		t.Errorf("95 of 100 first orders after up to %s, want %s", times[len(times)*95/100], most)
	}
}
