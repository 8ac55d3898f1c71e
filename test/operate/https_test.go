package operate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// authority signs certificates and writes them to a directory.
type authority struct {
	dir, name string
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
}

// newAuthority writes NAME.pem, the certificate of one who signs.
func newAuthority(t testing.TB, dir, name string) *authority {
	t.Helper()
	a := &authority{dir: dir, name: name}
	a.cert, a.key = a.make(t, name, nil)
	return a
}

// issue writes NAME.crt and NAME.key for 127.0.0.1 and both sides of TLS.
func (a *authority) issue(t testing.TB, name string) {
	t.Helper()
	_, key := a.make(t, name, a.cert)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".key", "EC PRIVATE KEY", der)
}

func (a *authority) make(t testing.TB, name string, parent *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62)) // never fails
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour), BasicConstraintsValid: true}
	file, signer := name+".crt", a.key
	if parent == nil {
		file, parent, signer = name+".pem", c, key
		c.IsCA, c.KeyUsage, c.IPAddresses = true, x509.KeyUsageCertSign, nil
	} else {
		c.KeyUsage = x509.KeyUsageDigitalSignature
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.write(t, file, "CERTIFICATE", der)
	return c, key
}

func (a *authority) write(t testing.TB, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// secure is a Jetway whose admin API is reached by HTTPS.
type secure struct {
	site
	certs, url, token string
}

func startSecure(t *testing.T) *secure {
	t.Helper()
	v := &secure{certs: t.TempDir()}
	own, operators, stranger := newAuthority(t, v.certs, "own"), newAuthority(t, v.certs, "operators"), newAuthority(t, v.certs, "stranger")
	own.issue(t, "admin")
	operators.issue(t, "olga")
	stranger.issue(t, "mallory")
	v.token = tokenFile(t, "ops 0123456789abcdef-ops\n")
	keys := fmt.Sprintf(", token_file: %q, audit_log: audit.log, tls: {cert_file: %q, key_file: %q, client_ca_file: %q}",
		v.token, v.file("admin.crt"), v.file("admin.key"), v.file("operators.pem"))
	m := harness.StartMember(t, "w1", nil)
	port, admin := harness.FreePort(t), harness.FreePort(t)
	v.site = site{harness.Start(t, conf(port, admin, m, keys, ""), harness.WithFile("tenants.csv", "acme,42,true,gold\n"),
		harness.AwaitTCP(harness.Loopback(port))), port, m}
	v.url = "https://" + harness.Loopback(admin)
	eventually(t, "it is ready", func() bool {
		return strings.Contains(run(t, 0, "members", "--admin", v.url, "--ca", v.file("own.pem"), "--token-file", v.token), " up")
	})
	return v
}

func (v *secure) file(name string) string { return filepath.Join(v.certs, name) }

// TestCommandsOverHTTPS: every command works over HTTPS with a token, with a
// client certificate, and with what the configuration file names; who is not
// known, and an API that is not the one that is meant, are refused in words.
func TestCommandsOverHTTPS(t *testing.T) {
	t.Parallel()
	v := startSecure(t)
	v.ask(t, "GET /t/acme/ HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	ca, cert := v.file("own.pem"), []string{"--cert", v.file("olga.crt"), "--key", v.file("olga.key")}
	commands := everyCommand
	everyCommand(t, v.site, append([]string{"--admin", v.url, "--ca", ca}, cert...)...)
	if !harness.Long() {
		commands = func(t *testing.T, s site, how ...string) {
			run(t, 0, append([]string{"drain", "w1"}, how...)...)
			run(t, 0, append([]string{"undrain", "w1"}, how...)...)
		}
	}
	commands(t, v.site, "--admin", v.url, "--ca", ca, "--token-file", v.token)
	commands(t, v.site, "-c", filepath.Join(v.Dir, "loadbalancer.conf")) // its certificate is pinned
	audit := readFile(t, filepath.Join(v.Dir, "audit.log"))
	for _, who := range []string{`"operator":"ops"`, `"operator":"CN=olga"`} {
		if !strings.Contains(audit, who) {
			t.Errorf("the audit log lacks %s:\n%s", who, audit)
		}
	}
	f := func(want string, args ...string) {
		t.Helper()
		if out := run(t, 1, append([]string{"drain", "w1"}, args...)...); !strings.Contains(out, want) {
			t.Errorf("drain %s lacks %q:\n%s", strings.Join(args, " "), want, out)
		}
	}
	f("--token-file, --cert", "--admin", v.url, "--ca", ca)
	f("unknown authority", "--admin", v.url, "--ca", v.file("stranger.pem"), "--token-file", v.token)
	f("Say with --ca who signs", "--admin", v.url, "--token-file", v.token) // one of its own: not the system's
	f("--token-file, --cert", "--admin", v.url, "--ca", ca, "--token-file", tokenFile(t, "wrong-wrong-wrong-wrong\n"))
	f("https://", "--admin", strings.TrimPrefix(v.url, "https://"), "--token-file", v.token)
	f("certificate that it accepts", "--admin", v.url, "--ca", ca, "--cert", v.file("mallory.crt"), "--key", v.file("mallory.key"))
	// The certificate that the file names is the only one that is believed.
	impostor := strings.Replace(readFile(t, filepath.Join(v.Dir, "loadbalancer.conf")), v.file("admin.crt"), v.file("olga.crt"), 1)
	impostor = strings.Replace(impostor, v.file("admin.key"), v.file("olga.key"), 1)
	v.WriteFile(t, "other.conf", impostor)
	f("is not the one that the configuration names", "-c", filepath.Join(v.Dir, "other.conf"))
	if out := run(t, 0, "members", "--admin", v.url, "--ca", ca, "--token-file", v.token); strings.Contains(out, "draining") {
		t.Errorf("somebody who was refused drained it:\n%s", out)
	}
}
