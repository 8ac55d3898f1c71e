package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
	"jetway/tenant"
)

// site is a router with one cluster and a prober that runs.
type site struct {
	*balancer.Router
	prober *Prober
	cfg    balancer.Config
}

func standard(kind balancer.CheckType) balancer.Health {
	return balancer.Health{Type: kind, Path: "/ok", Interval: 100 * time.Millisecond, Timeout: 500 * time.Millisecond, Fall: 2, Rise: 2, Failures: 5, MaxEjected: 0.5}
}

func newSite(t *testing.T, h balancer.Health, roots *x509.CertPool) *site {
	t.Helper()
	resolver, err := tenant.NewResolver(tenant.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := tenant.ParseRanges("*")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{cfg: balancer.Config{Tenants: resolver, Listeners: []balancer.Listener{{Name: "http", PublicPort: 80}},
		Clusters: []balancer.ClusterConfig{{Service: "s", Key: balancer.Key{Domain: "d", SubDomain: "worker"}, Hosts: []string{"h"}, Ranges: all,
			Balance: balancer.LeastRequests, Health: h}}}}
	if roots != nil {
		s.cfg.Clusters[0].MemberScheme = balancer.SchemeHTTPS
	}
	s.prober = New(Options{Checks: func() []*balancer.Check { return s.Table().Checks() },
		TLS: func(*balancer.Endpoint) (*tls.Config, error) {
			return &tls.Config{RootCAs: roots, ServerName: "example.com"}, nil
		}}, zerolog.Nop())
	if s.Router, err = balancer.NewRouter(s.cfg, balancer.Options{Changed: s.prober.Wake}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.prober.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func at(t *testing.T, address string) balancer.Member {
	t.Helper()
	host, port, err := net.SplitHostPort(strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(port)
	m := balancer.Member{ID: port, Domain: "d", Host: host, HTTP: uint16(n), HTTPS: uint16(n), Weight: 1, Source: balancer.SourceGossip}
	return m
}

func (s *site) status() balancer.Status {
	return s.Table().Upstreams()[0].Status(time.Now().UnixNano())
}

// route decides where a request would go.
func (s *site) route(t *testing.T) *balancer.Decision {
	t.Helper()
	var d balancer.Decision
	if r := s.Table().Route(&balancer.Request{Host: []byte("h"), Path: []byte("/"), PublicPort: 80}, &d); r != balancer.OK {
		t.Fatal(r)
	}
	return &d
}

func (s *site) await(t *testing.T, state string) balancer.Status {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		st := s.status()
		if st.State == state {
			return st
		}
		if time.Now().After(end) {
			t.Fatalf("the member is %+v, want %s", st, state)
		}
	}
}

func TestTCP(t *testing.T) {
	s := newSite(t, standard(balancer.CheckTCP), nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepted atomic.Int64
	serve := func(ln net.Listener) {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			c.Close()
		}
	}
	go serve(ln)
	m := at(t, ln.Addr().String())
	s.SetMembers([]balancer.Member{m})
	s.await(t, balancer.StateUp)
	ln.Close()
	s.await(t, balancer.StateDown)
	if st := s.status(); st.Checks[0].Result != "connection refused" || st.Checks[0].OK || st.Reason == "" {
		t.Fatalf("%+v", st)
	}
	s.SetMembers(nil)
	time.Sleep(50 * time.Millisecond)
	if ln, err = net.Listen("tcp", ln.Addr().String()); err != nil {
		t.Skip(err) // somebody else has the port now
	}
	defer ln.Close()
	before := accepted.Load()
	go serve(ln)
	time.Sleep(300 * time.Millisecond)
	if n := accepted.Load() - before; n > 0 {
		t.Fatalf("a member that vanished is still checked: %d times", n)
	}
}

// TestStandstill: the system takes connections for a process that stands
// still; with requests waiting, a connection is no longer enough.
func TestStandstill(t *testing.T) {
	s := newSite(t, standard(balancer.CheckTCP), nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // nobody accepts
	s.SetMembers([]balancer.Member{at(t, ln.Addr().String())})
	s.await(t, balancer.StateUp)
	time.Sleep(300 * time.Millisecond)
	s.await(t, balancer.StateUp) // idle, nothing speaks against it
	e := s.route(t).View.Endpoints()[0]
	e.Begin()
	st := s.await(t, balancer.StateDown)
	if !strings.Contains(st.Checks[0].Result, "no answer within") {
		t.Fatalf("%+v", st)
	}
	e.End()
	server := &http.Server{Handler: http.NotFoundHandler()}
	go server.Serve(ln)
	defer server.Close()
	s.await(t, balancer.StateUp)
}

// TestBusyMembersNeedNoCheck: one that answers requests is not connected to.
func TestBusyMembersNeedNoCheck(t *testing.T) {
	s := newSite(t, standard(balancer.CheckTCP), nil)
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	s.SetMembers([]balancer.Member{at(t, server.URL)})
	s.await(t, balancer.StateUp)
	d := s.route(t)
	for end := time.Now().Add(10 * time.Second); s.prober.Stats().Skipped < 3; time.Sleep(time.Millisecond) {
		d.View.Answered(d.View.Endpoints()[0], 200, 1000, time.Now().UnixNano())
		if time.Now().After(end) {
			t.Fatalf("%+v", s.prober.Stats())
		}
	}
}

func TestHTTP(t *testing.T) {
	var answer atomic.Value
	answer.Store("200 all is fine")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var status int
		var body string
		fmt.Sscanf(answer.Load().(string), "%d", &status)
		_, body, _ = strings.Cut(answer.Load().(string), " ")
		if r.URL.RequestURI() != "/ok?a=%20b" || r.Host != "app.example.com" || r.UserAgent() != agent {
			status = 400
		}
		w.WriteHeader(status)
		w.Write([]byte(body))
	}))
	defer server.Close()
	h := standard(balancer.CheckHTTP)
	h.Path, h.Host, h.Body = "/ok?a=%20b", "app.example.com", "fine"
	h.Status = []balancer.StatusRange{{Lo: 200, Hi: 299}}
	s := newSite(t, h, nil)
	s.SetMembers([]balancer.Member{at(t, server.URL)})
	f := func(text, state, result string) {
		t.Helper()
		answer.Store(text)
		st := s.await(t, state)
		if !strings.Contains(st.Checks[0].Result, result) {
			t.Fatalf("%s: %+v", text, st.Checks[0])
		}
	}
	f("200 all is fine", balancer.StateUp, "status 200")
	f("302 fine", balancer.StateDown, "status 302")
	f("201 "+strings.Repeat("x", 50<<10)+"fine"+strings.Repeat("x", 1<<20), balancer.StateUp, "status 201")
	f("200 broken", balancer.StateDown, "does not hold")
	f("200 fine", balancer.StateUp, "status 200")
}

// TestHTTPSilence: a member that takes connections and says nothing is silent,
// which is worse than a wrong answer: it gets no requests whoever else is out.
func TestHTTPSilence(t *testing.T) {
	h := standard(balancer.CheckHTTP)
	s := newSite(t, h, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // nobody accepts
	s.SetMembers([]balancer.Member{at(t, ln.Addr().String())})
	st := s.await(t, balancer.StateDown)
	if want := "no answer within 500ms"; st.Checks[0].Result != want || !strings.Contains(st.Reason, want) {
		t.Fatalf("%+v", st)
	}
	d := s.route(t)
	if list := d.Survey(time.Now().UnixNano()); list[0].Grade != "unreachable" {
		t.Fatalf("it is %s", list[0].Grade)
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	s := newSite(t, standard(balancer.CheckTLS), roots)
	s.SetMembers([]balancer.Member{at(t, server.URL)})
	s.await(t, balancer.StateUp)
	s = newSite(t, standard(balancer.CheckTLS), x509.NewCertPool())
	s.SetMembers([]balancer.Member{at(t, server.URL)})
	if st := s.await(t, balancer.StateDown); !strings.Contains(st.Checks[0].Result, "TLS handshake") {
		t.Fatalf("%+v", st)
	}
}

// TestMany: many more members than checks at a time are all checked.
func TestMany(t *testing.T) {
	h := standard(balancer.CheckTCP)
	h.Interval, h.Timeout = 5*time.Second, 5*time.Second
	s := newSite(t, h, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	var list []balancer.Member
	for i := range 600 {
		m := at(t, ln.Addr().String())
		m.ID = fmt.Sprint(i)
		list = append(list, m)
	}
	s.SetMembers(list)
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		up := s.Table().Clusters()[0].Up(time.Now().UnixNano())
		if up == 600 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of 600 are up; %+v", up, s.prober.Stats())
		}
	}
}
