//go:build !unix

package proxy

// descriptorLimit is not known here.
func descriptorLimit() uint64 { return 8192 }
