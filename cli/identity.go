package cli

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// nodeName returns the name in gossip: the operator's label and eight hex
// digits that are made once and kept in stateDir, fresh ones without one.
func nodeName(label, stateDir string) (string, error) {
	digits, err := nodeDigits(stateDir)
	if err != nil {
		return "", err
	}
	return label + "-" + digits, nil
}

func nodeDigits(stateDir string) (string, error) {
	var fresh [4]byte
	rand.Read(fresh[:]) // never fails, says its documentation
	digits := hex.EncodeToString(fresh[:])
	if stateDir == "" {
		return digits, nil
	}
	path := filepath.Join(stateDir, "node")
	kept, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(stateDir, 0o700); err != nil {
			return "", fmt.Errorf("cannot make state_dir: %w", err)
		}
		return digits, writeNew(path, digits+"\n")
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the node id: %w", err)
	}
	id := strings.TrimSpace(string(kept))
	if !regexp.MustCompile(`^[0-9a-f]{8}$`).MatchString(id) {
		return "", fmt.Errorf("cannot use the node id in %q: expected 8 hex digits; remove the file to get a new one", path)
	}
	return id, nil
}
