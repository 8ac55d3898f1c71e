//go:build unix

package discovery

import (
	"os/exec"
	"syscall"
)

// ownGroup gives a command a process group of its own, so that its children
// are killed with it.
func ownGroup(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
}

// endGroup kills what is left of the group of a command that ended.
func endGroup(c *exec.Cmd) { syscall.Kill(-c.Process.Pid, syscall.SIGKILL) } // none left is fine
