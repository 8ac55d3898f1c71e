package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

const (
	sizeMax  = 8 << 20 // bytes of a YAML file
	depthMax = 16      // of nested sections and lists; the deepest legal value stands at 9
)

// parseTree reads data as the one YAML document it must be, without anchors,
// aliases, tags and duplicate keys. It returns the root, nil where nothing
// can be made of the file, and what it found wrong. least is what the smallest
// such file holds.
func parseTree(file string, data []byte, least string) (*yaml.Node, Problems) {
	if p, bad := checkText(data, least); bad {
		p.File = file
		return nil, Problems{p}
	}
	root, p := parseDocument(data, least)
	if root == nil {
		p.File = file
		return nil, Problems{p}
	}
	c := treeCheck{file: file}
	c.walk(root, 1)
	if c.deep {
		root = nil
	}
	return root, c.problems
}

// checkText refuses what is not plain UTF-8 text, before YAML sees it.
func checkText(data []byte, least string) (Problem, bool) {
	at1 := func(what, expected string) (Problem, bool) {
		return Problem{Line: 1, Column: 1, What: what, Expected: expected}, true
	}
	switch {
	case len(data) > sizeMax:
		return at1(fmt.Sprintf("the file is larger than %d MiB", sizeMax>>20), "a smaller one")
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return at1("the file begins with a byte order mark", "plain UTF-8 without one")
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return at1("the file is UTF-16", "UTF-8")
	case len(bytes.TrimSpace(data)) == 0:
		return at1("the file is empty", least)
	}
	line, column := 1, 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		p := Problem{Line: line, Column: column}
		switch {
		case r == utf8.RuneError && n == 1:
			p.What, p.Expected = fmt.Sprintf("byte 0x%02x is not UTF-8", data[i]), "UTF-8 text"
			return p, true
		case !printable(r):
			p.What, p.Expected = fmt.Sprintf("character %U is not allowed", r), "printable text"
			return p, true
		case r == '\n', r == '\r' && !bytes.HasPrefix(data[i+1:], []byte("\n")),
			r == '\u0085', r == '\u2028', r == '\u2029': // all are line ends to YAML
			line, column = line+1, 1
		default:
			column++
		}
		i += n
	}
	return Problem{}, false
}

// printable is YAML's own idea of a character that may stand in a file.
func printable(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r == '\u0085' ||
		r >= ' ' && r <= '~' || r >= '\u00a0' && r != '\ufeff' && r != '\ufffe' && r != '\uffff'
}

// parseDocument returns the root of the only document. Where there is none
// the problem says why.
func parseDocument(data []byte, least string) (*yaml.Node, Problem) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	doc, err := decodeNode(dec)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		return nil, Problem{Line: 1, Column: 1, What: "the file holds nothing but comments", Expected: least}
	}
	if err != nil {
		return nil, diagnose(data, err)
	}
	next, err := decodeNode(dec)
	switch {
	case errors.Is(err, io.EOF):
		return doc.Content[0], Problem{}
	case err != nil:
		return nil, diagnose(data, err)
	}
	return nil, Problem{Line: next.Line, Column: next.Column, What: "a second YAML document begins here", Expected: "one document per file"}
}

// decodeNode reads the next document. The parser signals some errors of its
// own by panics and recovers them; whatever escapes is an error here, because
// a file must never be able to end a running load balancer.
func decodeNode(dec *yaml.Decoder) (n *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	n = new(yaml.Node)
	return n, dec.Decode(n)
}

// treeCheck finds what is wrong in any file, whatever its keys mean.
type treeCheck struct {
	file     string
	problems Problems
	deep     bool
}

func (c *treeCheck) report(n *yaml.Node, what, expected string) {
	c.problems.add(Problem{File: c.file, Line: n.Line, Column: n.Column, What: what, Expected: expected})
}

func (c *treeCheck) walk(n *yaml.Node, depth int) {
	if depth > depthMax {
		if !c.deep {
			c.report(n, fmt.Sprintf("sections and lists are nested deeper than %d", depthMax), "fewer levels")
		}
		c.deep = true
		return
	}
	switch {
	case n.Kind == yaml.AliasNode:
		c.report(n, fmt.Sprintf("alias %s is not supported", quote("*"+n.Value)), "the value itself; a text that begins with * stands in quotes")
	case n.Anchor != "":
		c.report(n, fmt.Sprintf("anchor %s is not supported", quote("&"+n.Anchor)), "the value alone; a text that begins with & stands in quotes")
	case n.Style&yaml.TaggedStyle != 0:
		c.report(n, fmt.Sprintf("tag %s is not supported", quote(n.Tag)), "the value alone; a text that begins with ! stands in quotes")
	}
	if n.Kind == yaml.MappingNode {
		c.keys(n)
	}
	for _, child := range n.Content {
		c.walk(child, depth+1)
	}
}

// keys refuses keys that are no text or stand twice.
func (c *treeCheck) keys(n *yaml.Node) {
	first := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind == yaml.AliasNode {
			continue // reported by walk
		}
		if k.Kind != yaml.ScalarNode {
			c.report(k, kindName(k)+" stands where a key belongs", "a word and a colon; a text that begins with [ or { stands in quotes")
			continue
		}
		if f := first[k.Value]; f != nil {
			c.report(k, fmt.Sprintf("key %s stands twice, first at line %d column %d", quote(k.Value), f.Line, f.Column), "each key once")
			continue
		}
		first[k.Value] = k
	}
}

// kindName says what a node is, in words for the user.
func kindName(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a section"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return "nothing"
	}
	return quote(n.Value)
}
