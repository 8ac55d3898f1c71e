//go:build !linux

package proxy

import (
	"errors"
	"syscall"
)

// pipe is for Linux alone; elsewhere bodies go through buffers.
type pipe struct{ holds int }

func newPipe() *pipe { return nil }

func (p *pipe) close() {}

func (p *pipe) fill(syscall.RawConn, int) (int, error) { return 0, errors.ErrUnsupported }

func (p *pipe) empty(syscall.RawConn) error { return errors.ErrUnsupported }

func (p *pipe) read([]byte) (int, error) { return 0, errors.ErrUnsupported }
