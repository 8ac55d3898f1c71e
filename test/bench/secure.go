//go:build linux

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// clientTLS allows one version, group and cipher suite, so that no proxy does
// other work than the next one.
func clientTLS(host string) *tls.Config {
	return &tls.Config{ServerName: host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519}, NextProtos: []string{"http/1.1"}}
}

// secureClient is the client for TLS: a goroutine per connection, at most one
// request after the other on each. TLS itself costs more than the loop does.
type secureClient struct {
	*load
	meter    meter
	request  []byte
	requests atomic.Int64
	errors   atomic.Int64
	first    atomic.Pointer[string]
	running  atomic.Bool // the measured time has begun and not ended
}

func runSecure(l *load) (*outcome, error) {
	c := &secureClient{load: l, meter: newMeter(l), request: l.requests()[0]}
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range l.Conns {
		all.Go(func() { c.session(stop) })
	}
	c.meter.start()
	for !c.meter.done && c.errors.Load() < errorsMax {
		time.Sleep(min(10*time.Millisecond, time.Until(c.meter.base.Add(time.Duration(c.meter.end)))))
		c.meter.tick()
		c.running.Store(c.meter.running && !c.meter.done)
	}
	o := &outcome{Requests: c.requests.Load(), Usage: c.meter.usage()}
	close(stop)
	all.Wait()
	o.Errors = c.errors.Load()
	if text := c.first.Load(); text != nil {
		o.FirstError = *text
	}
	return o, nil
}

// session sends requests until it is stopped.
func (c *secureClient) session(stop chan struct{}) {
	config := clientTLS(c.Host)
	if c.TLS == tlsResume {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	buf := make([]byte, 64<<10)
	resumed := false // one session is there to resume
	for c.errors.Load() < errorsMax {
		err := c.connection(config, buf, resumed, stop)
		if err != nil {
			text := err.Error()
			c.first.CompareAndSwap(nil, &text)
			c.errors.Add(1)
		}
		resumed = c.TLS == tlsResume && err == nil
		select {
		case <-stop:
			return
		default:
		}
	}
}

// connection is one connection with one request, or with kept connections as
// many as there is time for.
func (c *secureClient) connection(config *tls.Config, buf []byte, resumed bool, stop chan struct{}) error {
	conn, err := secureDial(c.Target.String(), config)
	if err != nil {
		return err
	}
	defer conn.Close()
	state := conn.ConnectionState()
	if state.DidResume != resumed || state.CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		return fmt.Errorf("TLS with %s, resumed %v, expected %s, resumed %v", tls.CipherSuiteName(state.CipherSuite),
			state.DidResume, tls.CipherSuiteName(tls.TLS_AES_128_GCM_SHA256), resumed)
	}
	for {
		if err := c.exchange(conn, buf); err != nil {
			return err
		}
		if c.running.Load() {
			c.requests.Add(1)
		}
		if c.TLS != tlsKeep {
			return nil
		}
		select {
		case <-stop:
			return nil
		default:
		}
	}
}

// connect opens a connection, with TLS if the load has it.
func (l *load) connect() (net.Conn, error) {
	if l.TLS != "" {
		return secureDial(l.Target.String(), clientTLS(l.Host))
	}
	return net.DialTimeout("tcp", l.Target.String(), 5*time.Second)
}

func secureDial(addr string, config *tls.Config) (*tls.Conn, error) {
	raw, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, fmt.Errorf("cannot connect: %w", err)
	}
	raw.SetDeadline(time.Now().Add(2 * time.Minute))
	conn := tls.Client(raw, config)
	if err := conn.Handshake(); err != nil {
		raw.Close()
		return nil, fmt.Errorf("cannot shake hands: %w", err)
	}
	return conn, nil
}

// exchange sends one request and takes its answer.
func (c *secureClient) exchange(conn io.ReadWriter, buf []byte) error {
	if _, err := conn.Write(c.request); err != nil {
		return fmt.Errorf("cannot send a request: %w", err)
	}
	return c.answer(conn, buf)
}

// answer takes an answer and judges it.
func (l *load) answer(conn io.Reader, buf []byte) error {
	head, body, err := readHead(conn, buf)
	if err != nil {
		return err
	}
	if err := l.judge(head); err != nil {
		return err
	}
	for got, last := len(body), body; ; {
		if n := len(last); got > l.Length || n > 0 && last[n-1] != 'a'+byte((got-1)%26) {
			return fmt.Errorf("wrong bytes before %d of an answer", got)
		}
		if got == l.Length {
			return nil
		}
		n, err := conn.Read(buf)
		if err != nil {
			return fmt.Errorf("answer ended at %d of %d bytes: %w", got, l.Length, err)
		}
		got, last = got+n, buf[:n]
	}
}

// readHead reads into buf until a head is whole; body is what came after it.
func readHead(r io.Reader, buf []byte) (head, body []byte, err error) {
	for n := 0; ; {
		got, err := r.Read(buf[n:])
		if err != nil {
			return nil, nil, fmt.Errorf("no answer: %w", err)
		}
		n += got
		if end := bytes.Index(buf[:n], []byte("\r\n\r\n")); end >= 0 {
			return buf[:end+4], buf[end+4 : n], nil
		}
		if n == len(buf) {
			return nil, nil, errors.New("head of an answer without end")
		}
	}
}

// makeCertificate writes a self-signed certificate on P-256: cert.pem,
// key.pem, and both.pem as HAProxy wants it.
func makeCertificate(dir, host string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("cannot make a key: %w", err)
	}
	now := time.Now()
	about := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: host},
		DNSNames: []string{host}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(48 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("cannot make a certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("cannot encode a key: %w", err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	for name, b := range map[string][]byte{"cert.pem": cert, "key.pem": secret, "both.pem": append(cert, secret...)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return fmt.Errorf("cannot write the certificate: %w", err)
		}
	}
	return nil
}
