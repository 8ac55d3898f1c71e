//go:build !linux

package main

import "os"

func main() {
	os.Stderr.WriteString("test/bench needs Linux: it measures by /proc and serves by epoll\n")
	os.Exit(2)
}
