//go:build !linux

package autoscale

import "syscall"

func canIdentify() bool { return false }

func ownSession() *syscall.SysProcAttr { return nil }

func startTime(int) string { return "" }

func signalProcess(int, string, syscall.Signal) bool { return false }

func findByEnvironment(string) int { return 0 }
