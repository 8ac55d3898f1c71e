package discovery

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"os"
)

const (
	keySize    = 32   // bytes, AES-256
	keyFileMax = 4096 // bytes read of a key file
)

// NewKey returns a fresh gossip key as a key file and `serf agent -encrypt`
// hold it: base64 of 32 random bytes.
func NewKey() string {
	key := make([]byte, keySize)
	rand.Read(key) // never fails
	return base64.StdEncoding.EncodeToString(key)
}

// ReadKey returns the 32 bytes of a key file. exposed means that others than
// the owner may read the file, which is worth a warning.
func ReadKey(path string) (key []byte, exposed bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, fmt.Errorf("cannot read gossip key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("cannot read gossip key: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, keyFileMax))
	if err != nil {
		return nil, false, fmt.Errorf("cannot read gossip key %q: %w", path, err)
	}
	// The content never stands in the message: it may be the key, mistyped.
	key, err = base64.StdEncoding.Strict().DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(key) != keySize {
		return nil, false, fmt.Errorf("cannot use gossip key %q: expected base64 of %d bytes, as `jetway keygen gossip` writes it", path, keySize)
	}
	return key, info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0, nil
}
