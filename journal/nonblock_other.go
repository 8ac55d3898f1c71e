//go:build !unix

package journal

const nonBlock = 0
