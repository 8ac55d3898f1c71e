//go:build !linux

package proxy

import "net"

// listenConfig leaves everything to the system.
func listenConfig() *net.ListenConfig { return &net.ListenConfig{} }
