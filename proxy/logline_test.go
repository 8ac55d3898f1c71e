package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"jetway/balancer"
	"jetway/journal"
	"jetway/tenant"
)

// servedOutcome is one of a plain request that a member of three answered.
func servedOutcome(t testing.TB) *Outcome {
	t.Helper()
	resolver, err := tenant.NewResolver(tenant.Config{Identify: []tenant.Rule{{Path: "**/t/{tenant}/"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := tenant.ParseRanges("*")
	if err != nil {
		t.Fatal(err)
	}
	router, err := balancer.NewRouter(balancer.Config{Tenants: resolver, Listeners: []balancer.Listener{{Name: "http", PublicPort: 8280}},
		Clusters: []balancer.ClusterConfig{{Service: "bench", Key: balancer.Key{Domain: "bench", SubDomain: "worker"}, Hosts: []string{"bench.test"},
			Ranges: all, Balance: balancer.LeastRequests, Retry: balancer.Retry{Attempts: 2, Budget: 0.2}}}},
		balancer.Options{Transport: NewPools().Open})
	if err != nil {
		t.Fatal(err)
	}
	var members []balancer.Member
	for _, id := range []string{"m0", "m1", "m2"} {
		members = append(members, balancer.Member{ID: id, Domain: "bench", Host: "127.0.0.2", HTTP: 39763, Weight: 1})
	}
	router.SetMembers(members)
	x := &exchange{}
	x.newID()
	now := time.Now()
	if r := router.Table().Route(&balancer.Request{Host: []byte("bench.test"), Path: []byte("/b100"), Listener: "http", PublicPort: 8280, Now: now.UnixNano()}, &x.decision); r != balancer.OK {
		t.Fatal(r)
	}
	client := netip.MustParseAddr("127.0.0.1")
	return &Outcome{Time: now, Client: client, Listener: "http", Method: []byte("GET"), Target: []byte("/b100"), Host: []byte("bench.test"),
		ID: x.id[:], Generation: 3, Decision: &x.decision, Endpoint: x.decision.View.Pick(now.UnixNano(), 0, nil), Attempts: 1, Reused: true,
		ResponseTime: 1234 * time.Microsecond, TotalTime: 1301 * time.Microsecond, BytesIn: 83, BytesOut: 163, Status: 200, Phase: PhaseDone}
}

// A line of everything holds each field of docs/operations.md once.
func TestAccessLogFields(t *testing.T) {
	o := servedOutcome(t)
	list, err := tenant.NewList([]tenant.Entry{{Name: "acme", ID: 42}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := tenant.NewResolver(tenant.Config{Identify: []tenant.Rule{{Path: "**/t/{tenant}/"}}}, list)
	if err != nil {
		t.Fatal(err)
	}
	resolver.Resolve(&o.Decision.Tenant, resolver.Identifier("bench"), &tenant.Request{Path: []byte("/t/acme/"), Now: o.Time.UnixNano()})
	o.TLS, o.SNI, o.Session, o.Status, o.Reason, o.Phase = true, "bench.test", balancer.SessionKept, 502, "member_broke", PhaseWait
	o.Time = time.Unix(1700000000, 7e6).UTC()
	o.ClientTime, o.QueueTime, o.ConnectTime = time.Millisecond, 2*time.Second, 3*time.Microsecond
	o.Method = []byte("POST")
	id := string(o.ID)
	member := o.Endpoint.Upstream.Member().ID
	json := &accessLog{AccessLogConfig: AccessLogConfig{Format: LogJSON}}
	text := &accessLog{AccessLogConfig: AccessLogConfig{Format: LogText}}
	for range 2 { // made, and as it was kept
		if got, want := string(json.appendJSON(nil, o)), `{"time":"2023-11-14T22:13:20.007Z","client":"127.0.0.1","listener":"http","tls":true,"sni":"bench.test",`+
			`"method":"POST","host":"bench.test","target":"/b100","proto":"HTTP/1.1","status":502,"bytes_in":83,"bytes_out":163,"request_id":"`+id+`",`+
			`"tenant":"acme","tenant_id":42,"tenant_state":"known","service":"bench","domain":"bench","sub_domain":"worker","member":"`+member+`",`+
			`"address":"127.0.0.2:39763","attempts":1,"reused":true,"sticky":"kept","reason":"member_broke","ended_by":"member","phase":"wait",`+
			`"generation":3,"t_client":0.001000,"t_queue":2,"t_connect":0.000003,"t_response":0.001234,"t_total":0.001301}`+"\n"; got != want {
			t.Fatalf("%swant\n%s", got, want)
		}
		if got, want := string(text.appendText(nil, o)), `127.0.0.1 - acme [14/Nov/2023:22:13:20 +0000] "POST /b100 HTTP/1.1" 502 163 bench.test bench bench/worker `+
			member+` kept member_broke 1 1/2000/0.003/1.234/1.301 83 `+id+` kept tls bench.test 3`+"\n"; got != want {
			t.Fatalf("%swant\n%s", got, want)
		}
	}
}

// What is kept of an endpoint is only for requests that came the same way, and
// bounded.
func TestAccessLogOfManyWays(t *testing.T) {
	o := servedOutcome(t)
	host, cluster := *o.Decision.Host, *o.Decision.Cluster
	for range 2 {
		for i := range 3 * len(logRoutes{}) {
			name := fmt.Sprintf("way%d", i)
			host.Service = name
			cluster.Config = &balancer.ClusterConfig{Key: balancer.Key{Domain: "bench", SubDomain: name}}
			o.Decision.Host, o.Decision.Cluster = &host, &cluster
			for format, want := range map[LogFormat]string{
				LogJSON: `"service":"` + name + `","domain":"bench","sub_domain":"` + name + `","member":"m`,
				LogText: ` ` + name + ` bench/` + name + ` m`} {
				l := &accessLog{AccessLogConfig: AccessLogConfig{Format: format}}
				if got := string(l.appendRoute(nil, o)); !strings.Contains(got, want) {
					t.Fatalf("%s, want %s", got, want)
				}
			}
		}
	}
}

func TestAccessLogAllocatesNothing(t *testing.T) {
	for _, format := range []LogFormat{LogJSON, LogText} {
		l := &accessLog{AccessLogConfig: AccessLogConfig{Format: format}, out: journal.New()}
		for _, o := range []*Outcome{servedOutcome(t), outcomeOf([]byte("/some/\\/path"))} {
			l.write(1, o)
			if n := testing.AllocsPerRun(1000, func() { l.write(1, o) }); n > 0.1 {
				t.Fatalf("%s: %v allocations", format, n)
			}
		}
	}
}

// The whole cost of lines: they are made, collected and written to a file.
func BenchmarkAccessLogFile(b *testing.B) {
	for _, format := range []LogFormat{LogJSON, LogText} {
		b.Run(string(format), func(b *testing.B) {
			l := &accessLog{AccessLogConfig: AccessLogConfig{Format: format}, out: journal.New()}
			commit, _, err := l.out.Prepare(filepath.Join(b.TempDir(), "access.log"))
			if err != nil {
				b.Fatal(err)
			}
			commit()
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error)
			go func() { ended <- l.out.Run(ctx, func(err error) { b.Error(err) }) }()
			o := servedOutcome(b)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if l.write(1, o); i%64 == 0 {
					runtime.Gosched() // as requests do, which wait for clients and members
				}
			}
			if n := l.out.Stats().Dropped; n > uint64(b.N/10) {
				b.Fatalf("%d of %d lines dropped", n, b.N)
			}
			cancel()
			if err := <-ended; err != nil {
				b.Fatal(err)
			}
		})
	}
}

// The cost of making lines alone.
func BenchmarkAccessLogLine(b *testing.B) {
	for _, format := range []LogFormat{LogJSON, LogText} {
		b.Run(string(format), func(b *testing.B) {
			l := &accessLog{AccessLogConfig: AccessLogConfig{Format: format}, out: journal.New()}
			o := servedOutcome(b)
			var line []byte
			b.ReportAllocs()
			for b.Loop() {
				if format == LogJSON {
					line = l.appendJSON(line[:0], o)
				} else {
					line = l.appendText(line[:0], o)
				}
			}
			b.ReportMetric(float64(len(line)), "B/line")
			b.Log(string(line))
		})
	}
}
