package edge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"jetway/test/harness"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  string
}

// pair is a certificate with its key, ready and as PEM.
type pair struct {
	tls.Certificate
	certPEM, keyPEM string
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := template(name)
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

func template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62)) // never fails
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
}

// issue makes a certificate for names and 127.0.0.1, good for both sides of
// TLS; change, where not nil, alters it before it is signed.
func (a *authority) issue(t testing.TB, change func(*x509.Certificate), names ...string) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return a.sign(t, key, change, names...)
}

// issueRSA is issue with a key for the cipher suites that ask for RSA.
func (a *authority) issueRSA(t testing.TB, names ...string) pair {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return a.sign(t, key, nil, names...)
}

func (a *authority) sign(t testing.TB, key crypto.Signer, change func(*x509.Certificate), names ...string) pair {
	t.Helper()
	tmpl := template(names[0])
	tmpl.DNSNames, tmpl.IPAddresses = names, []net.IP{net.IPv4(127, 0, 0, 1)}
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{certPEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		keyPEM: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))}
	if p.Certificate, err = tls.X509KeyPair([]byte(p.certPEM), []byte(p.keyPEM)); err != nil {
		t.Fatal(err)
	}
	return p
}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }

// trusting is the client side of TLS that believes the authority.
func (a *authority) trusting(serverName string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{RootCAs: pool, ServerName: serverName}
}

// files are the options that put a pair where siteTLS names it.
func (p pair) files(name string) []harness.Option {
	return []harness.Option{harness.WithFile(name+".crt", p.certPEM), harness.WithFile(name+".key", p.keyPEM)}
}

// certFiles is what a configuration says of certificates by these names.
func certFiles(names ...string) string {
	list := ""
	for _, n := range names {
		list += "{cert_file: " + n + ".crt, key_file: " + n + ".key}, "
	}
	return "certificates: [" + list[:len(list)-2] + "]"
}

// tryTLS connects; the connection ends with the test.
func tryTLS(t testing.TB, addr string, cfg *tls.Config) (*harness.Client, *tls.Conn, error) {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr, cfg)
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() { conn.Close() })
	return harness.NewClient(conn), conn, nil
}

func dialTLS(t testing.TB, addr string, cfg *tls.Config) (*harness.Client, *tls.Conn) {
	t.Helper()
	c, conn, err := tryTLS(t, addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c, conn
}
