package discovery

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"jetway/balancer"
)

// The key of the pool lets anybody in; the right to serve a domain is another
// matter. Whoever holds the domain's private key signs what a member announces
// (Ed25519, RFC 8032), and load balancers that know the public key take nobody
// else. The tag is
//
//	sig=1.EXPIRY.SIGNATURE
//
// with the expiry in Unix seconds and the signature in unpadded base64url. It
// covers node name, id, domain, sub-domains, address, every port and mapping,
// and the expiry; weight, zone and state may change without a new one.

const (
	signVersion   = "1"
	signContext   = "jetway member 1" // signatures of other things never fit
	domainKeysMax = 16                // public keys of one domain, for rotation
)

// DomainKeys are the public keys whose signatures members of a cluster need,
// any one of them; who is not listed needs none. Never changed once handed on.
type DomainKeys map[balancer.Key][]ed25519.PublicKey

// signedText is what a signature covers. Every field is preceded by its
// length, so that no two announcements share a text.
func signedText(node string, m *balancer.Member, expiry int64) []byte {
	subs := slices.Clone(m.SubDomains)
	if len(subs) == 0 {
		subs = []string{balancer.Worker}
	}
	slices.Sort(subs)
	mappings := slices.Clone(m.Ports)
	slices.SortFunc(mappings, func(a, b balancer.PortMapping) int { return int(a.From) - int(b.From) })
	fields := []string{signContext, node, m.ID, m.Domain, strings.Join(subs, ","), m.Host,
		strconv.Itoa(int(m.HTTP)), strconv.Itoa(int(m.HTTPS)), strconv.FormatInt(expiry, 10)}
	for _, p := range mappings {
		fields = append(fields, strconv.Itoa(int(p.From))+"="+strconv.Itoa(int(p.To)))
	}
	var text []byte
	for _, f := range fields {
		text = binary.AppendUvarint(text, uint64(len(f)))
		text = append(text, f...)
	}
	return text
}

// Sign returns the tag value that lets the member of that node serve until
// expiry. Host and ID must be what the load balancers will see: the address
// of the application, and the node's name where no id is announced.
func Sign(key ed25519.PrivateKey, node string, m balancer.Member, expiry time.Time) (string, error) {
	if m.ID == "" {
		m.ID = node
	}
	tags := tagsOf(m, node)
	p := policy{loopback: true, installation: defaultInstallation}
	if m.Host == "" {
		return "", errors.New("cannot sign member: expected the address of the application in host")
	}
	checked, err := parseTags(announcement{Name: node, Tags: tags}, p)
	if errors.Is(err, errNotMember) {
		err = errors.New("its domain and ports are missing")
	}
	if err != nil {
		return "", fmt.Errorf("cannot sign member: %w", err)
	}
	unix := expiry.Unix()
	return signVersion + "." + strconv.FormatInt(unix, 10) + "." +
		base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, signedText(node, &checked, unix))), nil
}

// parseSignature takes a tag apart; it is hostile input.
func parseSignature(s string) (expiry int64, signature []byte, ok bool) {
	rest, ok := strings.CutPrefix(s, signVersion+".")
	if !ok {
		return 0, nil, false
	}
	digits, text, ok := strings.Cut(rest, ".")
	if !ok || len(digits) > 12 {
		return 0, nil, false
	}
	expiry, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || expiry <= 0 || strconv.FormatInt(expiry, 10) != digits {
		return 0, nil, false
	}
	signature, err = base64.RawURLEncoding.Strict().DecodeString(text)
	return expiry, signature, err == nil && len(signature) == ed25519.SignatureSize
}

// verifier decides who may serve. It belongs to the goroutine that builds
// lists, and remembers good signatures: checking one takes longer than all the
// rest of an announcement, and lists are built again and again.
type verifier struct {
	keys DomainKeys
	good map[[sha256.Size]byte]bool
}

