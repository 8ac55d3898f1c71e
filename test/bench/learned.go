//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
)

// begins lets the members begin all sessions of the load, on some connections
// at a time.
func (c *client) begins() error {
	begin := *c.load
	begin.Path = "/session"
	const at = 16
	errs := make(chan error, at)
	for first := range at {
		go func() { errs <- begin.beginFrom(first, at) }()
	}
	var all []error
	for range at {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// beginFrom begins every step-th session from first on.
func (l *load) beginFrom(first, step int) error {
	fd, err := dial(l.Target)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	buf := make([]byte, 16<<10)
	for number := first; number < l.Vary; number += step {
		if err := l.exchange(fd, l.request(number), buf); err != nil {
			return fmt.Errorf("cannot begin session %d: %w", number, err)
		}
	}
	return nil
}

// exchange waits for the whole answer to a request.
func (l *load) exchange(fd int, request, buf []byte) error {
	for rest := request; len(rest) > 0; {
		n, err := syscall.Write(fd, rest)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	var answer []byte
	for {
		n, err := syscall.Read(fd, buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return errors.Join(err, errors.New("no whole answer"))
		}
		answer = append(answer, buf[:n]...)
		end := bytes.Index(answer, []byte("\r\n\r\n"))
		if end < 0 {
			continue
		}
		if err := l.judge(answer[:end+2]); err != nil {
			return err
		}
		if len(answer) >= end+4+l.Length {
			return nil
		}
	}
}
