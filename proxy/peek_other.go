//go:build !linux

package proxy

// silentSocket cannot look without reading here: a connection that went bad
// while idle shows at its next use.
func silentSocket(uintptr) bool { return true }
