package proxy

import "testing"

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
