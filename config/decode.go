package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// decoder turns the tree of one file into values and collects what is wrong.
type decoder struct {
	file      string
	dir       string // relative file names start here
	env       func(string) (string, bool)
	keys      map[string]key      // schema by path
	children  map[string][]string // key names by the path of their section
	masked    map[string]bool     // values from the environment that must not be printed
	files     []fileUse
	directory bool                  // there is a tenant directory
	root      *yaml.Node            // nil: nothing could be made of the file
	places    map[*yaml.Node]string // see keyOf; nil until there is a problem
	problems  Problems
	warnings  Problems
}

// fileUse is a file that the configuration names, to be looked into by Load.
type fileUse struct {
	at    *yaml.Node
	path  string
	check func(path string) error
}

// value is a scalar after expansion, and where it stands.
type value struct {
	text string
	at   *yaml.Node
}

// object is a section: a mapping whose keys the schema knows. One that the
// file does not have has no content, so that it decodes to the defaults.
type object struct {
	d        *decoder
	node     *yaml.Node
	path     string // in the schema
	inherits bool   // what is left out keeps the value it has, instead of the default
}

func newDecoder(file string, env func(string) (string, bool), schema []key) *decoder {
	d := &decoder{
		file: file, env: env,
		keys: make(map[string]key), children: make(map[string][]string), masked: make(map[string]bool),
	}
	if abs, err := filepath.Abs(file); err == nil {
		d.dir = filepath.Dir(abs)
	}
	for _, k := range schema {
		d.keys[k.path] = k
		parent, name := "", k.path
		if i := strings.LastIndexByte(k.path, '.'); i >= 0 {
			parent, name = k.path[:i], k.path[i+1:]
		}
		d.children[parent] = append(d.children[parent], name)
	}
	return d
}

func (d *decoder) problem(at *yaml.Node, what, expected string) {
	d.problems.add(Problem{d.file, at.Line, at.Column, what, expected, d.keyOf(at)})
}

func (d *decoder) warn(at *yaml.Node, what, expected string) {
	d.warnings.add(Problem{d.file, at.Line, at.Column, what, expected, d.keyOf(at)})
}

// open returns n as the section at path and reports keys that do not belong
// there.
func (d *decoder) open(n *yaml.Node, path, kind string) object {
	o := object{d: d, node: n, path: path}
	if n.Kind == yaml.MappingNode {
		return o
	}
	if n.Kind != yaml.AliasNode {
		d.problem(n, fmt.Sprintf("%s stands where %s belongs", kindName(n), kind), "keys and values, or {} for none")
	}
	o.node = &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}
	o.inherits = true // whatever is missing is not the user's mistake
	return o
}

// block reports whether o takes the keys of <block> as well.
func (o object) block() bool {
	return o.path == "services.defaults" || strings.HasPrefix(o.path, "services.") && strings.HasSuffix(o.path, ">")
}

// strict reports unknown keys.
func (o object) strict() object {
	known := o.d.children[o.path]
	if o.block() {
		known = append(slices.Clone(known), o.d.children["<block>"]...)
	}
	if slices.ContainsFunc(known, func(k string) bool { return k[0] == '<' }) {
		return o // its keys are names of the user's, see named
	}
	for k := range o.entries() {
		if slices.Contains(known, k.Value) {
			continue
		}
		expected := "one of " + strings.Join(known, ", ")
		if n := nearest(k.Value, known); n != "" {
			expected = quote(n)
		}
		o.d.problem(k, fmt.Sprintf("key %s is unknown in %s", quote(k.Value), o.title()), expected)
	}
	return o
}

// title names the section in problems.
func (o object) title() string {
	switch i := strings.LastIndexByte(o.path, '.'); {
	case o.path == "":
		return "this file"
	case strings.HasSuffix(o.path, ">"):
		return "a " + strings.Trim(strings.ReplaceAll(o.path[i+1:], "_", "-"), "<>")
	default:
		return strings.TrimSuffix(o.path[i+1:], "[]")
	}
}

