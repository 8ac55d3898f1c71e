package proxy

import (
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestAppendInt(t *testing.T) {
	f := func(n int64) {
		t.Helper()
		if got, want := string(appendInt([]byte("x"), n)), "x"+strconv.FormatInt(n, 10); got != want {
			t.Fatalf("%d is written as %s", n, got)
		}
	}
	for n := range int64(12345) {
		f(n)
	}
	f(-1)
	f(math.MaxInt64)
	f(math.MinInt64)
}

// Every byte at every place of words of every length is seen.
func TestAllPlain(t *testing.T) {
	for n := range 35 {
		for at := range n {
			for c := range 256 {
				s := []byte(strings.Repeat("~", n))
				s[at] = byte(c)
				want := c >= ' ' && c < 0x7f && c != '"' && c != '\\'
				if got := allPlain(s, ' '); got != want {
					t.Fatalf("%q in JSON: %v, want %v", s, got, want)
				}
				if got := allPlain(string(s), '!'); got != (want && c != ' ') {
					t.Fatalf("%q in text: %v", s, got)
				}
			}
		}
	}
	if !allPlain("", ' ') {
		t.Fatal("nothing is not plain")
	}
}

// What is escaped is read again by encoding/json, and as text by undoing \xNN;
// neither has a byte that could end a field.
func FuzzEscape(f *testing.F) {
	f.Add("/index.html?a=b")
	f.Add("\"\\\x7f\x80\xff\x00\n\t ~!")
	f.Add("sixteen letters, \u2028 and more of them")
	inText := regexp.MustCompile(`^[!#-\[\]-~]*$`)
	coded := regexp.MustCompile(`\\x[0-9a-f]{2}`)
	f.Fuzz(func(t *testing.T, s string) {
		var want []rune // bytes beyond ASCII are those of ISO 8859-1
		for _, c := range []byte(s) {
			want = append(want, rune(c))
		}
		var got string
		line := string(escapeJSON([]byte(`"`), s)) + `"`
		if err := json.Unmarshal([]byte(line), &got); err != nil || got != string(want) {
			t.Fatalf("%q is written as %s and read as %q (%v)", s, line, got, err)
		}
		if line != `"`+string(escapeJSON(nil, []byte(s)))+`"` {
			t.Fatalf("%q differs as bytes", s)
		}
		text := string(escapeText(nil, s))
		back := coded.ReplaceAllStringFunc(text, func(c string) string {
			n, _ := strconv.ParseUint(c[2:], 16, 8)
			return string([]byte{byte(n)})
		})
		if back != s || !inText.MatchString(coded.ReplaceAllString(text, "")) {
			t.Fatalf("%q is written as %s", s, text)
		}
	})
}
