package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
)

const (
	// tokenMin is the shortest token that is accepted, in bytes.
	tokenMin = 16
	// tokensMax bounds the tokens of one file.
	tokensMax = 100
	// secretsMax bounds the files of tokens and certificates.
	secretsMax = 1 << 20
)

// operator is who asks: somebody known by a token or a certificate, or, where
// nobody has to say who he is, somebody on this machine.
type operator struct {
	name     string
	readOnly bool
}

// token is one line of a token file.
type token struct {
	operator
	sum [sha256.Size]byte
}

// auth is how operators are recognised. It is immutable and replaced whole.
type auth struct {
	tokens []token
	tls    *tls.Config // nil: in the clear
	certs  bool        // client certificates are accepted
}

// required reports whether an operator has to say who he is.
func (a *auth) required() bool { return len(a.tokens) > 0 || a.certs }

// newAuth reads what cfg names.
func newAuth(cfg Config) (*auth, error) {
	a := &auth{}
	var err error
	if cfg.TokenFile != "" {
		if a.tokens, err = readTokens(cfg.TokenFile); err != nil {
			return nil, fmt.Errorf("cannot use admin.token_file %q: %w", cfg.TokenFile, err)
		}
	}
	if cfg.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cannot use admin.tls.cert_file %q: %w", cfg.CertFile, err)
		}
		a.tls = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	}
	if cfg.ClientCAFile != "" {
		if a.tls == nil {
			return nil, errors.New("cannot use admin.tls.client_ca_file without a certificate for the listener")
		}
		pool, err := readPool(cfg.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("cannot use admin.tls.client_ca_file %q: %w", cfg.ClientCAFile, err)
		}
		a.tls.ClientCAs, a.tls.ClientAuth, a.certs = pool, tls.VerifyClientCertIfGiven, true
	}
	return a, nil
}

func readPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("it holds no certificate")
	}
	return pool, nil
}

// readTokens reads a token file.
func readTokens(file string) ([]token, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > secretsMax {
		return nil, fmt.Errorf("it is larger than %d bytes", secretsMax)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return ParseTokens(string(data))
}

// ParseTokens reads lines of "TOKEN", "NAME TOKEN" or "NAME TOKEN read"; the
// last may only look. Empty lines and those that begin with # are nothing.
func ParseTokens(text string) ([]token, error) {
	var all []token
	n := 0
	for line := range strings.Lines(text) {
		n++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		t := token{operator: operator{name: fmt.Sprintf("token %d", len(all)+1)}}
		secret := words[0]
		if len(words) > 1 {
			t.name, secret = words[0], words[1]
		}
		switch {
		case len(words) > 3 || len(words) == 3 && words[2] != "read":
			return nil, fmt.Errorf(`line %d is not understood; expected "TOKEN", "NAME TOKEN" or "NAME TOKEN read"`, n)
		case len(secret) < tokenMin:
			return nil, fmt.Errorf("line %d has a token of %d bytes; expected at least %d, such as jetway keygen admin writes", n, len(secret), tokenMin)
		case len(all) == tokensMax:
			return nil, fmt.Errorf("it holds more than %d tokens", tokensMax)
		}
		t.readOnly = len(words) == 3
		t.sum = sha256.Sum256([]byte(secret))
		all = append(all, t)
	}
	if len(all) == 0 {
		return nil, errors.New("it holds no token")
	}
	return all, nil
}

// identify returns who asks; false where nobody that is known does. All tokens
// are compared, in constant time.
func (a *auth) identify(r *http.Request) (operator, bool) {
	if a.certs && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return operator{name: r.TLS.PeerCertificates[0].Subject.String()}, true
	}
	secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return operator{}, false
	}
	sum := sha256.Sum256([]byte(secret))
	var who operator
	found := false
	for i := range a.tokens {
		if t := &a.tokens[i]; subtle.ConstantTimeCompare(t.sum[:], sum[:]) == 1 {
			who, found = t.operator, true
		}
	}
	return who, found
}
