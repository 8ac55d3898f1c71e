// Package test holds what is true of the module as a whole; the folders below
// hold the black-box tests.
package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "jetway"

// layers says which of the module's packages each may import. A package that
// is not here yet must be added: that is where its place is decided.
func layers() map[string][]string {
	middle := []string{"balancer", "balancer/session", "tenant"}
	logging := append(slices.Clone(middle), "journal")
	return map[string][]string{
		".":                {"cli"},
		"cli":              {"cli/demo", "proxy", "discovery", "discovery/probe", "standby", "autoscale", "admin", "config", "balancer", "balancer/session", "tenant", "tenant/directory", "journal"},
		"cli/demo":         {},
		"proxy":            logging,
		"discovery":        middle,
		"discovery/probe":  {"balancer"},
		"standby":          {"balancer", "balancer/session", "tenant"},
		"autoscale":        middle,
		"admin":            logging,
		"config":           {"proxy", "discovery", "standby", "autoscale", "admin", "balancer", "balancer/session", "tenant", "tenant/directory", "journal"}, // for their Config types
		"balancer":         {"balancer/session", "tenant"},
		"balancer/session": {},
		"journal":          {},
		"tenant":           {},
		"tenant/directory": {"tenant"},
	}
}

// homes says where each of these imports may stand, tests aside.
func homes() map[string][]string {
	return map[string][]string{
		"github.com/hashicorp/serf":       {"discovery"},
		"github.com/hashicorp/memberlist": {"discovery"},
		"gopkg.in/yaml.v3":                {"config"},
		"github.com/spf13/cobra":          {"cli", "cli/demo"},
		"github.com/valyala/fasthttp":     {"proxy", "discovery", "discovery/probe", "autoscale", "cli", "cli/demo", "admin"},
		"net/http":                        {"admin", "cli", "cli/demo", "discovery", "autoscale", "proxy", "tenant/directory"},
		"database/sql":                    {"tenant/directory"},
	}
}

// source is one parsed Go file of the module.
type source struct {
	pkg  string // folder, "." is the root
	name string
	file *ast.File
	fset *token.FileSet
}

func (s source) isTest() bool   { return strings.HasSuffix(s.name, "_test.go") }
func (s source) inTests() bool  { return s.pkg == "test" || strings.HasPrefix(s.pkg, "test/") }
func (s source) String() string { return path.Join(s.pkg, s.name) }
func (s source) line(p token.Pos) string {
	return s.String() + ":" + strconv.Itoa(s.fset.Position(p).Line)
}

func sources(t *testing.T) []source {
	t.Helper()
	root := ".."
	var all []source
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, own := os.Stat(filepath.Join(file, "go.mod"))
			hidden := strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata"
			if rel != "." && (hidden || own == nil) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(filepath.Dir(rel)), d.Name(), f, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLayering(t *testing.T) {
	layers, homes := layers(), homes()
	for _, s := range sources(t) {
		if s.isTest() && !s.inTests() {
			continue // a package's own tests may use what they like
		}
		allowed, known := layers[s.pkg]
		if !known && !s.inTests() {
			t.Errorf("%s: package %s has no place in the layers", s, s.pkg)
			continue
		}
		for _, imp := range s.file.Imports {
			target, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			inner, internal := strings.CutPrefix(target, module+"/")
			switch {
			case internal && s.inTests():
				if !strings.HasPrefix(inner, "test/") && !s.isTest() {
					t.Errorf("%s: a black-box test's tools import %s", s.line(imp.Pos()), target)
				}
			case internal && !slices.Contains(allowed, inner):
				t.Errorf("%s: %s imports %s; allowed are %v", s.line(imp.Pos()), s.pkg, inner, allowed)
			}
			for lib, where := range homes {
				in := target == lib || strings.HasPrefix(target, lib+"/")
				if in && !s.inTests() && !slices.Contains(where, s.pkg) {
					t.Errorf("%s: %s imports %s, which belongs to %v", s.line(imp.Pos()), s.pkg, target, where)
				}
			}
		}
	}
}

// TestNoHiddenState: no init, and no package-level variables but errors and
// embedded files.
func TestNoHiddenState(t *testing.T) {
	for _, s := range sources(t) {
		if s.inTests() || s.isTest() {
			continue
		}
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.Name == "init" && d.Recv == nil {
					t.Errorf("%s: init hides wiring", s.line(d.Pos()))
				}
			case *ast.GenDecl:
				if d.Tok == token.VAR {
					s.checkVars(t, d)
				}
			}
		}
	}
}

func (s source) checkVars(t *testing.T, d *ast.GenDecl) {
	t.Helper()
	for _, spec := range d.Specs {
		v := spec.(*ast.ValueSpec)
		embedded := strings.Contains(comments(d.Doc)+comments(v.Doc), "//go:embed")
		for i, name := range v.Names {
			var value ast.Expr
			if i < len(v.Values) {
				value = v.Values[i]
			}
			if name.Name != "_" && !embedded && !isError(name.Name, value) {
				t.Errorf("%s: package-level variable %s", s.line(name.Pos()), name.Name)
			}
		}
	}
}

// comments returns the text of a comment group with its directives.
func comments(g *ast.CommentGroup) string {
	if g == nil {
		return ""
	}
	var b strings.Builder
	for _, c := range g.List {
		b.WriteString(c.Text + "\n")
	}
	return b.String()
}

// isError reports whether a variable is a sentinel: errX = errors.New(...).
func isError(name string, value ast.Expr) bool {
	call, ok := value.(*ast.CallExpr)
	if !ok || !strings.HasPrefix(strings.ToLower(name), "err") {
		return false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := f.X.(*ast.Ident)
	return ok && (pkg.Name == "errors" && f.Sel.Name == "New" || pkg.Name == "fmt" && f.Sel.Name == "Errorf")
}

func TestPackageComments(t *testing.T) {
	commented := map[string]bool{}
	for _, s := range sources(t) {
		doc := s.file.Doc.Text() // without directives
		commented[s.pkg] = commented[s.pkg] || strings.TrimSpace(doc) != ""
	}
	for pkg, ok := range commented {
		if !ok {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}

// TestSerfVersion: the agent that black-box tests build is of the version
// that Jetway itself gossips with.
func TestSerfVersion(t *testing.T) {
	version := func(file string) string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`github\.com/hashicorp/serf (v\S+)`).FindSubmatch(b)
		if m == nil {
			t.Fatalf("%s does not require serf", file)
		}
		return string(m[1])
	}
	if own, tool := version("../go.mod"), version("tools/go.mod"); own != tool {
		t.Fatalf("go.mod has serf %s, test/tools/go.mod %s", own, tool)
	}
}
