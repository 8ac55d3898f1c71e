package tenant

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Entry is one tenant of the directory.
type Entry struct {
	Name string // lower case, see ValidName
	ID   ID
}

// List is a directory held whole in memory: name -> id. Immutable.
type List struct {
	ids map[string]ID
}

// NewList builds the directory. Names are lower-cased; a bad name, a name or
// an id that stands twice, and an id below 1 are errors that name the entry.
func NewList(entries []Entry) (*List, error) {
	l := &List{ids: make(map[string]ID, len(entries))}
	names := make(map[ID]string, len(entries))
	for i, e := range entries {
		name := strings.ToLower(e.Name)
		if err := checkEntry(name, e.ID); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		if _, ok := l.ids[name]; ok {
			return nil, fmt.Errorf("entry %d: tenant %q stands twice", i+1, name)
		}
		if other, ok := names[e.ID]; ok {
			return nil, fmt.Errorf("entry %d: tenants %q and %q have the same id %d", i+1, other, name, e.ID)
		}
		l.ids[name], names[e.ID] = e.ID, name
	}
	return l, nil
}

func checkEntry(name string, id ID) error {
	if !ValidName(name) {
		return fmt.Errorf("%q is not a tenant name; expected letters, digits, dots, hyphens and underscores, beginning with a letter or digit, at most %d", name, MaxName)
	}
	if id < 1 || id > maxID {
		return fmt.Errorf("tenant %q has the id %d; expected a number from 1 to %d", name, id, int64(maxID))
	}
	return nil
}

// Lookup returns the id of a lower-case name.
func (l *List) Lookup(name []byte) (ID, bool) {
	if l == nil {
		return 0, false
	}
	id, ok := l.ids[string(name)]
	return id, ok
}

// Len returns the number of tenants.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	return len(l.ids)
}

// ReadCSV reads "name,id" lines; further columns are ignored, lines that
// begin with "#" are comments, and a first line "name,id" is a header.
// Errors name the line. It reads to the end; the caller bounds the size.
func ReadCSV(r io.Reader) ([]Entry, error) {
	c := csv.NewReader(r)
	c.FieldsPerRecord, c.ReuseRecord, c.Comment, c.TrimLeadingSpace = -1, true, '#', true
	var entries []Entry
	for first := true; ; first = false {
		rec, err := c.Read()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, err // csv names line and column
		}
		line, _ := c.FieldPos(0)
		if first {
			rec[0] = strings.TrimPrefix(rec[0], "\ufeff")
		}
		if len(rec) < 2 {
			return nil, fmt.Errorf("line %d: %q has no id; expected name,id", line, rec[0])
		}
		if first && strings.EqualFold(rec[0], "name") && strings.EqualFold(strings.TrimSpace(rec[1]), "id") {
			continue
		}
		id, err := parseID(strings.TrimSpace(rec[1]))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		name := strings.ToLower(strings.TrimSpace(rec[0]))
		if err := checkEntry(name, id); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		entries = append(entries, Entry{Name: name, ID: id})
	}
}

// ValidName reports whether name, already in lower case, is of the grammar of
// tenant names: [a-z0-9][a-z0-9._-]{0,252}, without an empty label ("..").
func ValidName[T string | []byte](name T) bool {
	b := []byte(name)
	if len(b) == 0 || len(b) > MaxName || b[0] == '.' || b[0] == '-' || b[0] == '_' {
		return false
	}
	for _, c := range b {
		if !nameByte(c) {
			return false
		}
	}
	return !bytes.Contains(b, []byte(".."))
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_'
}
