package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Stdout as a path is standard output.
const Stdout = "-"

// target is a place for lines.
type target struct {
	path string
	file io.WriteCloser // nil: lines are thrown away
}

func (t *target) close() {
	if t.file != nil {
		t.file.Close() // nothing is buffered in it
	}
}

// giveUp lets a write that is stuck, which only pipes can be, end at a time.
func (t *target) giveUp(at time.Time) {
	if f, ok := t.file.(interface{ SetWriteDeadline(time.Time) error }); ok {
		f.SetWriteDeadline(at) // files of other kinds have none and refuse
	}
}

func open(path string) (io.WriteCloser, error) {
	if path == Stdout {
		return stdout{}, nil
	}
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE
	if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		flags = os.O_RDWR // so that the open does not wait for a reader, nor the write fail without one
	}
	f, err := os.OpenFile(path, flags|nonBlock, 0o640)
	if err != nil {
		return nil, fmt.Errorf("cannot open log %q: %w", path, cause(err))
	}
	return f, nil
}

func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// stdout is not ours to close.
type stdout struct{}

func (stdout) Write(p []byte) (int, error) { return os.Stdout.Write(p) }
func (stdout) Close() error                { return nil }
