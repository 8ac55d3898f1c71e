package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// What stands in the track file: keepalived takes anything but 0 for a fault.
const (
	trackFit = "0\n"
	trackOut = "1\n"
)

// By how much the priority is lower of a Jetway that is cold, and of one whose
// configuration is older than a peer's.
const (
	coldLoss   = 50
	behindLoss = 20
)

// coldFile is the second track file: what stands in it is taken off the
// priority.
func coldFile(track string) string { return track + ".cold" }

// writeTrack replaces the text of a track file in place: keepalived watches
// the file that it opened. Its single line is written at once, so it is never
// seen half.
func writeTrack(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot write track file %q: %w", path, err)
	}
	_, err = f.WriteAt([]byte(text), 0)
	if err == nil {
		err = f.Truncate(int64(len(text)))
	}
	return errors.Join(err, f.Close())
}
