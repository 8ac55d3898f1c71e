//go:build unix

package autoscale

import (
	"os"
	"syscall"
)

// ownGroup makes a command the leader of a process group, so that its children
// can be ended with it.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func killGroup(p *os.Process) error {
	if err := syscall.Kill(-p.Pid, syscall.SIGKILL); err != nil {
		return p.Kill()
	}
	return nil
}