// entries yields the keys that are words, with their values.
func (o object) entries() func(yield func(k, v *yaml.Node) bool) {
	return func(yield func(k, v *yaml.Node) bool) {
		for i := 0; i+1 < len(o.node.Content); i += 2 {
			k, v := o.node.Content[i], o.node.Content[i+1]
			if k.Kind == yaml.ScalarNode && !yield(k, v) {
				return
			}
		}
	}
}

// find returns the node of a key, nil where the file does not have it, and
// what the schema says about it. A key that is required is reported.
func (o object) find(name string) (*yaml.Node, key) {
	k, ok := o.d.keys[strings.TrimPrefix(o.path+"."+name, ".")]
	if !ok && o.block() {
		k, ok = o.d.keys["<block>."+name]
	}
	if !ok {
		panic("BUG: key " + o.path + "." + name + " is not in the schema")
	}
	for n, v := range o.entries() {
		if n.Value == name {
			return v, k
		}
	}
	if k.standard == required && !o.inherits {
		o.d.problem(o.node, fmt.Sprintf("key %s is missing in %s", quote(name), o.title()), article(k.kind))
	}
	return nil, k
}

// has reports whether the file has the key.
func (o object) has(name string) bool {
	for k := range o.entries() {
		if k.Value == name {
			return true
		}
	}
	return false
}

func article(kind string) string {
	if kind == "none" || kind == "status codes" || kind == "ports" || strings.Contains(kind, " or ") {
		return kind
	}
	if strings.ContainsRune("aeiouAEIOU", rune(kind[0])) {
		return "an " + kind
	}
	return "a " + kind
}

// section returns a section inside of o.
func (o object) section(name string) object {
	n, k := o.find(name)
	if n == nil {
		return object{d: o.d, node: &yaml.Node{Kind: yaml.MappingNode, Line: o.node.Line, Column: o.node.Column},
			path: k.path, inherits: o.inherits || k.standard == required}
	}
	s := o.d.open(n, k.path, fmt.Sprintf("the section %s", quote(name)))
	s.inherits = s.inherits || o.inherits
	return s.strict()
}

// named yields the sections of a section whose keys are names of the user's;
// path is theirs in the schema.
func (o object) named(path string) func(yield func(name *yaml.Node, s object) bool) {
	return func(yield func(*yaml.Node, object) bool) {
		for k, v := range o.entries() {
			if _, err := parseName(k.Value); err != nil {
				o.d.problem(k, fmt.Sprintf("%s cannot be a name in %s", quote(k.Value), o.title()), err.Error())
				continue
			}
			if _, fixed := o.d.keys[o.path+"."+k.Value]; fixed {
				continue
			}
			if !yield(k, o.d.open(v, path, fmt.Sprintf("the section of %s", quote(k.Value))).strict()) {
				return
			}
		}
	}
}

// elements returns the nodes of a list; present is false where the file does
// not have the key.
func (o object) elements(name string) (nodes []*yaml.Node, k key, present bool) {
	n, k := o.find(name)
	switch {
	case n == nil:
		return nil, k, false
	case n.Kind == yaml.SequenceNode:
		if len(n.Content) == 0 && k.standard == required {
			o.d.problem(n, fmt.Sprintf("the list %s is empty", quote(name)), "at least one element")
		}
		return n.Content, k, true
	case n.Kind != yaml.AliasNode:
		o.d.problem(n, fmt.Sprintf("%s stands where the list %s belongs", kindName(n), quote(name)), "a "+k.kind+", such as [a, b]")
	}
	return nil, k, true
}

// sections returns the elements of a list of sections.
func (o object) sections(name string) []object {
	nodes, k, _ := o.elements(name)
	list := make([]object, 0, len(nodes))
	for _, n := range nodes {
		list = append(list, o.d.open(n, k.path+"[]", "an element of "+quote(name)).strict())
	}
	return list
}

