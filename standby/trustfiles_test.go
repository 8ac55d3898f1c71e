package standby

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates of peers.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "peers"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue writes a certificate with its key, and the authority's, into a directory.
func (a *authority) issue(t testing.TB, dir string, until time.Time, usage ...x509.ExtKeyUsage) TLSFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "lb"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, ExtKeyUsage: usage}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f := TLSFiles{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")}
	write := func(path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(f.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(f.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	write(f.CAFile, a.pem)
	return f
}

// shake makes a handshake between two trusts and returns both results.
func shake(t testing.TB, server, client *trust) (atServer, atClient error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		s := tls.Server(c, server.server)
		if err = s.Handshake(); err == nil {
			_, err = s.Write([]byte("x"))
		}
		done <- err
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(20 * time.Second))
	c := tls.Client(raw, client.client)
	if err = c.Handshake(); err == nil { // TLS 1.3: only a read tells whether the other side took ours
		_, err = c.Read(make([]byte, 1))
	}
	raw.Close()
	return <-done, err
}

// TestCertificates: both sides show a certificate of the authority that is in
// force; one that is expired, another authority's, made for servers alone, or
// missing is refused by either side.
func TestCertificates(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	later := time.Now().Add(time.Hour)
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	open := func(a *authority, until time.Time, usage ...x509.ExtKeyUsage) *trust {
		t.Helper()
		tr, err := newTrust(&Config{TLS: a.issue(t, t.TempDir(), until, usage...)})
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	good := open(ours, later, both...)
	if s, c := shake(t, good, open(ours, later, both...)); s != nil || c != nil {
		t.Fatalf("two good ones: %v, %v", s, c)
	}
	f := func(what string, bad *trust) {
		t.Helper()
		refused := func(s, c error) bool { // by whoever looked first
			return s != nil && c != nil && (errors.Is(s, errStranger) || errors.Is(c, errStranger))
		}
		if s, c := shake(t, good, bad); !refused(s, c) {
			t.Errorf("%s, dialling: %v, %v", what, s, c)
		}
		if s, c := shake(t, bad, good); !refused(s, c) {
			t.Errorf("%s, accepting: %v, %v", what, s, c)
		}
	}
	f("expired", open(ours, time.Now().Add(-time.Hour), both...))
	f("of another authority", open(theirs, later, both...))
	f("for signing code", open(ours, later, x509.ExtKeyUsageCodeSigning))
	secret, err := newTrust(&Config{KeyFile: keyFile(t, NewSecret())})
	if err != nil {
		t.Fatal(err)
	}
	f("of a shared key", secret)
	none := &trust{server: good.server, client: &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}, InsecureSkipVerify: true}}
	if s, c := shake(t, good, none); s == nil || c == nil {
		t.Errorf("without any: %v, %v", s, c)
	}
}

// TestCertificateRenewal: files that change are used from the next handshake
// on, those that cannot be used are not.
func TestCertificateRenewal(t *testing.T) {
	old, fresh := newAuthority(t), newAuthority(t)
	later := time.Now().Add(time.Hour)
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	dirs := [2]string{t.TempDir(), t.TempDir()}
	var all [2]*trust
	for i, dir := range dirs {
		var err error
		if all[i], err = newTrust(&Config{TLS: old.issue(t, dir, later, both...)}); err != nil {
			t.Fatal(err)
		}
	}
	f := func(what string, good bool) {
		t.Helper()
		if s, c := shake(t, all[0], all[1]); (s == nil && c == nil) != good {
			t.Fatalf("%s: %v, %v", what, s, c)
		}
	}
	f("at first", true)
	files := fresh.issue(t, dirs[0], later, both...)
	f("one has moved on", false)
	fresh.issue(t, dirs[1], later, both...)
	f("both have", true)
	if err := os.WriteFile(files.KeyFile, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	f("with a key that is still being written", true)
	fresh.issue(t, dirs[0], time.Now().Add(-time.Minute), both...)
	f("with one that has expired", false)
	fresh.issue(t, dirs[0], later, both...)
	f("with one that is renewed", true)
}
