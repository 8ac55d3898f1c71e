package session

import (
	"bufio"
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/dchest/siphash"
)

const (
	secretSize = 32
	keysMax    = 2
)

// Ring holds the keys of one key file: the first seals, all open. Peers that
// share the file understand each other's cookies and name sessions alike.
type Ring struct {
	keys []ringKey
}

type ringKey struct {
	siv    *siv
	k0, k1 uint64 // of SipHash
	hint   byte   // a character of its cookies that tells keys apart
}

// NewSecret returns a line of a key file: 32 random bytes in base64.
func NewSecret() string {
	var b [secretSize]byte
	rand.Read(b[:]) // never fails, says its documentation
	return base64.StdEncoding.EncodeToString(b[:])
}

// ParseRing reads a key file: one key a line, the one in use first, and one
// that was in use before. Empty lines and those that begin with # are skipped.
func ParseRing(file []byte) (*Ring, error) {
	r := &Ring{}
	lines := bufio.NewScanner(bytes.NewReader(file))
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		secret, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil || len(secret) != secretSize {
			return nil, fmt.Errorf("line %d is no key; expected 32 bytes in base64, as \"jetway keygen cookie\" makes them", n)
		}
		if len(r.keys) == keysMax {
			return nil, fmt.Errorf("line %d is one key too many; expected the key in use and at most one from before", n)
		}
		r.keys = append(r.keys, newRingKey(secret))
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(r.keys) == 0 {
		return nil, errors.New("holds no key; expected 32 bytes in base64, as \"jetway keygen cookie\" makes them")
	}
	return r, nil
}

// RingOf makes a ring of secrets that are shared anyway, the one in use first;
// those beyond the second do not count.
func RingOf(secrets ...[]byte) *Ring {
	r := &Ring{}
	for _, s := range secrets[:min(len(secrets), keysMax)] {
		r.keys = append(r.keys, newRingKey(s))
	}
	return r
}

func newRingKey(secret []byte) ringKey {
	derive := func(label string, n int) []byte {
		key, err := hkdf.Key(sha256.New, secret, nil, "jetway session "+label, n)
		if err != nil {
			panic("BUG: " + err.Error()) // the lengths are ours
		}
		return key
	}
	h := derive("hash", 16)
	k := ringKey{siv: newSIV(derive("seal", 32)), k0: binary.LittleEndian.Uint64(h), k1: binary.LittleEndian.Uint64(h[8:])}
	k.hint = alphabet[derive("hint", 1)[0]&63]
	return k
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// Fingerprints tell a ring's keys from others without giving them away, that of
// the key in use first.
func (r *Ring) Fingerprints() []uint64 {
	var list []uint64
	for i := range r.keys {
		list = append(list, siphash.Hash(r.keys[i].k0, r.keys[i].k1, []byte("fingerprint")))
	}
	return list
}

// Scope is a Ring as one cluster uses it: what it seals and hashes means
// nothing in another.
type Scope struct {
	ring *Ring
	name uint64
	path uint64 // of the cookies, where it is not the usual one; else 0
	// bound is S2V after the cluster's name, under each key.
	bound [keysMax]block
}

// Scope returns the scope of the cluster with a name.
func (r *Ring) Scope(name string) *Scope {
	sum := sha256.Sum256([]byte("scope\x00" + name))
	s := &Scope{ring: r, name: binary.LittleEndian.Uint64(sum[:])}
	var w Work
	for i := range r.keys {
		siv := r.keys[i].siv
		w.d = siv.start
		siv.bind(&w, sum[:])
		s.bound[i] = w.d
	}
	return s
}

// AtPath returns the scope with cookies at a path that is not the usual "/".
// Their names differ by it: a browser has cookies of the same name at several
// paths, and goes on sending those from before the path was changed.
func (s *Scope) AtPath(path string) *Scope {
	at := *s
	at.path = Spread([]byte(path))
	return &at
}

// CookieMax bounds the value of an application's session cookie; a longer one
// is nobody's session.
const CookieMax = 256

// Key names the session that a tenant's application calls cookie, of at most
// CookieMax bytes. It allocates nothing.
func (s *Scope) Key(w *Work, tenant int64, cookie []byte) Key {
	return s.key(&s.ring.keys[0], w, tenant, cookie)
}

// OldKey is Key under the key that was in use before; ok is false without one.
func (s *Scope) OldKey(w *Work, tenant int64, cookie []byte) (k Key, ok bool) {
	if len(s.ring.keys) < 2 {
		return k, false
	}
	return s.key(&s.ring.keys[1], w, tenant, cookie), true
}

func (s *Scope) key(rk *ringKey, w *Work, tenant int64, cookie []byte) (k Key) {
	binary.LittleEndian.PutUint64(w.hashed[:], s.name)
	binary.LittleEndian.PutUint64(w.hashed[8:], uint64(tenant))
	n := copy(w.hashed[16:], cookie)
	lo, hi := siphash.Hash128(rk.k0, rk.k1, w.hashed[:16+n])
	binary.LittleEndian.PutUint64(k[:8], lo)
	binary.LittleEndian.PutUint64(k[8:], hi)
	return k
}

// Spread maps bytes to a number that is the same on all peers, whatever their
// keys.
func Spread(b []byte) uint64 { return siphash.Hash(spread0, spread1, b) }

// Two arbitrary numbers.
const spread0, spread1 = 0x243f6a8885a308d3, 0x13198a2e03707344
