package edge

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// lastReload is what the admin API says of the newest load.
func lastReload(t testing.TB, j *harness.Jetway) (ok bool, when time.Time, reason string) {
	t.Helper()
	var v struct {
		LastReload struct {
			OK    bool      `json:"ok"`
			Time  time.Time `json:"time"`
			Error string    `json:"error"`
		} `json:"last_reload"`
	}
	_, body := j.Get("/api/v1/overview")
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("cannot read overview %q: %v", body, err)
	}
	return v.LastReload.OK, v.LastReload.Time, v.LastReload.Error
}

// tryReload writes a configuration, sends SIGHUP and waits for the result.
func tryReload(t testing.TB, j *harness.Jetway, conf string) (ok bool, reason string) {
	t.Helper()
	_, before, _ := lastReload(t, j)
	j.Reload(t, conf)
	eventually(t, 10*time.Second, "the reload is done", func() bool {
		var when time.Time
		ok, when, reason = lastReload(t, j)
		return when.After(before)
	})
	return ok, reason
}

func mustReload(t testing.TB, j *harness.Jetway, conf string) {
	t.Helper()
	if ok, reason := tryReload(t, j, conf); !ok {
		t.Fatalf("reload: %s", reason)
	}
}

// TestTLSCertificateSwap: certificates change under load, and neither a
// handshake nor a request fails, nor does a connection end for it.
func TestTLSCertificateSwap(t *testing.T) {
	swaps := 10
	if long() {
		swaps = 100
	}
	ca := newAuthority(t, "ca")
	s, opts := secureSite(t, harness.StartMember(t, "m", nil), "", map[string]pair{"site": ca.issue(t, nil, "a.test")}, "site")
	j := s.start(t, opts...)
	var wg sync.WaitGroup
	var handshakes, failed atomic.Int64
	var serials sync.Map
	stop := make(chan struct{})
	over := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	for range 4 {
		wg.Go(func() {
			for !over() {
				conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", s.addr(), ca.trusting("a.test"))
				if err != nil {
					failed.Add(1)
					t.Logf("handshake: %v", err)
					continue
				}
				handshakes.Add(1)
				serials.Store(conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), true)
				if _, status := ask(t, harness.NewClient(conn), get("/")); status != 200 {
					failed.Add(1)
				}
				conn.Close()
			}
		})
	}
	end := sync.OnceFunc(func() { close(stop); wg.Wait() })
	t.Cleanup(end)
	kept, _ := dialTLS(t, s.addr(), ca.trusting("a.test"))
	for range swaps {
		next := ca.issue(t, nil, "a.test")
		j.WriteFile(t, "site.crt", next.certPEM)
		j.WriteFile(t, "site.key", next.keyPEM)
		mustReload(t, j, s.String())
		_, conn := dialTLS(t, s.addr(), ca.trusting("a.test"))
		if got := conn.ConnectionState().PeerCertificates[0].SerialNumber; got.Cmp(next.Leaf.SerialNumber) != 0 {
			t.Errorf("after the reload serial %v, want %v", got, next.Leaf.SerialNumber)
		}
		conn.Close()
		if _, status := ask(t, kept, get("/")); status != 200 {
			t.Fatalf("the kept connection: %d", status)
		}
	}
	end()
	seen := 0
	serials.Range(func(any, any) bool { seen++; return true })
	t.Logf("%d swaps, %d handshakes with %d certificates, %d failed", swaps, handshakes.Load(), seen, failed.Load())
	if failed.Load() > 0 || seen < swaps/2 {
		t.Error("handshakes failed, or the load did not see the swaps")
	}
	if got := j.Metric("jetway_tls_handshake_errors_total"); got != "0" {
		t.Errorf("%s handshake errors, want none", got)
	}
}

// TestTLSBadCertificate: what cannot be used replaces nothing and is told; the
// watcher finds a good one by itself.
func TestTLSBadCertificate(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	old := ca.issue(t, nil, "a.test")
	s, opts := secureSite(t, harness.StartMember(t, "m", nil), "", map[string]pair{"site": old}, "site")
	j := s.start(t, opts...)
	serial := func() string {
		t.Helper()
		c, conn := dialTLS(t, s.addr(), ca.trusting("a.test"))
		defer conn.Close()
		if _, status := ask(t, c, get("/")); status != 200 {
			t.Errorf("status %d", status)
		}
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	series := fmt.Sprintf(`jetway_tls_cert_not_after_seconds{cert_file=%q,listener="main"}`, filepath.Join(j.Dir, "site.crt"))
	notAfter := func(p pair) {
		t.Helper()
		if got, _ := strconv.ParseFloat(j.Metric(series), 64); int64(got) != p.Leaf.NotAfter.Unix() {
			t.Errorf("%s is %v, want %d", series, got, p.Leaf.NotAfter.Unix())
		}
	}
	notAfter(old)
	late, other := ca.issue(t, expired, "a.test"), ca.issue(t, nil, "a.test")
	f := func(what, cert, key string) {
		t.Helper()
		logged := len(j.Log())
		j.WriteFile(t, "site.crt", cert)
		j.WriteFile(t, "site.key", key)
		_, before, _ := lastReload(t, j)
		j.Signal(syscall.SIGHUP)
		eventually(t, 10*time.Second, "the reload is done", func() bool { _, when, _ := lastReload(t, j); return when.After(before) })
		if got := serial(); got != old.Leaf.SerialNumber.String() {
			t.Errorf("%s: the old certificate is gone", what)
		}
		notAfter(old)
		news := j.Log()[logged:]
		if !strings.Contains(news, `"level":"error"`) && !strings.Contains(news, `"level":"warn"`) || !strings.Contains(news, "site.crt") && !strings.Contains(news, "certificate") {
			t.Errorf("%s: the log does not tell:\n%s", what, news)
		}
		if _, now := j.Get("/api/v1/overview"); !strings.Contains(now, `site.crt\" was not replaced, the one before stays until `) {
			t.Errorf("%s: the overview does not tell:\n%s", what, now)
		}
	}
	f("expired", late.certPEM, late.keyPEM)
	f("no PEM", "garbage", old.keyPEM)
	f("empty", "", "")
	f("half", other.certPEM[:len(other.certPEM)/2], other.keyPEM)
	f("another's key", other.certPEM, old.keyPEM)
	j.WriteFile(t, "site.crt", other.certPEM)
	j.WriteFile(t, "site.key", other.keyPEM)
	eventually(t, 10*time.Second, "the good one is found without a signal", func() bool { return serial() == other.Leaf.SerialNumber.String() })
	notAfter(other)
	if _, now := j.Get("/api/v1/overview"); strings.Contains(now, "was not replaced") {
		t.Errorf("the overview still tells of it:\n%s", now)
	}
}
