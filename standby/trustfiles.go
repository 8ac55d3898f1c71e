package standby

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// certificates are those of standby.tls, read again when a file has changed:
// they are renewed while Jetway runs. Safe for concurrent use.
type certificates struct {
	files TLSFiles

	mu    sync.Mutex // guards all below
	read  [3]fileMark
	pair  *tls.Certificate
	roots *x509.CertPool
}

// fileMark tells one state of a file from another.
type fileMark struct {
	changed time.Time
	size    int64
}

// trustFiles accepts certificates of one authority, whatever names they carry.
func trustFiles(base *tls.Config, files TLSFiles) (*trust, error) {
	c := &certificates{files: files}
	c.read = c.marks()
	if err := c.load(); err != nil {
		return nil, err
	}
	base.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		pair, _ := c.current()
		return pair, nil
	}
	base.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, _ := c.current()
		return pair, nil
	}
	base.ClientAuth = tls.RequireAnyClientCert
	base.InsecureSkipVerify = true // of names alone; the chain is verified here, alike on both sides
	base.VerifyConnection = func(cs tls.ConnectionState) error {
		if cs.NegotiatedProtocol != alpn || len(cs.PeerCertificates) == 0 {
			return errStranger
		}
		between := x509.NewCertPool()
		for _, other := range cs.PeerCertificates[1:] {
			between.AddCert(other)
		}
		_, roots := c.current()
		_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
		if err != nil {
			return fmt.Errorf("%w: %w", errStranger, err)
		}
		return nil
	}
	return &trust{client: base, server: base}, nil
}

func (c *certificates) marks() (m [3]fileMark) {
	for i, path := range [...]string{c.files.CertFile, c.files.KeyFile, c.files.CAFile} {
		if info, err := os.Stat(path); err == nil {
			m[i] = fileMark{info.ModTime(), info.Size()}
		}
	}
	return m
}

// current returns what is in force for the next handshake. Files that cannot
// be used, such as a certificate whose key is still to be written, change
// nothing; they are tried again with each handshake until they can.
func (c *certificates) current() (*tls.Certificate, *x509.CertPool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.marks(); now != c.read && c.load() == nil {
		c.read = now
	}
	return c.pair, c.roots
}

// load reads all files, or changes nothing.
func (c *certificates) load() error {
	pair, err := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
	if err != nil {
		return fmt.Errorf("cannot use the certificate of standby.tls: %w", err)
	}
	pem, err := os.ReadFile(c.files.CAFile)
	if err != nil {
		return fmt.Errorf("cannot read standby.tls.ca_file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("cannot use standby.tls.ca_file %q: it holds no certificate", c.files.CAFile)
	}
	c.pair, c.roots = &pair, roots
	return nil
}
