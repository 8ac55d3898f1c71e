package autoscale

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

func canIdentify() bool { return true }

func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// startTime returns when a process started, in clock ticks since the boot, and
// which boot that was; empty where there is none, or only what is left of it.
// (proc(5): field 22 of stat, the third being the state.)
func startTime(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	end := bytes.LastIndexByte(b, ')') // the name before may hold anything
	fields := bytes.Fields(b[end+1:])
	if end < 0 || len(fields) < 20 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return ""
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(fields[19]) + "@" + string(bytes.TrimSpace(boot))
}

// signalProcess signals the process that has the pid and started at that time,
// and nobody else: the handle is taken before the time is compared, so that a
// pid that is used again in between is not hit.
func signalProcess(pid int, started string, sig syscall.Signal) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer p.Release()
	if startTime(pid) != started {
		return false
	}
	if sig == syscall.SIGKILL {
		syscall.Kill(-pid, sig) // its children; it is the leader and alive, so the group is its own
	}
	return p.Signal(sig) == nil
}

// findByEnvironment returns the process of this user that was started with the
// variable, 0 where there is none.
func findByEnvironment(variable string) int {
	list, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return 0
	}
	for _, path := range list {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // not ours, or gone
		}
		for v := range bytes.SplitSeq(b, []byte{0}) {
			if string(v) != variable {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err == nil && isLeader(pid) {
				return pid
			}
		}
	}
	return 0
}

// isLeader reports whether a process leads its session, as what was spawned
// does and what that starts in turn does not.
func isLeader(pid int) bool {
	group, err := syscall.Getpgid(pid)
	return err == nil && group == pid && startTime(pid) != ""
}
