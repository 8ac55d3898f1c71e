package blackbox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"jetway/test/harness"
)

// selfSigned returns a certificate for names, and its PEM and its key's.
func selfSigned(t testing.TB, names ...string) (cert tls.Certificate, certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	keyPEM = string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
	if cert, err = tls.X509KeyPair([]byte(certPEM), []byte(keyPEM)); err != nil {
		t.Fatal(err)
	}
	return cert, certPEM, keyPEM
}

// startTLSMember starts an HTTPS server that answers its name and the scheme
// that it was told the client used.
func startTLSMember(t testing.TB, name string, cert tls.Certificate) (port int) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s by TLS, client by %s", name, r.Header.Get("X-Forwarded-Proto"))
	})}
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
	return ln.Addr().(*net.TCPAddr).Port
}

// TestTLS: HTTPS clients, HTTPS members, and off-loading in both directions.
func TestTLS(t *testing.T) {
	_, sitePEM, siteKey := selfSigned(t, "as.example.com", "off.example.com", "on.example.com", "bad.example.com")
	_, otherPEM, otherKey := selfSigned(t, "sni.example.com")
	memberCert, memberPEM, _ := selfSigned(t, "member.internal")
	secure := startTLSMember(t, "secure", memberCert)
	plain := harness.StartMember(t, "plain", nil)
	s := newSite(t)
	harness.Start(t, fmt.Sprintf(`loadbalancer:
  listeners:
    - {name: http, address: "127.0.0.1:%d"}
    - name: https
      address: "127.0.0.1:%d"
      tls: {certificates: [{cert_file: site.crt, key_file: site.key}, {cert_file: sni.crt, key_file: sni.key}]}
  admin: {address: "127.0.0.1:%d"}
membership:
  static:
    - {id: both, domain: as.domain, host: 127.0.0.1, http: %d, https: %d}
    - {id: plain, domain: off.domain, host: 127.0.0.1, http: %d}
    - {id: secure, domain: on.domain, host: 127.0.0.1, https: %d}
    - {id: secure, domain: bad.domain, host: 127.0.0.1, https: %d}
services:
  as:
    affinity: {mode: none}
    member_tls: {ca_file: member.crt, server_name: member.internal}
    domains:
      as.domain: {hosts: [as.example.com, sni.example.com]}
      off.domain: {hosts: [off.example.com], member_scheme: http}
      on.domain: {hosts: [on.example.com], member_scheme: https}
      bad.domain: {hosts: [bad.example.com], member_scheme: https, member_tls: {ca_file: site.crt}}
`, s.http, s.mapped, s.admin, plain.Port, secure, plain.Port, secure, secure),
		harness.WithFile("site.crt", sitePEM), harness.WithFile("site.key", siteKey),
		harness.WithFile("sni.crt", otherPEM), harness.WithFile("sni.key", otherKey),
		harness.WithFile("member.crt", memberPEM))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(sitePEM + otherPEM))

	f := func(scheme, host, want string) {
		t.Helper()
		port := map[string]int{"http": s.http, "https": s.mapped}[scheme]
		a := ask{url: scheme + "://" + harness.Loopback(port) + "/", host: host, accept: "application/json",
			ca: &tls.Config{RootCAs: pool, ServerName: host}}
		g := a.do(t)
		got := g.String()
		if g.status != 200 {
			got = fmt.Sprintf("%d %s", g.status, g.reason())
		}
		if got != want {
			t.Errorf("%s %s: %s, want %s", scheme, host, g, want)
		}
	}
	f("http", "as.example.com", "200 plain GET /")
	f("https", "as.example.com", "200 secure by TLS, client by https")
	f("https", "sni.example.com", "200 secure by TLS, client by https") // with its own certificate
	f("https", "off.example.com", "200 plain GET /")
	f("http", "on.example.com", "200 secure by TLS, client by http")
	f("http", "bad.example.com", "502 connect_failed") // the member's certificate is of another authority

	requests := plain.Requests()
	last := requests[len(requests)-1]
	if v := harness.Values(last.Fields, "X-Forwarded-Proto"); len(v) != 1 || v[0] != "https" {
		t.Errorf("off-loaded: X-Forwarded-Proto is %q, want https", v)
	}
}
