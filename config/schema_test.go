package config

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// row is how a key stands in docs/configuration.md.
func (k key) row() string {
	standard := k.standard
	switch {
	case k.standard == required:
		standard = "**required**"
	case k.standard == noDefault:
		standard = ""
	case !strings.Contains(k.standard, " "):
		standard = "`" + k.standard + "`"
	}
	return strings.ReplaceAll(fmt.Sprintf("| `%s` | %s | %s | %s |", k.path, k.kind, standard, strings.ReplaceAll(k.meaning, "<block>", "`<block>`")), "|  |", "| |")
}

// TestDocumentation wants every key once in docs/configuration.md, just as the
// code has it, and none that the code does not have.
func TestDocumentation(t *testing.T) {
	data, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]int)
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "| `") {
			rows[strings.TrimSpace(line)]++
		}
	}
	for _, k := range schema() {
		if rows[k.row()] != 1 {
			t.Errorf("%d times in the documentation, want once:\n%s", rows[k.row()], k.row())
		}
		delete(rows, k.row())
	}
	for row := range rows {
		t.Errorf("in the documentation, but not in the code:\n%s", row)
	}
}

// TestExamples parses every YAML example of the documentation that is a whole
// file.
func TestExamples(t *testing.T) {
	data, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, example := range regexp.MustCompile("(?s)```yaml\n(loadbalancer:.*?)```").FindAllSubmatch(data, -1) {
		n++
		if _, err := Parse("example", example[1], nil); err != nil {
			t.Errorf("example %d:\n%s%v", n, example[1], err)
		}
	}
	if n == 0 {
		t.Error("the documentation has no example of a whole file")
	}
}

// TestShippedFile wants loadbalancer.conf to be right as it is and with
// everything switched on, and to show every key then.
func TestShippedFile(t *testing.T) {
	c, err := Load("../loadbalancer.conf")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Routing(nil, nil); err != nil {
		t.Error(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}
	data, err := os.ReadFile("../loadbalancer.conf")
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`(?m)^( *)#([^ #|])`).ReplaceAll(data, []byte("$1$2"))
	if _, err := Parse("loadbalancer.conf", all, nil); err != nil {
		t.Errorf("with everything switched on: %v", err)
	}
	all = regexp.MustCompile(`(?m)^( *)#\|?([^ #])`).ReplaceAll(data, []byte("$1$2")) // with what excludes each other, too
	var root yaml.Node
	if err := yaml.Unmarshal(all, &root); err != nil {
		t.Fatal(err)
	}
	paths := make(map[string]bool)
	collect(root.Content[0], "", paths)
	for _, k := range schema() {
		if !paths[k.path] {
			t.Errorf("loadbalancer.conf does not show %s", k.path)
		}
	}
}

// collect enters the schema path of every key under n.
func collect(n *yaml.Node, path string, paths map[string]bool) {
	switch n.Kind {
	case yaml.SequenceNode:
		for _, e := range n.Content {
			collect(e, path+"[]", paths)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			p := strings.TrimPrefix(path+"."+n.Content[i].Value, ".")
			switch parent := path[strings.LastIndexByte(path, '.')+1:]; {
			case path == "services" && n.Content[i].Value != "defaults":
				p = "services.<service>"
			case path == "tenants.plans":
				p = "tenants.plans.<plan>"
			case parent == "domains":
				p = path + ".<domain>"
			case parent == "sub_domains":
				p = path + ".<sub_domain>"
			}
			paths[p] = true
			collect(n.Content[i+1], p, paths)
			if o := (object{path: path}); o.block() {
				paths["<block>."+n.Content[i].Value] = true
				collect(n.Content[i+1], "<block>."+n.Content[i].Value, paths)
			}
		}
	}
}

// TestSchemaIsDecoded puts something impossible at every key of the schema:
// each must be looked at and refused.
func TestSchemaIsDecoded(t *testing.T) {
	for _, k := range schema() {
		path := strings.NewReplacer("<block>", "services.app", "<service>", "app", "<domain>", "d", "<sub_domain>", "s", "<plan>", "p").Replace(k.path)
		value := `["\u0001"]` // no section, no text, and no good element of a list
		file := value
		steps := strings.Split(path, ".")
		for i := len(steps) - 1; i >= 0; i-- {
			name, list := strings.CutSuffix(steps[i], "[]")
			if list {
				file = "[" + file + "]"
			}
			file = fmt.Sprintf("{%q: %s}", name, file)
		}
		_, err := Parse("lb", []byte(file), nil)
		at := fmt.Sprintf("lb:1:%d: ", strings.Index(file, value)+1)
		inside := fmt.Sprintf("lb:1:%d: ", strings.Index(file, value)+2)
		if s := fmt.Sprint(err); !strings.Contains(s, at) && !strings.Contains(s, inside) {
			t.Errorf("%s is not decoded:\n%s\n%v", k.path, file, err)
		}
		if strings.Contains(fmt.Sprint(err), "is unknown in") {
			t.Errorf("%s is unknown:\n%s\n%v", k.path, file, err)
		}
	}
}
