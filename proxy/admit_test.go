package proxy

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"jetway/balancer"
	"jetway/tenant"
)

// limitedRouter routes a.test to domain d, with five tenants and limits.
func limitedRouter(t *testing.T, transport func(*balancer.Endpoint) io.Closer, address string) *balancer.Router {
	t.Helper()
	var entries []tenant.Entry
	for i := 1; i <= 5; i++ {
		entries = append(entries, tenant.Entry{Name: fmt.Sprintf("t%d", i), ID: tenant.ID(i)})
	}
	list, err := tenant.NewList(entries, nil)
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := tenant.NewResolver(tenant.Config{Identify: []tenant.Rule{{Path: "**/t/{tenant}/"}}}, list)
	if err != nil {
		t.Fatal(err)
	}
	all, err := tenant.ParseRanges("*")
	if err != nil {
		t.Fatal(err)
	}
	router, err := balancer.NewRouter(balancer.Config{Tenants: resolver, FailOver: true,
		Listeners: []balancer.Listener{{Name: "http", PublicPort: 80}},
		Clusters: []balancer.ClusterConfig{{Service: "s", Key: balancer.Key{Domain: "d", SubDomain: "worker"}, Hosts: []string{"a.test"}, Ranges: all,
			Balance: balancer.RoundRobin, Retry: balancer.Retry{Attempts: 2, Budget: 0.2},
			TenantLimits: tenant.Limits{InFlight: 3, Rate: 1e6}, BodyLimit: 1000}}},
		balancer.Options{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(address)
	n, _ := net.LookupPort("tcp", port)
	router.SetMembers([]balancer.Member{{ID: "m", Domain: "d", Host: host, HTTP: uint16(n), Weight: 1}})
	return router
}

// TestTenantsInFlightReturnToZero: whatever becomes of requests (whole ones,
// clients that leave anywhere, members that hang or break off, bodies over the
// limit, panics), nothing stays counted.
func TestTenantsInFlightReturnToZero(t *testing.T) {
	member := startMember(t, func(c net.Conn) {
		defer c.Close()
		b := make([]byte, 4096)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			switch rand.IntN(6) {
			case 0:
				return
			case 1:
				time.Sleep(150 * time.Millisecond) // longer than response_header
			case 2:
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
				return
			case 3:
				io.WriteString(c, "garbage\r\n\r\n")
				return
			default:
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
			}
		}
	})
	// An endpoint without a pool of this package is our own mistake, and panics.
	bad := func(*balancer.Endpoint) io.Closer { return io.NopCloser(nil) }
	for name, transport := range map[string]func(*balancer.Endpoint) io.Closer{"members": NewPools().Open, "panics": bad} {
		t.Run(name, func(t *testing.T) {
			router := limitedRouter(t, transport, member)
			s, err := New(Config{Listeners: []ListenerConfig{{Name: "http", Address: "127.0.0.1:0", PublicPort: 80}},
				Timeouts: Timeouts{Header: time.Second, Idle: time.Second, Connect: time.Second, ResponseHeader: 100 * time.Millisecond,
					ResponseIdle: 100 * time.Millisecond, Drain: 5 * time.Second}}, router, testLog())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Listen(); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx) }()
			var wg sync.WaitGroup
			for g := range 8 {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(uint64(g), 5))
					for range 40 {
						c, err := net.Dial("tcp", s.Addresses()[0].String())
						if err != nil {
							t.Error(err)
							return
						}
						text := fmt.Sprintf("GET /t/t%d/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 1+rnd.IntN(6))
						if n := rnd.IntN(3); n > 0 {
							text = fmt.Sprintf("POST /t/t%d/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%s", 1+rnd.IntN(6), n*600, strings.Repeat("x", rnd.IntN(n*600+1)))
						}
						io.WriteString(c, text)
						c.SetReadDeadline(time.Now().Add(time.Duration(rnd.IntN(60)) * time.Millisecond))
						io.ReadAll(c) // until it leaves
						c.Close()
					}
				})
			}
			wg.Wait()
			stop()
			<-ended
			if _, n := router.Admission().Busy(); n != 0 {
				t.Errorf("%d requests stay counted", n)
			}
			for _, c := range router.Table().Clusters() {
				if n := c.State.InFlight.Load(); n != 0 {
					t.Errorf("%d requests of the cluster stay counted", n)
				}
			}
			if panics := s.stats.panics.Load(); (panics > 0) != (name == "panics") {
				t.Errorf("%d panics", panics)
			}
		})
	}
}