// scalar returns the expanded value of a scalar node; false where it is
// something else, which is reported.
func (d *decoder) scalar(n *yaml.Node, name, kind string) (value, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		if n.Kind != yaml.AliasNode {
			d.problem(n, fmt.Sprintf("%s stands where the value of %s belongs", kindName(n), quote(name)), article(kind))
		}
		return value{}, false
	}
	text, expanded, err := expand(n.Value, d.env)
	if err != nil {
		d.problem(n, err.what, err.expected)
		return value{}, false
	}
	if expanded && secret(name) {
		d.masked[text] = true
	}
	if _, err := parseText(text); err != nil && !(kind == "tenant range" && len(text) > textMax) { // its parser has a limit of its own
		d.problem(n, fmt.Sprintf("the value of %s is not one line of text", quote(name)), err.Error())
		return value{}, false
	}
	return value{text, n}, true
}

// wrong reports a value that a parser refused: the text of err is what was
// expected, or "detail; expected what".
func (d *decoder) wrong(v value, name string, err error) {
	what := fmt.Sprintf("%s is wrong for %s", d.shown(v.text), quote(name))
	detail, expected, both := strings.Cut(err.Error(), "; expected ")
	switch {
	case !both:
		expected = detail
	case !d.masked[v.text]:
		what += ": " + detail
	}
	d.problem(v.at, what, expected)
}

// read sets *p to the value of a key and returns where it stands. A key that
// is absent, or wrong and reported, leaves the default, or what *p was where o
// inherits.
func read[T any](o object, name string, p *T, parse func(string) (T, error)) (at *yaml.Node) {
	n, k := o.find(name)
	if n == nil {
		text, ok := k.defaultText()
		if !ok || o.inherits {
			return nil
		}
		v, err := parse(text)
		if err != nil && text != "" {
			panic("BUG: the default of " + k.path + " does not parse: " + err.Error())
		}
		*p = v
		return nil
	}
	v, ok := o.d.scalar(n, name, k.kind)
	if !ok {
		return nil
	}
	if v.text == "" && k.standard == `""` {
		var none T
		*p = none
		return n
	}
	parsed, err := parse(v.text)
	if err != nil {
		o.d.wrong(v, name, err)
		return nil
	}
	*p = parsed
	return n
}

// readList sets *p to the parsed elements of a list; what is wrong is reported
// and left out. An element that stands twice is reported.
func readList[T comparable](o object, name string, p *[]T, parse func(string) (T, error)) (at []*yaml.Node) {
	nodes, k, present := o.elements(name)
	if !present {
		return nil
	}
	*p = nil
	seen := make(map[T]*yaml.Node, len(nodes))
	for _, n := range nodes {
		v, ok := o.d.scalar(n, name, strings.TrimPrefix(k.kind, "list of "))
		if !ok {
			continue
		}
		parsed, err := parse(v.text)
		if err != nil {
			o.d.wrong(v, name, err)
			continue
		}
		if first := seen[parsed]; first != nil {
			o.d.problem(n, fmt.Sprintf("%s stands twice in %s, first at line %d column %d", quote(v.text), quote(name), first.Line, first.Column), "each once")
			continue
		}
		seen[parsed] = n
		*p, at = append(*p, parsed), append(at, n)
	}
	return at
}

// readFile sets *p to the absolute form of a file name and has Load look into
// the file, for which a nil check has no need.
func readFile(o object, name string, p *string, check func(path string) error) (at *yaml.Node) {
	at = read(o, name, p, parseText)
	if at == nil {
		return nil
	}
	if *p == "" {
		if _, k := o.find(name); k.standard == required {
			o.d.problem(at, fmt.Sprintf("%s is empty", quote(name)), "the name of a file")
			return nil
		}
		return at
	}
	o.d.resolveFile(at, p, check)
	return at
}

// resolveFile makes the file name *p, which stands at at, absolute and has Load
// look into the file.
func (d *decoder) resolveFile(at *yaml.Node, p *string, check func(path string) error) {
	written := *p
	if !filepath.IsAbs(written) {
		*p = filepath.Join(d.dir, written)
	} else {
		*p = filepath.Clean(written)
	}
	if d.masked[written] {
		d.masked[*p] = true
	}
	if check != nil {
		d.files = append(d.files, fileUse{at, *p, check})
	}
}

// shown quotes a value of the user's unless it is a secret.
func (d *decoder) shown(text string) string {
	if d.masked[text] {
		return "a value from the environment"
	}
	return quote(text)
}
