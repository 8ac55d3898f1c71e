package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"
)

// diagnose turns a syntax error of the YAML parser into a problem. The
// parser's own line is often that of the enclosing section and a column it has
// not, so the place is searched: it is where the shortest beginning of the
// file ends that fails in the same way.
func diagnose(data []byte, err error) Problem {
	s := syntax{data: data, kind: errorKind(err), line: 1}
	fmt.Sscanf(err.Error(), "yaml: line %d:", &s.line)
	p := s.locate()
	p.What, p.Expected = s.explain(p)
	return p
}

// syntax is a file that is not YAML.
type syntax struct {
	data []byte
	kind string // the parser's message without line and names
	line int    // the parser's own idea of the line
}

// errorKind strips what differs between two errors of the same sort.
func errorKind(err error) string {
	if err == nil || errors.Is(err, io.EOF) {
		return ""
	}
	message := regexp.MustCompile(`^yaml: (line \d+: )?`).ReplaceAllString(err.Error(), "")
	if strings.HasPrefix(message, "unknown anchor") {
		return "unknown anchor"
	}
	return message
}

// fails reports whether this beginning of the file fails in the same way.
func (s *syntax) fails(beginning []byte) bool {
	dec := yaml.NewDecoder(bytes.NewReader(beginning))
	for {
		if _, err := decodeNode(dec); err != nil {
			return errorKind(err) == s.kind
		}
	}
}

// locate returns where the file stops being YAML.
func (s *syntax) locate() Problem {
	const searched = 256 << 10 // bytes up to which the search is cheap enough
	if len(s.data) > searched && !s.fails(s.data[:searched]) {
		return Problem{Line: s.line, Column: 1}
	}
	lines := bytes.SplitAfter(s.data[:min(len(s.data), searched)], []byte("\n"))
	offsets := make([]int, len(lines)+1) // where each line begins
	for i, line := range lines {
		offsets[i+1] = offsets[i] + len(line)
	}
	works, fails := 0, len(lines)
	for fails-works > 1 {
		if mid := (works + fails) / 2; s.fails(s.data[:offsets[mid]]) {
			fails = mid
		} else {
			works = mid
		}
	}
	line := bytes.TrimRight(lines[fails-1], "\r\n")
	return Problem{Line: fails, Column: s.column(s.data[:offsets[fails-1]], line)}
}

// refine moves a place at which the parser gave up to where the mistake was
// made, if that is on the same line.
func (s *syntax) refine(line []rune, column int) int {
	switch {
	case column > len(line):
	case s.kind == "unknown anchor": // found out one letter after the star
		column = max(column-1, 1)
	case s.kind == "did not find expected key", s.kind == "did not find expected '-' indicator":
		for column > 1 && line[column-1] == ':' || column > 1 && line[column-2] != ' ' {
			column--
		}
	case s.brackets():
		if open := unclosed(line); open > 0 {
			column = open
		}
	}
	return column
}

// brackets reports whether the parser was between brackets.
func (s *syntax) brackets() bool {
	return s.kind == "did not find expected ',' or ']'" || s.kind == "did not find expected ',' or '}'" || s.kind == "did not find expected node content"
}

// unclosed returns the column of the last bracket on the line that is not
// closed on it, 0 where there is none.
func unclosed(line []rune) int {
	var open []int
	quoted := rune(0)
	for i, r := range line {
		switch {
		case quoted != 0:
			if r == quoted {
				quoted = 0
			}
		case r == '"' || r == '\'':
			quoted = r
		case r == '[' || r == '{':
			open = append(open, i+1)
		case (r == ']' || r == '}') && len(open) > 0:
			open = open[:len(open)-1]
		}
	}
	if len(open) == 0 {
		return 0
	}
	return open[len(open)-1]
}

// column searches backwards from the end of the line, since what fails at its
// end has often failed and been mended in front of it: quotes, for instance.
// Where that takes too long it halves instead.
func (s *syntax) column(before, line []byte) int {
	runes := []rune(string(line))
	fails := func(n int) bool { return s.fails(join(before, []byte(string(runes[:n])))) }
	if len(runes) == 0 || !fails(len(runes)) {
		return 1 + len(runes) - len([]rune(strings.TrimLeft(string(runes), " ")))
	}
	column := len(runes)
	if effort := column * (len(before) + len(line)); effort > 4<<20 { // bytes to parse
		column = max(1, sort.Search(column, fails))
	} else {
		for column > 1 && fails(column-1) {
			column--
		}
	}
	return s.refine(runes, column)
}

func join(a, b []byte) []byte { return append(a[:len(a):len(a)], b...) }

// explain says what is wrong at p in the user's words rather than the parser's.
func (s *syntax) explain(p Problem) (what, expected string) {
	line, rest := s.text(p)
	first, _, _ := strings.Cut(rest, " ")
	switch {
	case strings.HasPrefix(s.kind, "exceeded max depth"):
		return "sections and lists are nested too deep", "fewer levels"
	case strings.Contains(s.kind, "tab character"):
		return "a tab stands in the indentation", "spaces"
	case s.brackets() && strings.Contains(line, "${"):
		return "the list or section in brackets is broken", `quotes around "${...}" between brackets`
	case s.brackets() && (strings.HasPrefix(rest, "[") || strings.HasPrefix(rest, "{")):
		return "the bracket that opens here is not closed in time", "values separated by commas, and the closing bracket"
	case s.brackets():
		return "the list or section in brackets is broken", "values separated by commas, the closing bracket, and quotes around a value that holds brackets"
	}
	switch s.kind {
	case "found character that cannot start any token":
		if strings.HasPrefix(rest, "\t") {
			return "a tab stands in the indentation", "spaces"
		}
		return quote(first) + " cannot begin a value", "quotes around it"
	case "unknown anchor", "did not find expected alphabetic or numeric character":
		if strings.HasPrefix(rest, "*") {
			return quote(strings.TrimRight(first, ",]}")) + " is an alias to YAML", `quotes around it, as in "*" or "*.example.com"`
		}
		return "& begins an anchor to YAML", "quotes around the value"
	case "mapping values are not allowed in this context":
		return `": " stands where no key can be`, "a colon at the end of the line before, a key at the right indentation, or quotes around a value with a colon"
	case "found unexpected end of stream":
		return "the quotes that begin here are never closed", "a closing quote"
	case "did not find expected key", "could not find expected ':'", "did not find expected '-' indicator":
		return "the file stops being YAML here: " + s.kind, "key: value at the indentation of its neighbours"
	}
	return "this is not YAML: " + s.kind, "valid YAML"
}

// text returns the line of p, and that line from the column of p on.
func (s *syntax) text(p Problem) (line, rest string) {
	lines := strings.SplitN(string(s.data), "\n", p.Line+1)
	if p.Line > len(lines) {
		return "", ""
	}
	runes := []rune(lines[p.Line-1])
	return string(runes), string(runes[min(p.Column-1, len(runes)):])
}
