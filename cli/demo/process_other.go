//go:build !linux

package demo

import "syscall"

// childAttributes is empty where only the pipe ends a child with the demo.
func childAttributes() *syscall.SysProcAttr { return nil }
