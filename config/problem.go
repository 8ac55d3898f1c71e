package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong in a file, and where.
type Problem struct {
	File         string
	Line, Column int // from 1, the column in characters; a Line of 0: the file as a whole
	What         string
	Expected     string // what would have been right; may be empty
	Key          string // such as "membership.static[0].host"; empty: the file as a whole, or where it is no YAML
}

// String prints "file:line:column: what is wrong; what was expected".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
	}
	b.WriteString(": ")
	b.WriteString(p.What)
	if p.Expected != "" {
		b.WriteString("; expected ")
		b.WriteString(p.Expected)
	}
	return b.String()
}

// Problems is everything that is wrong in a file, in the order of the file.
type Problems []Problem

const (
	shownMax = 100  // problems printed
	keptMax  = 1000 // problems kept of one file
)

// Error prints one problem per line.
func (ps Problems) Error() string {
	lines := make([]string, 0, min(len(ps), shownMax)+1)
	for _, p := range ps[:min(len(ps), shownMax)] {
		lines = append(lines, p.String())
	}
	switch n := len(ps) - shownMax; {
	case len(ps) >= keptMax:
		lines = append(lines, fmt.Sprintf("and at least %d more", n))
	case n > 0:
		lines = append(lines, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(lines, "\n")
}

// add keeps p unless there are more than anybody reads.
func (ps *Problems) add(p Problem) {
	if len(*ps) < keptMax {
		*ps = append(*ps, p)
	}
}

// sorted orders problems by position and drops repetitions.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(ps)
}

// quote prints a user's word in quotes, shortened where it is long.
func quote(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		return fmt.Sprintf("%q...", string(r[:most]))
	}
	return fmt.Sprintf("%q", s)
}

// nearest returns the candidate with the smallest edit distance to s, or ""
// where none is near enough to have been meant.
func nearest(s string, candidates []string) string {
	best, bestDistance := "", 1+max(1, len(s)/3)
	for _, c := range candidates {
		if len(s) > 64 || len(c) > 64 {
			continue
		}
		if d := distance(strings.ToLower(s), c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is how many letters must be inserted, removed, replaced or
// swapped with their neighbour to make b of a.
func distance(a, b string) int {
	before, previous, row := []int(nil), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(previous[j]+1, row[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, previous, row = previous, row, make([]int, len(b)+1)
	}
	return previous[len(b)]
}
