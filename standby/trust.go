package standby

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// trust is how peers know each other: TLS 1.3 with certificates on both
// sides. From a shared secret every peer derives the same Ed25519 key, so that
// whoever can sign with it has the secret; TLS itself makes a recorded
// handshake worthless. The secret never crosses the wire.
type trust struct {
	client, server *tls.Config
}

// errStranger is a certificate that no key of ours belongs to.
var errStranger = errors.New("the other side does not have our key")

const alpn = "jetway-peer/1"

func newTrust(cfg *Config) (*trust, error) {
	base := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}, SessionTicketsDisabled: true}
	if cfg.KeyFile != "" {
		secrets, err := readSecrets(cfg.KeyFile)
		if err != nil {
			return nil, err
		}
		return trustSecrets(base, secrets)
	}
	return trustFiles(base, cfg.TLS)
}

// trustSecrets accepts whoever has one of the secrets and shows the first.
func trustSecrets(base *tls.Config, secrets [][]byte) (*trust, error) {
	var known []ed25519.PublicKey
	for i, s := range secrets {
		key, err := deriveKey(s)
		if err != nil {
			return nil, err
		}
		known = append(known, key.Public().(ed25519.PublicKey))
		if i > 0 {
			continue
		}
		cert, err := selfSigned(key)
		if err != nil {
			return nil, err
		}
		base.Certificates = []tls.Certificate{cert}
	}
	// The chain is not verified because there is none: the key is what counts,
	// and TLS has proved that the other side holds it.
	base.InsecureSkipVerify = true
	base.ClientAuth = tls.RequireAnyClientCert
	base.VerifyConnection = func(cs tls.ConnectionState) error {
		if cs.NegotiatedProtocol != alpn || len(cs.PeerCertificates) != 1 {
			return errStranger
		}
		theirs, ok := cs.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
		if !ok || !slices.ContainsFunc(known, func(k ed25519.PublicKey) bool { return k.Equal(theirs) }) {
			return errStranger
		}
		return nil
	}
	return &trust{client: base, server: base}, nil
}

// deriveKey makes the signing key of a secret (RFC 5869).
func deriveKey(secret []byte) (ed25519.PrivateKey, error) {
	seed, err := hkdf.Key(sha256.New, secret, nil, "jetway peer 1: ed25519", ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("cannot derive the key of peers: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// Derive makes a key for another purpose of a shared secret: equal on all
// peers, and no help to whoever wants the secret or another key.
func Derive(secret []byte, purpose string) ([32]byte, error) {
	var out [32]byte
	key, err := hkdf.Key(sha256.New, secret, nil, "jetway peer 1: "+purpose, len(out))
	if err != nil {
		return out, fmt.Errorf("cannot derive a key for %q: %w", purpose, err)
	}
	copy(out[:], key)
	return out, nil
}

// selfSigned wraps a key in the certificate that TLS wants around it.
func selfSigned(key ed25519.PrivateKey) (tls.Certificate, error) {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "jetway peer"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cannot make the certificate of peers: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
