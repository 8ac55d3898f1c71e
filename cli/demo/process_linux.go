package demo

import "syscall"

// childAttributes puts a child into a group of its own, so that Ctrl-C reaches
// only the demo, and has the kernel kill it when the thread that started it
// ends: see processes.starter.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
