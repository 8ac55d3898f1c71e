// Package harness is what all black-box tests stand on: it builds the jetway
// binary once per test run, starts it with a configuration string, and offers
// the two ends of the wire.
//
//	Start        runs `jetway run` and stops and checks it when the test ends
//	StartTool    the same for any other program, such as HAProxy
//	Member       a TCP server that records the exact bytes that reach it and
//	             answers by a script
//	Client       a connection that sends raw bytes and reads answers strictly
//
// Both readers are strict on purpose and share no code with Jetway: what is
// malformed on the wire is an error here, never repaired.
//
// Environment: JETWAY_BINARY names a binary to test instead of building one,
// JETWAY_REQUIRE_ALL=1 makes a missing program a failure instead of a skip.
// Every process, listener and goroutine belongs to the test that started it
// and ends in its cleanup.
package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// RequireTool returns the path of a program that a test needs. Without it the
// test is skipped, or failed where JETWAY_REQUIRE_ALL=1.
func RequireTool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	// Debian keeps daemons out of a user's PATH.
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
		if path, err = exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	missing(t, fmt.Sprintf("%s is not installed", name))
	return ""
}

// missing skips or fails the test for something that is not there.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("JETWAY_REQUIRE_ALL") == "1" {
		t.Fatalf("%s, and JETWAY_REQUIRE_ALL=1", what)
	}
	t.Skip(what)
}

// Ports are handed out below the kernel's ephemeral range, so that no outgoing
// connection of a test can hold one between here and the program's bind.
const portMin, portMax = 10240, 32000

// ports remembers what was handed out in this process.
var ports = struct {
	mu   sync.Mutex // guards all
	used map[int]bool
	held []net.PacketConn // reservations, see reserve
}{used: map[int]bool{}}

// FreePort returns a loopback TCP port that nothing listens on and that no
// other test of this process was given.
func FreePort(t testing.TB) int {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	for range 1000 {
		port := portMin + rand.IntN(portMax-portMin)
		if ports.used[port] {
			continue
		}
		// Asked by connecting: a listener of ours could be inherited by a
		// process that another test starts at this moment, and stay a while.
		if c, err := net.DialTimeout("tcp", Loopback(port), time.Second); err == nil {
			c.Close()
			continue
		}
		if !reserve(port) { // another test process has it
			continue
		}
		ports.used[port] = true
		return port
	}
	t.Fatal("no free port found")
	return 0
}

// reserve keeps a port from the other test processes of this machine, as long
// as this one lives: by the UDP port of the same number on an address that
// nobody else uses. Where there is no such address it cannot.
func reserve(port int) bool {
	c, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.77:%d", port))
	if err == nil {
		ports.held = append(ports.held, c)
	}
	return !errors.Is(err, syscall.EADDRINUSE)
}

// Loopback returns 127.0.0.1:port.
func Loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// Thorough skips a test that takes half a minute where only a quick look is
// wanted: "go test ./..." shall stay below five minutes.
func Thorough(t testing.TB) {
	t.Helper()
	if !Long() && os.Getenv("JETWAY_REQUIRE_ALL") != "1" {
		t.Skip("takes half a minute: JETWAY_REQUIRE_ALL=1 or JETWAY_LONG=1 runs it")
	}
}

// Long reports whether tests run in their long form: JETWAY_LONG=1.
func Long() bool { return os.Getenv("JETWAY_LONG") == "1" }

// Scale returns how much of something a test does: short, or long in the long form.
func Scale(short, long int) int {
	if Long() {
		return long
	}
	return short
}
