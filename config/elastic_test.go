package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// elasticFile has a place for a line at each level that has keys about size.
const elasticFile = `loadbalancer:
  listeners: [{name: http, address: ":8280"}]
  #ALL
services:
  app:
    hosts: [as.example.com]
    #BLOCK
    autoscale:
      target: 10
      #AUTOSCALE
    domains:
      a: {}
`

// TestElasticMalformed puts one line into the file per case. A bar stands
// before what is wrong: the problem is there, and says what it is about and
// what is expected.
func TestElasticMalformed(t *testing.T) {
	f := func(place, line, about, expected string) {
		t.Helper()
		text := strings.Replace(elasticFile, "#"+place, line, 1)
		before, after, ok := strings.Cut(text, "|")
		if !ok {
			t.Fatalf("no bar in %q", line)
		}
		position := fmt.Sprintf("%d:%d", strings.Count(before, "\n")+1, len(before)-strings.LastIndexByte(before, '\n'))
		_, err := Parse("f", []byte(before+after), nil)
		var problems Problems
		if !errors.As(err, &problems) || len(problems) != 1 {
			t.Fatalf("%q: got %v, want one problem", line, err)
		}
		p := problems[0]
		said, wanted, _ := strings.Cut(p.String(), "; expected ")
		if fmt.Sprintf("%d:%d", p.Line, p.Column) != position || !strings.Contains(said, about) || !strings.Contains(wanted, expected) {
			t.Errorf("%q: got %s, want it at %s about %q, expected %q", line, p, position, about, expected)
		}
	}
	const window = "a duration from 1s to 1h"
	f("ALL", "autoscaler_task_interval: |500ms", `"500ms" is wrong for "autoscaler_task_interval"`, window)
	f("ALL", "autoscaler_task_interval: |2h", `"2h" is wrong for "autoscaler_task_interval"`, window)
	f("ALL", "autoscaler_task_interval: |60", `"60" is wrong for "autoscaler_task_interval"`, "duration")
	f("ALL", "server_startup_delay: |0s", `"0s" is wrong for "server_startup_delay"`, "")
	f("ALL", "server_startup_delay: |-1m", `"-1m" is wrong for "server_startup_delay"`, "duration")
	f("ALL", "autoscale: {max_members: |-1}", `"-1" is wrong for "max_members"`, "0 to 1000000")
	f("ALL", "autoscale: {|max_member: 1}", `max_member`, "max_members")

	f("BLOCK", "min_app_instances: |-1", `"-1" is wrong for "min_app_instances"`, "0 to 10000")
	f("BLOCK", "min_app_instances: |10001", `"10001" is wrong for "min_app_instances"`, "0 to 10000")
	f("BLOCK", "min_app_instances: |6", "min_app_instances 6 is above max_app_instances 5", "up to the maximum")
	f("BLOCK", "min_app_instances: |3\n    max_app_instances: 2", "min_app_instances 3 is above max_app_instances 2", "up to the maximum")
	f("BLOCK", "max_app_instances: |0", `"0" is wrong for "max_app_instances"`, "1 to 10000")
	f("BLOCK", "max_requests_per_second: |0", `"0" is wrong for "max_requests_per_second"`, "above 0")
	f("BLOCK", "max_requests_per_second: |1e3", `"1e3" is wrong for "max_requests_per_second"`, "such as 50")
	f("BLOCK", "max_requests_per_second: |NaN", `"NaN" is wrong for "max_requests_per_second"`, "above 0")
	f("BLOCK", "alarming_upper_rate: |1.1", `"1.1" is wrong for "alarming_upper_rate"`, "up to 1")
	f("BLOCK", "alarming_lower_rate: |0", `"0" is wrong for "alarming_lower_rate"`, "above 0")
	f("BLOCK", "scale_down_factor: |-0.5", `"-0.5" is wrong for "scale_down_factor"`, "above 0")
	f("BLOCK", "rounds_to_average: |0", `"0" is wrong for "rounds_to_average"`, "1 to 1000")
	f("BLOCK", "message_expiry_time: |0s", `"0s" is wrong for "message_expiry_time"`, "")

	f("AUTOSCALE", "policy: |linear", `"linear" is wrong for "policy"`, "concurrency or wso2")
	f("AUTOSCALE", "stable_window: |999ms", `"999ms" is wrong for "stable_window"`, window)
	f("AUTOSCALE", "panic_window: |61m", `"61m" is wrong for "panic_window"`, window)
	f("AUTOSCALE", "calm: |0s", `"0s" is wrong for "calm"`, window)
	f("AUTOSCALE", "drain: |5", `"5" is wrong for "drain"`, "duration")
	f("AUTOSCALE", "dry_run: |maybe", `"maybe" is wrong for "dry_run"`, "true or false")
	f("AUTOSCALE", "|targets: 5", `targets`, "target")
	f("AUTOSCALE", "wait: {time: |soon}", `"soon" is wrong for "time"`, "duration")
	f("AUTOSCALE", "wait: {requests: |0}", `"0" is wrong for "requests"`, "1 to 100000")
	f("AUTOSCALE", "wait: {tenant_requests: |-1}", `"-1" is wrong for "tenant_requests"`, "0 to 100000")
	f("AUTOSCALE", "wait: {bytes: |64}", `"64" is wrong for "bytes"`, "size")

	f("AUTOSCALE", "driver: |{}", "driver is empty", "one of exec, webhook and process")
	f("AUTOSCALE", "driver: {|script: {}}", "script", "exec")
	f("AUTOSCALE", `driver: |{exec: {start: [a], stop: [b]}, process: {command: [c]}}`, "several of exec, webhook and process", "one of them")
	f("AUTOSCALE", "driver: {exec: |{stop: [b]}}", `"start"`, "")
	f("AUTOSCALE", "driver: {exec: |{start: [a]}}", `"stop"`, "")
	f("AUTOSCALE", `driver: {exec: {start: [|""], stop: [b]}}`, `start" begins with nothing`, "the program to run")
	f("AUTOSCALE", "driver: {exec: {start: |a, stop: [b]}}", "start", "list")
	f("AUTOSCALE", "driver: {exec: {start: [a], stop: [b], timeout: |0s}}", `"0s" is wrong for "timeout"`, "")
	f("AUTOSCALE", "driver: {webhook: |{timeout: 5s}}", `"url"`, "")
	f("AUTOSCALE", "driver: {webhook: {url: |ftp://a}}", `"ftp://a" is wrong for "url"`, "http:// or https://")
	f("AUTOSCALE", `driver: {webhook: {url: |"https://a/#b"}}`, `"https://a/#b" is wrong for "url"`, "http:// or https://")
	f("AUTOSCALE", "driver: {webhook: {url: https://a, secret: x, secret_file: |y}}", "secret and secret_file are both given", "one of them")
	f("AUTOSCALE", "driver: {webhook: {url: https://a, list: |often}}", `"often" is wrong for "list"`, "true or false")
	f("AUTOSCALE", "driver: {process: |{stop_wait: 5s}}", `"command"`, "")
	f("AUTOSCALE", "driver: {process: {command: [a], ports: |9800-99999}}", `"9800-99999" is wrong for "ports"`, "9800-9899")
	f("AUTOSCALE", "driver: {process: {command: [a], ports: |9900-9800}}", `"9900-9800" is wrong for "ports"`, "9800-9899")
	f("AUTOSCALE", `driver: {process: |{command: [a, "{port}"]}}`, "{port}", "ports: 9800-9899")
	f("AUTOSCALE", "driver: {process: {command: [a], stop_wait: |0s}}", `"0s" is wrong for "stop_wait"`, "")
	f("AUTOSCALE", "panic_window: 2m\n      driver: |{exec: {start: [a], stop: [b]}}", "panic_window 2m0s of a/worker is longer than stable_window 1m0s", "panic_window up to the stable_window")
}
