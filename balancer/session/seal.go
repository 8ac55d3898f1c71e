package session

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// SealSize is the length of a sealed cookie's value: a version, the key's
// hint, and 32 bytes in base64url: 16 of tag, 16 of content.
const SealSize = 2 + 43

// version of the format. Another one would be another first character.
const version = '1'

// The sealed block: member id (8 bytes), when it was issued in unix seconds
// (4), and 4 random bytes so that two cookies for the same member do not look
// alike. Cluster and tenant are bound as associated data (RFC 5297, 3): in
// another one's request it does not open.

// Opened is what a genuine cookie says.
type Opened struct {
	Member uint64
	Issued time.Time
	Old    bool // sealed with the key before the one in use
}

func (s *Scope) begin(w *Work, key int, tenant int64) *siv {
	siv := s.ring.keys[key].siv
	w.d = s.bound[key]
	binary.LittleEndian.PutUint64(w.text[:], uint64(tenant))
	siv.bind(w, w.text[:8])
	return siv
}

// AppendSeal appends the cookie that keeps a tenant's client with a member.
func (s *Scope) AppendSeal(dst []byte, w *Work, tenant int64, member uint64, now time.Time) []byte {
	return s.appendSeal(dst, w, tenant, member, now, rand.Uint32())
}

func (s *Scope) appendSeal(dst []byte, w *Work, tenant int64, member uint64, now time.Time, salt uint32) []byte {
	siv := s.begin(w, 0, tenant)
	plain := w.text[blockSize:]
	binary.LittleEndian.PutUint64(plain, member)
	binary.LittleEndian.PutUint32(plain[8:], uint32(now.Unix()))
	binary.LittleEndian.PutUint32(plain[12:], salt)
	siv.finish(w, plain)
	siv.crypt(w, plain)
	copy(w.text[:], w.v[:])
	return base64.RawURLEncoding.AppendEncode(append(dst, version, s.ring.keys[0].hint), w.text[:])
}

// Open returns what a cookie's value says, if it is genuine and for this
// cluster and tenant. It allocates nothing and takes the same time for
// whatever is wrong with the seal.
func (s *Scope) Open(w *Work, tenant int64, value []byte) (o Opened, ok bool) {
	if len(value) != SealSize || value[0] != version {
		return o, false
	}
	for i := range s.ring.keys {
		if value[1] == s.ring.keys[i].hint && s.open(w, i, tenant, value[2:], &o) {
			o.Old = i > 0
			return o, true
		}
	}
	return o, false
}

func (s *Scope) open(w *Work, key int, tenant int64, text []byte, o *Opened) bool {
	siv := s.begin(w, key, tenant)
	if !decode(&w.text, text) {
		return false
	}
	copy(w.v[:], w.text[:])
	tag := w.v
	plain := w.text[blockSize:]
	siv.crypt(w, plain)
	siv.finish(w, plain)
	if subtle.ConstantTimeCompare(w.v[:], tag[:]) != 1 {
		return false
	}
	o.Member = binary.LittleEndian.Uint64(plain)
	o.Issued = time.Unix(int64(binary.LittleEndian.Uint32(plain[8:])), 0)
	return true
}

// decode reads base64url in its one canonical form: no line breaks, no bits
// left over.
func decode(dst *[2 * blockSize]byte, text []byte) bool {
	var bits, n, at uint
	for _, c := range text {
		v := sextet(c)
		if v > 63 {
			return false
		}
		if bits, n = bits<<6|uint(v), n+6; n >= 8 {
			n -= 8
			dst[at] = byte(bits >> n)
			bits &= 1<<n - 1
			if at++; at == uint(len(dst)) {
				break
			}
		}
	}
	return bits == 0
}

func sextet(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c - 'A'
	case c >= 'a' && c <= 'z':
		return c - 'a' + 26
	case c >= '0' && c <= '9':
		return c - '0' + 52
	case c == '-':
		return 62
	case c == '_':
		return 63
	}
	return 255
}

// TagSize is the length of what tells the cookies of a host's clusters and
// tenants apart.
const TagSize = 4

// Tag returns the end of the cookie's name for a tenant of this cluster. A
// browser may use several clusters and tenants at one host; each has a cookie
// of its own, and none replaces another's. It stays when keys change; it differs
// by the cookie's path, see AtPath.
func (s *Scope) Tag(w *Work, tenant int64) (tag [TagSize]byte) {
	binary.LittleEndian.PutUint64(w.text[:], s.name^s.path)
	binary.LittleEndian.PutUint64(w.text[8:], uint64(tenant))
	h := Spread(w.text[:16])
	for i := range tag {
		tag[i] = alphabet[h>>(6*i)&63]
	}
	return tag
}
