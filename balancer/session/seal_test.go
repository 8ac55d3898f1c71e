package session

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// TestSIV: the examples of RFC 5297, A.1 and A.2.
func TestSIV(t *testing.T) {
	f := func(key string, vectors []string, plain, want string) {
		t.Helper()
		b := func(s string) []byte {
			v, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		s, w := newSIV(b(key)), new(Work)
		w.d = s.start
		for _, v := range vectors {
			s.bind(w, b(v))
		}
		data := b(plain)
		s.finish(w, data)
		s.crypt(w, data)
		if got := append(w.v[:], data...); !bytes.Equal(got, b(want)) {
			t.Fatalf("got  %x\nwant %s", got, want)
		}
	}
	f("fffefdfc fbfaf9f8 f7f6f5f4 f3f2f1f0 f0f1f2f3 f4f5f6f7 f8f9fafb fcfdfeff",
		[]string{"10111213 14151617 18191a1b 1c1d1e1f 20212223 24252627"},
		"11223344 55667788 99aabbcc ddee",
		"85632d07 c6e8f37f 950acd32 0a2ecc93 40c02b96 90c4dc04 daef7f6a fe5c")
	f("7f7e7d7c 7b7a7978 77767574 73727170 40414243 44454647 48494a4b 4c4d4e4f",
		[]string{"00112233 44556677 8899aabb ccddeeff deaddada deaddada ffeeddcc bbaa9988 77665544 33221100",
			"10203040 50607080 90a0", "09f91102 9d74e35b d84156c5 635688c0"},
		"74686973 20697320 736f6d65 20706c61 696e7465 78742074 6f20656e 63727970 74207573 696e6720 5349562d 414553",
		"7bdb6e3b 432667eb 06f4d14b ff2fbd0f cb900f2f ddbe4043 26601965 c889bf17 dba77ceb 094fa663 b7a3f748 ba8af829 ea64ad54 4a272e9c 485b62a3 fd5c0d")
}

const testSecret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func ring(t testing.TB, file string) *Ring {
	t.Helper()
	r, err := ParseRing([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSealVectors: values made by another implementation of AES-SIV and HKDF
// from the description in docs/sessions.md.
func TestSealVectors(t *testing.T) {
	f := func(secret, scope string, tenant int64, member uint64, issued int64, salt uint32, want string) {
		t.Helper()
		s, w := ring(t, secret).Scope(scope), new(Work)
		if got := string(s.appendSeal(nil, w, tenant, member, time.Unix(issued, 0), salt)); got != want {
			t.Fatalf("sealed %s, expected %s", got, want)
		}
		o, ok := s.Open(w, tenant, []byte(want))
		if !ok || o.Member != member || o.Issued.Unix() != issued || o.Old {
			t.Fatalf("opened %+v %v", o, ok)
		}
	}
	f("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "as.shared.domain/worker", 0, 0, 0, 0,
		"1WqLkcCiUjla03Zm3vqvqb-K3nOdt0OB-TMQpw4Wm74P4")
	f(testSecret, "as.shared.domain/worker", 42, 0x0123456789abcdef, 1760000000, 0xdeadbeef,
		"1dh4aT7UN_cx4aZK7qkOaAVLSklWz8ump21SZWiBw62ec")
	f(testSecret, "as.jet.domain/mgt", -1, 1<<64-1, 1<<32-1, 1<<32-1,
		"1d97ZB7sf8lrQHDT4hqUzP9UWLiTZAVGCTKdxKusYxjrA")
	if got := MemberID("as.shared.domain", "w1"); got != 0xf5adb4bc1080aaa7 {
		t.Fatalf("member id %#x", got)
	}
}

// TestOpenElsewhere: a cookie means nothing to another cluster, another tenant
// or other keys, and what follows a rotation of keys.
func TestOpenElsewhere(t *testing.T) {
	now, w := time.Now(), new(Work)
	second := NewSecret()
	s := ring(t, testSecret).Scope("a/worker")
	value := s.AppendSeal(nil, w, 1, 7, now)
	f := func(keys, scope string, tenant int64, want bool) {
		t.Helper()
		if _, ok := ring(t, keys).Scope(scope).Open(w, tenant, value); ok != want {
			t.Fatalf("opens: %v, expected %v", ok, want)
		}
	}
	f(testSecret, "a/worker", 1, true)
	f(testSecret, "a/worker", 2, false)
	f(testSecret, "a/mgt", 1, false)
	f(second, "a/worker", 1, false)
	f(second+"\n"+testSecret, "a/worker", 1, true)
	if o, _ := ring(t, "# new\n"+second+"\n\n# old\n"+testSecret+"\n").Scope("a/worker").Open(w, 1, value); !o.Old {
		t.Fatal("the old key is not told")
	}
	if bytes.Equal(value, s.AppendSeal(nil, w, 1, 7, now)) {
		t.Fatal("two cookies for the same member look alike")
	}
}

func TestParseRing(t *testing.T) {
	f := func(file, want string) {
		t.Helper()
		_, err := ParseRing([]byte(file))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%v, expected %q", err, want)
		}
	}
	f("", "no key")
	f("# nothing\n", "no key")
	f("short", "line 1")
	f(testSecret+"\nAAAA\n", "line 2")
	f(strings.Repeat(testSecret+"\n", 3), "line 3 is one key too many")
	f(strings.Repeat("x", 100_000), "token too long")
}

// TestForged: random cookies and genuine ones with a bit flipped: none opens.
// 10,000,000 with JETWAY_LONG.
func TestForged(t *testing.T) {
	n := 200_000
	if os.Getenv("JETWAY_LONG") != "" {
		n = 10_000_000
	}
	s, w := ring(t, testSecret+"\n"+NewSecret()).Scope("a/worker"), new(Work)
	r := rand.New(rand.NewPCG(1, 2))
	genuine := s.AppendSeal(nil, w, 1, 7, time.Now())
	forged := make([]byte, len(genuine))
	for i := range n {
		copy(forged, genuine)
		if i%2 == 0 {
			forged[r.IntN(len(forged))] ^= 1 << r.IntN(8)
		} else {
			for j := 2; j < len(forged); j++ {
				forged[j] = alphabet[r.IntN(64)]
			}
		}
		if _, ok := s.Open(w, 1, forged); ok {
			t.Fatalf("%q opens", forged)
		}
	}
}

// FuzzOpen: nothing but what was sealed opens, and nothing breaks.
func FuzzOpen(f *testing.F) {
	s, w := ring(f, testSecret).Scope("a/worker"), new(Work)
	known := s.appendSeal(nil, w, 1, 7, time.Unix(1760000000, 0), 1)
	f.Add(known)
	f.Add(known[:40])
	f.Add([]byte(""))
	f.Add(bytes.Repeat([]byte("1"), 8<<10))
	f.Fuzz(func(t *testing.T, value []byte) {
		o, ok := s.Open(w, 1, value)
		if ok && !bytes.Equal(value, known) {
			t.Fatalf("%q opens: %+v", value, o)
		}
		if again, ok2 := s.Open(w, 1, value); again != o || ok2 != ok {
			t.Fatal("opens differently the second time")
		}
	})
}

func TestKeys(t *testing.T) {
	w := new(Work)
	s := ring(t, testSecret).Scope("a/worker")
	long := bytes.Repeat([]byte("x"), CookieMax)
	keys := map[Key]string{}
	for name, k := range map[string]Key{
		"this":    s.Key(w, 1, []byte("abc")),
		"tenant":  s.Key(w, 2, []byte("abc")),
		"cookie":  s.Key(w, 1, []byte("abd")),
		"cluster": ring(t, testSecret).Scope("b/worker").Key(w, 1, []byte("abc")),
		"secret":  ring(t, NewSecret()).Scope("a/worker").Key(w, 1, []byte("abc")),
		"long":    s.Key(w, 1, long),
		"shorter": s.Key(w, 1, long[1:]),
	} {
		if keys[k] != "" {
			t.Fatalf("%s and %s have the same key", name, keys[k])
		}
		keys[k] = name
	}
	rotated := ring(t, NewSecret()+"\n"+testSecret).Scope("a/worker")
	if old, ok := rotated.OldKey(w, 1, []byte("abc")); !ok || old != s.Key(w, 1, []byte("abc")) {
		t.Fatal("a key from before the rotation is another one now")
	}
	if rotated.Tag(w, 1) != s.Tag(w, 1) || s.Tag(w, 1) == s.Tag(w, 2) {
		t.Fatal("the cookie's name depends on keys, or not on the tenant")
	}
	if at := s.AtPath("/app"); at.Tag(w, 1) == s.Tag(w, 1) || at.Tag(w, 1) == s.AtPath("/b").Tag(w, 1) || at.Tag(w, 1) != rotated.AtPath("/app").Tag(w, 1) ||
		at.Key(w, 1, long) != s.Key(w, 1, long) {
		t.Fatal("the cookie's name does not depend on its path, or what it names does")
	}
}

func TestSealAllocations(t *testing.T) {
	w, buf := new(Work), make([]byte, 0, 64)
	s := ring(t, testSecret).Scope("a/worker")
	value := s.AppendSeal(nil, w, 1, 7, time.Now())
	if n := testing.AllocsPerRun(100, func() {
		s.Open(w, 1, value)
		s.AppendSeal(buf, w, 1, 7, time.Unix(0, 0))
		s.Key(w, 1, value)
		s.Tag(w, 1)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkSeal(b *testing.B) {
	w, buf := new(Work), make([]byte, 0, 64)
	s := ring(b, testSecret).Scope("a/worker")
	now := time.Now()
	value := s.AppendSeal(nil, w, 1, 7, now)
	b.Run("Open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Open(w, 1, value)
		}
	})
	b.Run("Seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.AppendSeal(buf, w, 1, 7, now)
		}
	})
	b.Run("Key", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Key(w, 1, value[:32])
		}
	})
	b.Run("Tag", func(b *testing.B) {
		for b.Loop() {
			s.Tag(w, 1)
		}
	})
}
