package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// certStore is the certificates of one listener, ready to be chosen from by
// the name that a client asks for. Immutable.
type certStore struct {
	pairs    []certPair
	exact    map[string]*tls.Certificate
	wildcard map[string]*tls.Certificate // by suffix with its leading dot
}

type certPair struct {
	Certificate
	pair *tls.Certificate
	kept error // why the files are not in use, but what they held before
}

// newCertStore reads the certificates. One that cannot be read or has expired
// is taken from before, where that still has a good one: a broken renewal must
// not end the service.
func newCertStore(listener string, files []Certificate, before *certStore, log zerolog.Logger) (*certStore, error) {
	cs := &certStore{exact: map[string]*tls.Certificate{}, wildcard: map[string]*tls.Certificate{}}
	for _, f := range files {
		pair, err := loadPair(f)
		var kept error
		if old := before.find(f); err != nil && old != nil {
			kept = err
			log.Error().Err(err).Str("listener", listener).Time("not_after", old.Leaf.NotAfter).Msg("certificate not replaced, the old one stays")
			pair, err = old, nil
		}
		if err != nil && !errors.Is(err, errExpired) {
			return nil, fmt.Errorf("cannot use certificate %q of listener %q: %w", f.CertFile, listener, err)
		}
		if err != nil {
			log.Error().Err(err).Str("listener", listener).Str("cert_file", f.CertFile).Msg("certificate has expired")
		}
		cs.add(f, pair)
		cs.pairs[len(cs.pairs)-1].kept = kept
	}
	if len(cs.pairs) == 0 {
		return nil, fmt.Errorf("cannot use TLS on listener %q: it has no certificate", listener)
	}
	return cs, nil
}

var errExpired = errors.New("certificate has expired")

// loadPair reads a pair; an expired one comes with errExpired.
func loadPair(f Certificate) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(f.CertFile, f.KeyFile)
	if err != nil {
		return nil, err
	}
	if end := pair.Leaf.NotAfter; time.Now().After(end) {
		return &pair, fmt.Errorf("%w on %s", errExpired, end.UTC().Format(time.RFC3339))
	}
	return &pair, nil
}

// certificateWarning is how long before its end a certificate is worth a word.
const certificateWarning = 7 * 24 * time.Hour

// trouble says what is wrong with a certificate at now; empty: nothing.
func (p *certPair) trouble(now time.Time) string {
	end := p.pair.Leaf.NotAfter
	until := end.UTC().Format(time.RFC3339)
	switch {
	case p.kept != nil:
		return fmt.Sprintf("certificate %q was not replaced, the one before stays until %s: %s", p.CertFile, until, p.kept)
	case now.After(end):
		return fmt.Sprintf("certificate %q has expired on %s", p.CertFile, until)
	case now.After(end.Add(-certificateWarning)):
		return fmt.Sprintf("certificate %q ends on %s", p.CertFile, until)
	}
	return ""
}

// find returns the pair of the same files if it has not expired.
func (cs *certStore) find(f Certificate) *tls.Certificate {
	if cs == nil {
		return nil
	}
	for _, p := range cs.pairs {
		if p.Certificate == f && time.Now().Before(p.pair.Leaf.NotAfter) {
			return p.pair
		}
	}
	return nil
}

func (cs *certStore) add(f Certificate, pair *tls.Certificate) {
	cs.pairs = append(cs.pairs, certPair{Certificate: f, pair: pair})
	names := pair.Leaf.DNSNames
	if len(names) == 0 {
		names = []string{pair.Leaf.Subject.CommonName}
	}
	for _, name := range names {
		name = strings.ToLower(name)
		if suffix, ok := strings.CutPrefix(name, "*"); ok {
			keepFirst(cs.wildcard, suffix, pair)
		} else {
			keepFirst(cs.exact, name, pair)
		}
	}
}

func keepFirst(m map[string]*tls.Certificate, name string, pair *tls.Certificate) {
	if m[name] == nil {
		m[name] = pair
	}
}

// choose picks by SNI: exact name, then wildcard of one label (RFC 6125,
// 6.4.3), then the default. It never refuses: which names are served is
// decided by routing.
func (cs *certStore) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if pair := cs.exact[name]; pair != nil {
		return pair, nil
	}
	if i := strings.IndexByte(name, '.'); i > 0 {
		if pair := cs.wildcard[name[i:]]; pair != nil {
			return pair, nil
		}
	}
	return cs.pairs[0].pair, nil
}

// newServerTLS builds the server side of TLS of a listener. The keys of session
// tickets that the process makes itself are taken over from base, nil for none.
func newServerTLS(lc *ListenerConfig, certs *certStore, base *tls.Config) (*tls.Config, error) {
	c := &tls.Config{}
	if base != nil {
		c = base.Clone()
	}
	c.MinVersion, c.NextProtos, c.GetCertificate = tls.VersionTLS12, []string{"http/1.1"}, certs.choose
	c.CipherSuites = []uint16{ // of TLS 1.2: forward secrecy and AEAD only
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}
	c.ClientCAs, c.ClientAuth = nil, tls.NoClientCert
	if lc.TLS.ClientCAFile != "" {
		pem, err := os.ReadFile(lc.TLS.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read client_ca_file of listener %q: %w", lc.Name, err)
		}
		c.ClientCAs = x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cannot use client_ca_file %q of listener %q: it holds no certificate", lc.TLS.ClientCAFile, lc.Name)
		}
		c.ClientAuth = tls.VerifyClientCertIfGiven
		if lc.TLS.RequireClientCert {
			c.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	if lc.TLS.TicketKeyFile != "" {
		keys, err := readTicketKeys(lc.TLS.TicketKeyFile)
		if err != nil {
			return nil, fmt.Errorf("cannot use ticket_key_file %q of listener %q: %w", lc.TLS.TicketKeyFile, lc.Name, err)
		}
		c.SetSessionTicketKeys(keys)
	}
	return c, nil
}

// CheckTicketKeys reports what is wrong with a ticket key file.
func CheckTicketKeys(path string) error {
	_, err := readTicketKeys(path)
	return err
}

// ticketKeysMax bounds a ticket key file.
const ticketKeysMax = 16

func readTicketKeys(path string) (keys [][32]byte, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != 32 || len(keys) == ticketKeysMax {
			return nil, fmt.Errorf("line %d is not a key; expected base64 of 32 bytes, at most %d lines", n, ticketKeysMax)
		}
		keys = append(keys, [32]byte(key))
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no key; expected base64 of 32 bytes on each line")
	}
	return keys, nil
}

// setTLSFacts keeps what requests need of the session.
func (c *clientConn) setTLSFacts(state tls.ConnectionState) {
	c.sni = strings.ToLower(strings.TrimSuffix(state.ServerName, "."))
	if len(state.VerifiedChains) > 0 {
		subject := state.PeerCertificates[0].Subject.String()
		if len(subject) <= subjectMax && allOf([]byte(subject), valueTable) {
			c.subject = subject
		}
	}
}

// subjectMax bounds the subject of a client certificate that is passed on.
const subjectMax = 1 << 10

// misdirected reports whether a request's host is not what its TLS session is
// for (RFC 9110, 15.5.20), where the listener minds. A client that dials an
// address cannot name it, so that is no disagreement.
func (c *clientConn) misdirected(st *listenerState, host []byte) bool {
	if !c.tls || st.TLS == nil || !st.TLS.StrictSNI || string(host) == c.sni {
		return false
	}
	if c.sni != "" {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(string(host), "[]"))
	return err != nil
}
