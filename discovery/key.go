package discovery

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	keySize    = 32   // bytes, AES-256
	keyFileMax = 4096 // bytes read of a key file
	keysMax    = 8    // keys that are accepted at a time; only a rotation needs two
)

// NewKey returns a fresh gossip key as a key file and `serf agent -encrypt`
// hold it: base64 of 32 random bytes.
func NewKey() string {
	key := make([]byte, keySize)
	rand.Read(key) // never fails
	return base64.StdEncoding.EncodeToString(key)
}

// ReadKeys returns the keys of a key file, one a line: the first encrypts, all
// of them are understood. exposed means that others than the owner may read
// the file, which is worth a warning.
func ReadKeys(path string) (keys [][]byte, exposed bool, err error) {
	text, exposed, err := readKeyFile(path, keyFileMax)
	if err != nil {
		return nil, false, fmt.Errorf("cannot read gossip key: %w", err)
	}
	if keys, err = ParseKeys(text); err != nil {
		return nil, false, fmt.Errorf("cannot use gossip key %q: it %w", path, err)
	}
	return keys, exposed, nil
}

// ParseKeys reads the content of a key file. What is wrong comes in words that
// continue a sentence about the file; the content never stands in them, as it
// may be the key, mistyped.
func ParseKeys(text []byte) ([][]byte, error) {
	var keys [][]byte
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.Strict().DecodeString(string(line))
		if err != nil || len(key) != keySize {
			return nil, fmt.Errorf("is no gossip key; expected base64 of %d bytes, as `jetway keygen gossip` writes it", keySize)
		}
		if !slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) }) {
			keys = append(keys, key)
		}
	}
	switch {
	case len(keys) == 0:
		return nil, fmt.Errorf("is no gossip key; expected base64 of %d bytes, as `jetway keygen gossip` writes it", keySize)
	case len(keys) > keysMax:
		return nil, fmt.Errorf("holds %d keys; expected at most %d", len(keys), keysMax)
	}
	return keys, nil
}

// EncodeKey is a key as a line of a key file holds it.
func EncodeKey(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// Fingerprint names a gossip key without telling it: the first 8 bytes of its
// SHA-256 in hex.
func Fingerprint(key []byte) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// sumOf tells one content of a key file from another.
func sumOf(keys [][]byte) string {
	sum := sha256.Sum256(bytes.Join(keys, nil)) // all of one length
	return hex.EncodeToString(sum[:])
}

// The keys that are in force after a rotation are kept in state_dir, with the
// sum of the key file that they replaced: while that file stays the same they
// are newer than it; once it is changed, it is.

const ringHead = "# in force since the key file had the sum "

func formatRing(keys [][]byte, fileSum string) string {
	var b strings.Builder
	b.WriteString(ringHead + fileSum + "\n")
	for _, k := range keys {
		b.WriteString(base64.StdEncoding.EncodeToString(k) + "\n")
	}
	return b.String()
}

// parseRing returns the kept keys if they are newer than the key file.
func parseRing(text []byte, fileSum string) ([][]byte, error) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	sum, ok := strings.CutPrefix(string(line), ringHead)
	if !ok {
		return nil, errors.New("is damaged; expected what a run before wrote")
	}
	if sum != fileSum {
		return nil, nil
	}
	return ParseKeys(text)
}