// verify says whether the announcement is signed as its domain needs it. An
// announcement of several sub-domains needs what each of them does.
func (v *verifier) verify(node string, m *balancer.Member, tag string, now time.Time) (signed bool, err error) {
	if v == nil {
		return false, nil
	}
	for _, sub := range m.SubDomains {
		keys := v.keys[balancer.Key{Domain: m.Domain, SubDomain: sub}]
		if len(keys) == 0 {
			continue
		}
		if tag == "" {
			return false, fmt.Errorf("cannot use announcement without a signature: expected a tag sig, as domain %q requires one", m.Domain)
		}
		expiry, signature, ok := parseSignature(tag)
		switch {
		case !ok:
			return false, fmt.Errorf("cannot use tag %q with value %q: expected %s.EXPIRY.SIGNATURE, as `jetway sign` prints it", tagSignature, clip(tag), signVersion)
		case now.Unix() >= expiry:
			return false, fmt.Errorf("cannot use signature: it expired at %s; expected a newer one", time.Unix(expiry, 0).UTC().Format(time.RFC3339))
		case !v.fits(keys, signedText(node, m, expiry), signature):
			return false, fmt.Errorf("cannot use signature: it is not of domain %q's key, or was made for another name, id, sub-domain, address or port", m.Domain)
		}
		signed = true
	}
	return signed, nil
}

func (v *verifier) fits(keys []ed25519.PublicKey, text, signature []byte) bool {
	return slices.ContainsFunc(keys, func(key ed25519.PublicKey) bool {
		sum := sha256.New()
		for _, part := range [][]byte{key, signature, text} { // the first two have a fixed length
			sum.Write(part)
		}
		id := [sha256.Size]byte(sum.Sum(nil))
		if v.good[id] {
			return true
		}
		if !ed25519.Verify(key, text, signature) {
			return false
		}
		if v.good == nil || len(v.good) >= 2*nodesMax {
			v.good = map[[sha256.Size]byte]bool{}
		}
		v.good[id] = true
		return true
	})
}

const (
	pemPrivate   = "PRIVATE KEY"
	pemPublic    = "PUBLIC KEY"
	domainPEMMax = 64 << 10 // bytes read of a key file
)

// NewDomainKey returns a fresh pair in PEM: PKCS #8 and PKIX, which openssl
// reads and writes as well.
func NewDomainKey() (private, public string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("cannot make a key: %w", err)
	}
	p8, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return "", "", fmt.Errorf("cannot encode a key: %w", err)
	}
	public, err = publicPEM(pub)
	return string(pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: p8})), public, err
}

func publicPEM(key ed25519.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("cannot encode a key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: der})), nil
}

// ReadDomainKey reads a private key. exposed means that others than the owner
// may read the file, which is worth a warning.
func ReadDomainKey(path string) (key ed25519.PrivateKey, exposed bool, err error) {
	data, exposed, err := readKeyFile(path, domainPEMMax)
	if err != nil {
		return nil, false, fmt.Errorf("cannot read domain key: %w", err)
	}
	if block, _ := pem.Decode(data); block != nil && block.Type == pemPrivate {
		if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if key, ok := parsed.(ed25519.PrivateKey); ok {
				return key, exposed, nil
			}
		}
	}
	return nil, false, fmt.Errorf("cannot use domain key %q: expected an Ed25519 private key in PEM, as `jetway keygen domain` writes it", path)
}

// ReadDomainPublicKeys reads one or several public keys; any may have signed.
func ReadDomainPublicKeys(path string) ([]ed25519.PublicKey, error) {
	data, _, err := readKeyFile(path, domainPEMMax)
	if err != nil {
		return nil, fmt.Errorf("cannot read domain key: %w", err)
	}
	keys, err := parsePublicKeys(data)
	if err != nil {
		return nil, fmt.Errorf("cannot use domain key %q: it %w", path, err)
	}
	return keys, nil
}

// CheckDomainPublicKeys says what is wrong with such a file's content, nil if
// nothing is, in words that continue a sentence about the file.
func CheckDomainPublicKeys(data []byte) error {
	_, err := parsePublicKeys(data)
	return err
}

func parsePublicKeys(data []byte) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		key, ok := parsed.(ed25519.PublicKey)
		if block.Type != pemPublic || err != nil || !ok {
			return nil, errors.New("holds something else; expected Ed25519 public keys in PEM, as `jetway keygen domain` writes them")
		}
		keys, data = append(keys, key), rest
	}
	if len(keys) == 0 || len(keys) > domainKeysMax || len(strings.TrimSpace(string(data))) > 0 {
		return nil, fmt.Errorf("holds no usable key; expected 1 to %d Ed25519 public keys in PEM, as `jetway keygen domain` writes them", domainKeysMax)
	}
	return keys, nil
}

// readKeyFile reads a file of at most max bytes; more is cut off, which no key
// survives.
func readKeyFile(path string, max int64) (data []byte, exposed bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	data, err = io.ReadAll(io.LimitReader(f, max))
	return data, info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0, err
}
