package httpcases

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestCasesTLS runs every row in every form with TLS on the client's side.
func TestCasesTLS(t *testing.T) { runGroups(t, groupsTLS(), startSecureBench) }

// TestSlowCasesTLS is TestSlowCases with TLS on the client's side.
func TestSlowCasesTLS(t *testing.T) { runSlow(t, groupsTLS(), startSecureBench) }

// startSecureBench is startBench with TLS between client and Jetway.
func startSecureBench(t *testing.T, l limits) *bench {
	t.Helper()
	b := newBench(t, "jetway")
	b.secure = true
	cert, certPEM, keyPEM := selfSigned(t)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	client := &tls.Config{RootCAs: pool, ServerName: "t1.lb.test", ClientSessionCache: tls.NewLRUClientSessionCache(1),
		CurvePreferences: []tls.CurveID{tls.X25519}} // the cheapest: the rows are about what TLS carries
	b.dial = func() (*harness.Client, error) {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", b.addr, client)
		if err != nil {
			return nil, err
		}
		return harness.NewClient(conn), nil
	}
	b.start(t, l, harness.WithFile("site.crt", certPEM), harness.WithFile("site.key", keyPEM))
	return b
}

// listenerTLS is what the listener has beside its address.
func (b *bench) listenerTLS() string {
	if !b.secure {
		return ""
	}
	return ", tls: {certificates: [{cert_file: site.crt, key_file: site.key}]}"
}

// scheme is the one that clients use.
func (b *bench) scheme() string {
	if b.secure {
		return "https"
	}
	return "http"
}

// groupsTLS is the table as it is sent over TLS: a target in absolute form
// has the other scheme.
func groupsTLS() []group {
	list := groups()
	for _, g := range list {
		for i := range g.rows {
			r := &g.rows[i]
			r.in = otherScheme(r.in)
			for s := range r.steps {
				r.steps[s].send = otherScheme(r.steps[s].send)
			}
		}
	}
	return list
}

var absoluteTarget = regexp.MustCompile(`(?m)^[A-Z]+ (?i:https?)://`)

func otherScheme(text string) string {
	return absoluteTarget.ReplaceAllStringFunc(text, func(start string) string {
		head := strings.TrimSuffix(start, "://")
		if short, ok := strings.CutSuffix(head, "s"); ok {
			return short + "://"
		}
		return head + "s://"
	})
}

// selfSigned makes a certificate for the hosts of the table.
func selfSigned(t *testing.T) (cert *x509.Certificate, certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"*.lb.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}
