//go:build linux

package main

import (
	"fmt"
	"slices"
	"time"
)

// point is one thing that is measured: a load with the set-up it needs.
type point struct {
	Scenario string
	Name     string
	Unit     string  // of which the cost is told
	Units    float64 // of them in each request
	Members  int
	Hosts    int
	Tenants  int
	Sticky   bool // a cookie binds each client to a member
	Latency  bool // measure it at a fixed rate as well
	Reload   time.Duration
	Log      string // format of the access log; empty: none
	Group    string // points of one are measured beside each other; empty: by itself
	Anew     bool   // a new process in each round: what is looked for is less than what two of them differ by
	Load     load
}

const benchHost = "bench.test"

// newPoint is scenario (a), which the others vary.
func newPoint(scenario, name string) point {
	return point{Scenario: scenario, Name: name, Unit: "request", Units: 1, Members: 3, Hosts: 1,
		Load: load{Host: benchHost, Path: "/b100", Length: 100, Conns: 64}}
}

// scenario is a letter of the list in docs/performance.md.
type scenario struct {
	letter string
	title  string
	points []point // none: not built yet, or measured by other means
	note   string
}

func scenarios() []scenario {
	return []scenario{
		{"a", "plain: one host, one cluster of 3 members, answers of 100 B, 64 connections", plain(), ""},
		{"b", "the real job: 20 hosts, 1,000 tenants in the path, 3 domains, sticky cookie", realJob(),
			"nginx without its commercial part has no sticky cookie: it hashes one that the client has."},
		{"c", "connections", connections(), ""},
		{"d", "sizes", sizes(), ""},
		{"e", "no keep-alive", noKeepAlive(), ""},
		{"f", "TLS 1.3, ECDSA P-256", secure(), ""},
		{"g", "memory of connections", nil, ""},
		{"h", "members, tenants and learned sessions", slices.Concat(memberCounts(1, 10, 1000), tenantCounts(10, 10_000, 1_000_000),
			sessionCounts(10, 100_000)), "HAProxy keeps sessions in a stick-table; nginx cannot learn them and hashes the cookie."},
		{"i", "access log to a file, beside none (HAProxy, which wants a server for it, has none in either)", logs(), ""},
		{"j", "WebSocket: 2,000 connections, messages of 100 B", sockets(), ""},
		{"k", "reload 10 times a second under load", reloads(), ""},
		{"l", "cost as work grows", slices.Concat(memberCounts(1, 10, 1000), hostCounts(1, 100, 10_000),
			tenantCounts(10, 10_000, 1_000_000), sessionCounts(10, 100_000)), ""},
	}
}

func plain() []point {
	p := newPoint("a", "plain")
	p.Latency = true
	return []point{p}
}

func realJob() []point {
	p := newPoint("b", "the real job")
	p.Hosts, p.Tenants, p.Sticky, p.Latency = 20, 1000, true, true
	p.Load.Host, p.Load.HostVary = "h%d."+benchHost, p.Hosts
	p.Load.Path, p.Load.Vary, p.Load.Sticky = "/t/tenant%d/b100", p.Tenants, true
	return []point{p}
}

func connections() (all []point) {
	for _, n := range []int{1, 64, 1024} {
		p := newPoint("c", fmt.Sprintf("%d connections", n))
		p.Load.Conns = n
		p.Latency = true
		all = append(all, p)
	}
	return all
}

func sizes() []point {
	small := newPoint("d", "answers of 1 KB")
	small.Load.Path, small.Load.Length = "/b1024", 1<<10
	small.Latency = true
	medium := newPoint("d", "answers of 100 KB")
	medium.Load.Path, medium.Load.Length = "/b102400", 100<<10
	medium.Unit, medium.Units = "MB", 100.0/1024
	large := newPoint("d", "answers of 10 MB")
	large.Load.Path, large.Load.Length, large.Load.Conns = "/b10485760", 10<<20, 16
	large.Unit, large.Units = "MB", 10
	upload := newPoint("d", "uploads of 100 KB")
	upload.Load.Path, upload.Load.Upload = "/up", 100<<10
	upload.Unit, upload.Units = "MB", 100.0/1024
	return []point{small, medium, large, upload}
}

const withoutLog = "no access log"

// logs are the plain scenario without an access log and with one.
func logs() []point {
	off := newPoint("i", withoutLog)
	json := newPoint("i", "access log in JSON")
	json.Log = "json"
	text := newPoint("i", "access log as text")
	text.Log = "text"
	all := []point{off, json, text}
	for i := range all {
		all[i].Group, all[i].Anew = "log", true
	}
	return all
}

func noKeepAlive() []point {
	p := newPoint("e", "no keep-alive")
	p.Load.Close = true
	p.Latency = true
	return []point{p}
}

func secure() (all []point) {
	full := newPoint("f", "full handshake and one request")
	full.Unit = "handshake"
	full.Load.TLS, full.Load.Conns = tlsFull, 16
	resumed := newPoint("f", "resumed handshake and one request")
	resumed.Unit = "handshake"
	resumed.Load.TLS, resumed.Load.Conns = tlsResume, 16
	kept := newPoint("f", "kept connections, answers of 100 B")
	kept.Load.TLS = tlsKeep
	bulk := newPoint("f", "answers of 10 MB")
	bulk.Load.TLS, bulk.Load.Path, bulk.Load.Length, bulk.Load.Conns = tlsKeep, "/b10485760", 10<<20, 8
	bulk.Unit, bulk.Units = "MB", 10
	return []point{full, resumed, kept, bulk}
}

func memberCounts(counts ...int) (all []point) {
	for _, n := range counts {
		p := newPoint("h", fmt.Sprintf("%d members", n))
		p.Group = "members"
		p.Members = n
		all = append(all, p)
	}
	return all
}

func tenantCounts(counts ...int) (all []point) {
	for _, n := range counts {
		p := newPoint("h", fmt.Sprintf("%d tenants", n))
		p.Group = "tenants"
		p.Tenants = n
		p.Load.Path, p.Load.Vary = "/t/tenant%d/b100", n
		all = append(all, p)
	}
	return all
}

// sessionCounts are of an application's own cookie, which the proxy learns.
func sessionCounts(counts ...int) (all []point) {
	for _, n := range counts {
		p := newPoint("h", fmt.Sprintf("%d sessions", n))
		p.Group = "sessions"
		p.Load.Learned, p.Load.Vary = true, n
		all = append(all, p)
	}
	return all
}

func hostCounts(counts ...int) (all []point) {
	for _, n := range counts {
		p := newPoint("l", fmt.Sprintf("%d hosts", n))
		p.Group = "hosts"
		p.Hosts = n
		p.Load.Host, p.Load.Vary = "h%d."+benchHost, n
		all = append(all, p)
	}
	return all
}

func sockets() []point {
	p := newPoint("j", "2,000 connections")
	p.Unit = "message"
	p.Load.Socket, p.Load.Conns = true, 2000
	p.Latency = true
	return []point{p}
}

func reloads() []point {
	p := newPoint("k", "10 reloads a second")
	p.Load.Patient = true
	p.Reload = 100 * time.Millisecond
	p.Latency = true
	return []point{p}
}
