package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

const blockSize = aes.BlockSize

type block [blockSize]byte

// siv is AES-SIV (RFC 5297) with two AES-128 keys. It was chosen for the seal
// of cookies because it is made of what the standard library has in hardware,
// needs no nonce that must never repeat (peers that share a key cannot agree on
// one, and 96 random bits repeat too soon for busy sites), puts the whole
// 128-bit tag to use, and takes what a cookie is bound to as vectors of their
// own, of which those that never change are computed once.
type siv struct {
	mac, ctr cipher.Block
	k1, k2   block // CMAC's subkeys (RFC 4493, 2.3)
	start    block // CMAC of a block of zeros, where S2V begins
}

func newSIV(key []byte) *siv {
	half := len(key) / 2
	mac, err := aes.NewCipher(key[:half])
	if err != nil {
		panic("BUG: " + err.Error()) // the length is ours
	}
	ctr, err := aes.NewCipher(key[half:])
	if err != nil {
		panic("BUG: " + err.Error())
	}
	s := &siv{mac: mac, ctr: ctr}
	var w Work
	mac.Encrypt(w.a[:], w.b[:])
	s.k1 = w.a
	s.k1.double()
	s.k2 = s.k1
	s.k2.double()
	s.cmac(&w, w.b[:])
	s.start = w.a
	return s
}

// Work is the memory of one seal or hash at a time: what goes through an
// interface would be allocated otherwise.
type Work struct {
	a, b, v, d block
	text       [2 * blockSize]byte
	hashed     [16 + CookieMax]byte
}

// double multiplies by x in GF(2^128) (RFC 5297, 2.3), in constant time.
func (b *block) double() {
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	carry := uint64(int64(hi)>>63) & 0x87
	binary.BigEndian.PutUint64(b[:8], hi<<1|lo>>63)
	binary.BigEndian.PutUint64(b[8:], lo<<1^carry)
}

func (b *block) xor(o []byte) { subtle.XORBytes(b[:], b[:], o) }

// cmac leaves AES-CMAC (RFC 4493) of a message in w.a.
func (s *siv) cmac(w *Work, message []byte) {
	var x block
	for len(message) > blockSize {
		x.xor(message[:blockSize])
		w.a = x
		s.mac.Encrypt(w.a[:], w.a[:])
		x = w.a
		message = message[blockSize:]
	}
	var last block
	if n := copy(last[:], message); n == blockSize {
		last.xor(s.k1[:])
	} else {
		last[n] = 0x80
		last.xor(s.k2[:])
	}
	x.xor(last[:])
	w.a = x
	s.mac.Encrypt(w.a[:], w.a[:])
}

// bind goes on with S2V by one vector; w.d holds what came before.
func (s *siv) bind(w *Work, vector []byte) {
	w.d.double()
	s.cmac(w, vector)
	w.d.xor(w.a[:])
}

// finish ends S2V with the plaintext and leaves the tag in w.v.
func (s *siv) finish(w *Work, plain []byte) {
	if len(plain) == blockSize { // the only length of ours: no copy
		w.b = w.d
		w.b.xor(plain)
		s.cmac(w, w.b[:])
		w.v = w.a
		return
	}
	t := make([]byte, max(len(plain), blockSize))
	copy(t, plain)
	if len(plain) > blockSize {
		tail := t[len(t)-blockSize:]
		subtle.XORBytes(tail, tail, w.d[:])
	} else {
		t[len(plain)] = 0x80
		w.d.double()
		subtle.XORBytes(t, t, w.d[:])
	}
	s.cmac(w, t)
	w.v = w.a
}

// crypt adds the key stream that belongs to the tag in w.v.
func (s *siv) crypt(w *Work, data []byte) {
	w.b = w.v
	w.b[8] &= 0x7f
	w.b[12] &= 0x7f
	for len(data) > 0 {
		s.ctr.Encrypt(w.a[:], w.b[:])
		n := subtle.XORBytes(data, data, w.a[:min(len(data), blockSize)])
		data = data[n:]
		for i := blockSize - 1; i >= 0; i-- {
			if w.b[i]++; w.b[i] != 0 {
				break
			}
		}
	}
}
