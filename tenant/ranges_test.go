package tenant

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func mustRanges(t testing.TB, spec string) Ranges {
	t.Helper()
	r, err := ParseRanges(spec)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRangesContains(t *testing.T) {
	f := func(spec string, id ID, want bool) {
		t.Helper()
		if got := mustRanges(t, spec).Contains(id); got != want {
			t.Fatalf("%q contains %d = %v, want %v", spec, id, got, want)
		}
	}
	f("1-100", 1, true)
	f("1-100", 100, true)
	f("1-100", 101, false) // first past the end
	f("1-100", 0, false)
	f("7", 7, true)
	f("7", 8, false)
	f("1,6,9", 6, true)
	f("1,6,9", 7, false)
	f("9,1-3,6", 2, true)
	f("*", 5, false) // "*" is not a number
	f("5,*", 5, true)
	f(" 1 - 3 , 9 ", 9, true)
	f("*", -1234, false)
}

func TestParseRangesRefuses(t *testing.T) {
	f := func(spec, want string) {
		t.Helper()
		_, err := ParseRanges(spec)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%q: error %v, want one with %q", spec, err, want)
		}
	}
	f("", "empty")
	f("  ", "empty")
	f("a", `"a" is not a tenant id`)
	f("0", "from 1")
	f("-5", "not a tenant id")
	f("+5", "not a tenant id")
	f("5-", "not a tenant id")
	f("9-1", "ends before it begins")
	f("1-5,3", "overlap")
	f("1,1", "overlap")
	f("*,*", "stands twice")
	f("1,,2", "not a tenant id")
	f("99999999999999999999", "not a tenant id")
	f("1-2-3", "not a tenant id")
	f("0x10", "not a tenant id")
	f(strings.Repeat("1,", MaxSpans+1), "at most")
}

func TestRangesStringReadsBack(t *testing.T) {
	for _, s := range []string{"*", "7", "1-100", "1,6,9", "1-5,9,*"} {
		if got := mustRanges(t, s).String(); got != s {
			t.Fatalf("String of %q = %q", s, got)
		}
	}
}

func TestOverlap(t *testing.T) {
	f := func(a, b, want string) {
		t.Helper()
		s, ok := mustRanges(t, a).Overlap(mustRanges(t, b))
		if (want != "") != ok || ok && s.String() != want {
			t.Fatalf("%q and %q overlap in %v %v, want %q", a, b, s, ok, want)
		}
	}
	f("1-10", "11-20", "")
	f("1-10", "10-20", "10")
	f("1-100", "50", "50")
	f("1,3,5,7", "2,4,6,7-9", "7")
	f("*", "1-5", "")
}

// TestContainsAgainstBruteForce compares the search with a plain scan.
func TestContainsAgainstBruteForce(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var parts []string
		member := map[ID]bool{}
		for lo := ID(1 + rnd.IntN(5)); lo < 200; {
			hi := lo + ID(rnd.IntN(5))
			parts = append(parts, Span{lo, hi}.String())
			for id := lo; id <= hi; id++ {
				member[id] = true
			}
			lo = hi + 1 + ID(rnd.IntN(6))
		}
		rnd.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		r := mustRanges(t, strings.Join(parts, ","))
		for id := ID(-2); id < 220; id++ {
			if r.Contains(id) != member[id] {
				t.Fatalf("%v contains %d = %v", r, id, !member[id])
			}
		}
	}
}
