package tenant

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ID is a tenant's number in the directory. Directory ids start at 1; the
// original system uses negative ones for its super tenant, which never match
// a range.
type ID int64

// Span is an inclusive interval of ids, Lo <= Hi.
type Span struct{ Lo, Hi ID }

// MaxSpans bounds how many parts one tenant_range may list.
const MaxSpans = 100_000

// Ranges is the parsed form of a tenant_range: "*", "7", "1-100", "1,6,9" or
// any mix of them. The zero value holds nobody. Immutable after ParseRanges.
type Ranges struct {
	all   bool
	spans []Span // sorted by Lo, disjoint
}

// ParseRanges reads a tenant_range. Parts are separated by commas, blanks
// around a part are allowed. "*" stands for everybody whom no other range of
// the same host pattern holds, and may stand beside numbered parts. Ids are
// decimal and positive; a part that repeats an id of another part is an error.
func ParseRanges(s string) (Ranges, error) {
	var r Ranges
	if strings.TrimSpace(s) == "" {
		return r, fmt.Errorf("cannot parse tenant_range %q: it is empty; expected \"*\", an id, or ids and intervals such as \"1-100,200\"", s)
	}
	if n := strings.Count(s, ",") + 1; n > MaxSpans {
		return r, fmt.Errorf("cannot parse tenant_range: it has %d parts; expected at most %d", n, MaxSpans)
	}
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if part == "*" {
			if r.all {
				return Ranges{}, fmt.Errorf("cannot parse tenant_range %q: \"*\" stands twice", s)
			}
			r.all = true
			continue
		}
		span, err := parseSpan(part)
		if err != nil {
			return Ranges{}, fmt.Errorf("cannot parse tenant_range %q: %w", s, err)
		}
		r.spans = append(r.spans, span)
	}
	slices.SortFunc(r.spans, func(a, b Span) int { return int(max(min(a.Lo-b.Lo, 1), -1)) })
	for i := 1; i < len(r.spans); i++ {
		if r.spans[i].Lo <= r.spans[i-1].Hi {
			return Ranges{}, fmt.Errorf("cannot parse tenant_range %q: %s and %s overlap", s, r.spans[i-1], r.spans[i])
		}
	}
	return r, nil
}

func parseSpan(part string) (Span, error) {
	lo, hi, interval := strings.Cut(part, "-")
	first, err := parseID(strings.TrimSpace(lo))
	if err != nil {
		return Span{}, err
	}
	if !interval {
		return Span{first, first}, nil
	}
	last, err := parseID(strings.TrimSpace(hi))
	if err != nil {
		return Span{}, err
	}
	if last < first {
		return Span{}, fmt.Errorf("interval %q ends before it begins", part)
	}
	return Span{first, last}, nil
}

// maxID keeps Hi+1 and differences of ids inside int64.
const maxID = 1<<62 - 1

func parseID(s string) (ID, error) {
	if s == "" || s[0] == '+' {
		return 0, fmt.Errorf("%q is not a tenant id; expected a positive number", s)
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n > maxID {
		return 0, fmt.Errorf("%q is not a tenant id; expected a number from 1 to %d", s, int64(maxID))
	}
	return ID(n), nil
}

// All reports whether the ranges hold "*".
func (r Ranges) All() bool { return r.all }

// Empty reports whether the ranges hold nobody at all.
func (r Ranges) Empty() bool { return !r.all && len(r.spans) == 0 }

// Spans returns the numbered parts in ascending order. The caller must not
// change them.
func (r Ranges) Spans() []Span { return r.spans }

// Contains reports whether a numbered part holds id; "*" is not looked at,
// because it only counts where no other range of the host pattern matches.
func (r Ranges) Contains(id ID) bool {
	return Search(r.spans, id) >= 0
}

// Search returns which of the spans holds id, -1: none. They are ascending and
// disjoint. The processor cannot guess where an id will be found, so that the
// search takes no branch that depends on it.
func Search(spans []Span, id ID) int {
	base, n := 0, len(spans)
	if n == 0 {
		return -1
	}
	for n > 1 {
		half := n >> 1
		above := int(spans[base+half-1].Hi-id) >> 63 // -1 where that one ends below id; ids are below 1<<62
		base += half & above
		n -= half
	}
	if s := spans[base]; s.Lo <= id && id <= s.Hi {
		return base
	}
	return -1
}

// Overlap returns the first ids that both hold by number.
func (r Ranges) Overlap(o Ranges) (Span, bool) {
	for i, j := 0, 0; i < len(r.spans) && j < len(o.spans); {
		a, b := r.spans[i], o.spans[j]
		if lo, hi := max(a.Lo, b.Lo), min(a.Hi, b.Hi); lo <= hi {
			return Span{lo, hi}, true
		}
		if a.Hi < b.Hi {
			i++
		} else {
			j++
		}
	}
	return Span{}, false
}

// String prints the ranges so that ParseRanges reads them back.
func (r Ranges) String() string {
	var b strings.Builder
	for i, s := range r.spans {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(s.String())
	}
	if r.all {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('*')
	}
	return b.String()
}

// String prints "7" or "1-100".
func (s Span) String() string {
	if s.Lo == s.Hi {
		return strconv.FormatInt(int64(s.Lo), 10)
	}
	return strconv.FormatInt(int64(s.Lo), 10) + "-" + strconv.FormatInt(int64(s.Hi), 10)
}
