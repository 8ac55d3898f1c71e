//go:build !linux

package tenant

func adviseHuge([]line) {}
