//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// What stands between these lines of a page is written by this program.
const (
	figuresBegin = "<!-- figures: written by go run ./test/bench -docs -->"
	figuresEnd   = "<!-- end of figures -->"
)

// writable reports before hours of work whether the page can take the figures.
func (f *flags) writable() error {
	b, err := os.ReadFile(f.docs)
	if err != nil {
		return fmt.Errorf("cannot read the page of -docs: %w", err)
	}
	_, err = insert(string(b), "")
	return err
}

// insert replaces what a page has between the two lines.
func insert(page, figures string) (string, error) {
	begin, end := strings.Index(page, figuresBegin), strings.Index(page, figuresEnd)
	if begin < 0 || end < begin {
		return "", errors.New("cannot find the lines of the page between which figures stand: " + figuresBegin)
	}
	return page[:begin+len(figuresBegin)] + "\n\n" + strings.TrimSpace(figures) + "\n\n" + page[end:], nil
}

// writeDocs puts the tables of a run into the page and its chart beside it.
func (f *flags) writeDocs(r *report, tables string) error {
	page, err := os.ReadFile(f.docs)
	if err != nil {
		return fmt.Errorf("cannot read the page of -docs: %w", err)
	}
	svg := strings.TrimSuffix(filepath.Base(f.docs), ".md") + ".svg"
	var b bytes.Buffer
	head, rest, _ := strings.Cut(tables, "\n## ")
	fmt.Fprintf(&b, "%s\n", strings.TrimPrefix(head, "# ")) // one heading of the first level is enough
	r.verdicts(&b)
	fmt.Fprintf(&b, "\n![CPU time per request, and what else was measured](%s)\n\n## %s", svg, rest)
	lower := strings.NewReplacer("\n### ", "\n#### ", "\n## ", "\n### ") // headings within the page's own
	text, err := insert(string(page), lower.Replace(b.String()))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(f.docs), svg), []byte(chart(r)), 0o644); err != nil {
		return fmt.Errorf("cannot write the chart: %w", err)
	}
	if err := os.WriteFile(f.docs, []byte(text), 0o644); err != nil {
		return fmt.Errorf("cannot write the figures: %w", err)
	}
	return nil
}
