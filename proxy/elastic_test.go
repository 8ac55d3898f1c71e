package proxy

import (
	"bytes"
	"net"
	"strconv"
	"testing"
	"time"

	"jetway/balancer"
)

// elasticRound returns what sends one plain request to an elastic cluster with
// a member and reads its answer.
func elasticRound(t testing.TB) func() {
	cluster := balancer.ClusterConfig{Elastic: true, Wait: balancer.Wait{Time: time.Minute, Requests: 1000, PerMember: 50}}
	host, port, err := net.SplitHostPort(startMember(t, echoMember(plainAnswer)))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	p := startCluster(t, nil, cluster, []balancer.Member{{ID: "m", Domain: "d", Host: host, HTTP: uint16(n), Weight: 1}})
	c := dial(t, p.address)
	c.SetDeadline(time.Time{})
	request, buf := []byte(plainRequest), make([]byte, 4096)
	return func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for n := 0; !bytes.HasSuffix(buf[:n], []byte("0123456789")); {
			m, err := c.Read(buf[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
	}
}

// TestElasticPathAllocatesNothing: that the size of a cluster follows its load
// costs its requests no allocation.
func TestElasticPathAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	round := elasticRound(t)
	for range 100 {
		round()
	}
	if n := testing.AllocsPerRun(2000, round); n != 0 {
		t.Fatalf("%v allocations per request", n)
	}
}

// BenchmarkElastic is BenchmarkPlain to an elastic cluster.
func BenchmarkElastic(b *testing.B) {
	round := elasticRound(b)
	b.ReportAllocs()
	for b.Loop() {
		round()
	}
}
