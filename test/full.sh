#!/usr/bin/env bash
# The long proofs, whole. Takes hours; FUZZTIME (10m) and REPEAT (20) shorten it.
# Prints "N passed, N failed" last and exits 0 only if nothing failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. test/steps.sh

fuzztime=${FUZZTIME:-10m}
repeat=${REPEAT:-20}
binary=$(mktemp -d)
trap 'rm -rf "$binary"' EXIT

# build_cold builds from an empty cache, which must not take over 120 s.
build_cold() {
  GOCACHE=$binary/cache timeout 120 go build -o "$binary/jetway" .
}

# demo_often runs the demo's check again and again, at most 40 s each.
demo_often() {
  local i
  for ((i = 0; i < repeat; i++)); do
    timeout 40 "$binary/jetway" demo --check | tail -1 || return 1
  done
}

step "install what black-box tests run" install_tools
step "build from an empty cache within 120 s" build_cold
step "demo --check, $repeat times" demo_often
step "go test -race, three times, nothing skipped" env JETWAY_REQUIRE_ALL=1 go test -race -count=3 -timeout 60m ./...
step "black-box tests, $repeat times" env JETWAY_REQUIRE_ALL=1 JETWAY_BINARY="$binary/jetway" \
  go test -count="$repeat" -timeout 120m ./test/blackbox
step "traffic: 60 s of canaries, 1 GiB each way" env JETWAY_REQUIRE_ALL=1 JETWAY_TRAFFIC=60s JETWAY_TRAFFIC_MIB=1024 \
  go test -count=1 -timeout 30m ./test/traffic
step "explain: 10,000 random requests, 100 random changes of a file" env JETWAY_REQUIRE_ALL=1 JETWAY_LONG=1 \
  go test -count=1 -timeout 30m -v ./test/explain
step "edge: attacks, memory, idle connections" env JETWAY_REQUIRE_ALL=1 JETWAY_LONG=1 go test -count=1 -timeout 30m -v ./test/edge
step "tenants: troubles of every directory, a flood of 1,000,000 names and hosts" env JETWAY_REQUIRE_ALL=1 JETWAY_LONG=1 \
  go test -count=1 -timeout 30m -v ./test/tenants
step "sessions: Tomcats, restarts, floods, ten million" env JETWAY_REQUIRE_ALL=1 JETWAY_LONG=1 \
  go test -count=1 -timeout 60m -v ./test/sessions ./balancer/session
step "members killed, stopped, cut off, flapping for 60 s" env JETWAY_REQUIRE_ALL=1 JETWAY_LONG=1 go test -count=1 -timeout 30m -v ./test/health
step "elastic: drivers that fail for good, 100 first orders within 10 ms" env JETWAY_REQUIRE_ALL=1 JETWAY_LONG=1 \
  go test -p 1 -count=1 -timeout 30m -v ./autoscale ./test/autoscale
step "balancing simulated at full size" env JETWAY_LONG=1 go test -count=1 -timeout 30m -v -run Simulation ./balancer
step "standby: 20 crashes, host deaths and hand-overs each; 1,000 seeds; bad links; a million sessions copied" env JETWAY_REQUIRE_ALL=1 JETWAY_LONG=1 \
  go test -count=1 -timeout 60m -v ./standby ./test/standby
step "admin abuse, a blocked log, 100,000 tenants" env JETWAY_REQUIRE_ALL=1 JETWAY_LONG=1 go test -count=1 -timeout 30m -v ./test/operate
step "membership: noise for a minute, gossip blocked, signatures that run out" env JETWAY_REQUIRE_ALL=1 JETWAY_LONG=1 \
  go test -count=1 -timeout 30m -v ./test/membership
step "membership: 500 memberlists, 2,000 members" env JETWAY_LONG=1 go test -count=1 -timeout 30m -v -run TestMany ./discovery
step "HTTP cases beside HAProxy and nginx" env JETWAY_REQUIRE_ALL=1 go test -count=1 -timeout 30m ./test/httpcases -rivals
step "benchmarks" go test -run '^$' -bench . -benchmem ./...
step "fuzzing, $fuzztime each" fuzz_all "$fuzztime"
finish
