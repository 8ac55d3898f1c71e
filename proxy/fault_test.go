package proxy

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestEveryFaultIsComplete(t *testing.T) {
	codes := map[string]bool{}
	for f := noFault + 1; f < faults; f++ {
		if f.code() == "" || f.text() == "" || f.status() < 400 || f.status() > 599 {
			t.Errorf("fault %d: code %q, text %q, status %d", f, f.code(), f.text(), f.status())
		}
		if codes[f.code()] {
			t.Errorf("code %q stands twice", f.code())
		}
		codes[f.code()] = true
	}
}

func TestClassesOfBytes(t *testing.T) {
	for c := range 256 {
		b := byte(c)
		token := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
		for _, p := range []byte("!#$%&'*+-.^_`|~") { // RFC 9110, 5.6.2
			token = token || b == p
		}
		if (tokenTable[b] == '1') != token {
			t.Errorf("token class of %#x is %c", b, tokenTable[b])
		}
		if value := b == '\t' || b >= 0x20 && b != 0x7f; (valueTable[b] == '1') != value {
			t.Errorf("value class of %#x is %c", b, valueTable[b])
		}
		if target := b > 0x20 && b < 0x7f && b != '#' && b != '"'; (targetTable[b] == '1') != target && b != '"' {
			t.Errorf("target class of %#x is %c", b, targetTable[b])
		}
	}
}

func TestAppendHex(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 9: "9", 16: "10", 0xabcdef: "abcdef", 1<<64 - 1: "ffffffffffffffff"} {
		if got := string(appendHex(nil, n)); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// TestCutAnswerArrives: what a member sent before it broke off reaches the
// client, also one that reads slowly and has sent its next requests meanwhile.
func TestCutAnswerArrives(t *testing.T) {
	const part = 32 << 10
	p := startProxy(t, nil, startMember(t, func(c net.Conn) {
		c.Read(make([]byte, 4096))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", part))
	}))
	c := dial(t, p.address)
	c.(*net.TCPConn).SetReadBuffer(2048) // so that most of it waits at Jetway
	next := strings.Repeat(plainRequest, 2000)
	go io.WriteString(c, plainRequest+next)
	for end := time.Now().Add(2 * time.Second); p.stats.faults[memberBroke].Load() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	var got []byte
	for buf := make([]byte, 1000); ; time.Sleep(100 * time.Microsecond) {
		n, err := c.Read(buf)
		if got = append(got, buf[:n]...); err != nil {
			break
		}
	}
	if n := bytes.Count(got, []byte("x")); n != part {
		t.Errorf("%d bytes of the answer came, want %d", n, part)
	}
}
