package standby

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"
)

// Config is the section standby of loadbalancer.conf.
type Config struct {
	Listen    string   // ip:port for peers
	Advertise string   // ip:port that gossip tells them; empty: Listen
	Peers     []string // host:port of peers that gossip does not tell
	KeyFile   string   // secrets, one a line, as `jetway keygen peer` writes them
	TLS       TLSFiles // instead of KeyFile

	Priority     int   // 1..254: who is preferred. Default 100
	SnapshotRate int64 // bytes per second of whole copies to one peer. Default 64 MiB

	VirtualAddress  netip.Prefix  // zero: none
	Interface       string        // that carries it
	VirtualRouterID int           // of VRRP, 1..255. Default 51
	TrackFile       string        // through which guard tells keepalived; empty: in the state directory, else in /run/jetway
	HandoverDrain   time.Duration // how long clients are told to close before a hand-over. Default 5s
}

// TLSFiles are certificates instead of a shared secret.
type TLSFiles struct {
	CertFile, KeyFile string // ours
	CAFile            string // who signs those of peers
}

// secretSize is the length of a shared secret in bytes.
const secretSize = 32

// NewSecret makes a line of a key file.
func NewSecret() string {
	var key [secretSize]byte
	rand.Read(key[:]) // never fails, says its documentation
	return base64.StdEncoding.EncodeToString(key[:])
}

// secretsMax bounds the lines of a key file.
const secretsMax = 4

// ParseSecrets reads the text of a key file: base64 of 32 bytes a line, the
// first in use, those below accepted as well. "#" begins a comment.
func ParseSecrets(text string) ([][]byte, error) {
	var secrets [][]byte
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(key) != secretSize {
			return nil, errors.New("is no key of peers; expected base64 of 32 bytes a line, as jetway keygen peer writes it")
		}
		secrets = append(secrets, key)
	}
	if len(secrets) == 0 || len(secrets) > secretsMax {
		return nil, fmt.Errorf("holds %d keys of peers; expected 1 to %d", len(secrets), secretsMax)
	}
	return secrets, nil
}

func readSecrets(path string) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read standby.key_file: %w", err)
	}
	secrets, err := ParseSecrets(string(text))
	if err != nil {
		return nil, fmt.Errorf("cannot use standby.key_file %q: it %w", path, err)
	}
	return secrets, nil
}
