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
	Name     string // lower case, see ValidName
	ID       ID
	Inactive bool
	Plan     string // "": none
}

// List is a directory held whole in memory. Immutable.
type List struct {
	tenants map[string]Facts
}

// NewList builds the directory. Names are lower-cased; a bad name, a name or
// an id that stands twice, and an id below 1 are errors that name the entry.
// numbers may be nil where no entry has a plan.
func NewList(entries []Entry, numbers *Plans) (*List, error) {
	l := &List{tenants: make(map[string]Facts, len(entries))}
	for i := range entries {
		e := &entries[i]
		name := strings.ToLower(e.Name)
		if err := checkEntry(name, e.ID); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		l.tenants[name] = Facts{ID: e.ID, Inactive: e.Inactive, Plan: numbers.Number(e.Plan)}
		if len(l.tenants) != i+1 {
			return nil, fmt.Errorf("entry %d: tenant %q stands twice", i+1, name)
		}
	}
	if twice := repeatedID(entries); twice != nil {
		return nil, twice
	}
	return l, nil
}

// repeatedID finds two entries with one id.
func repeatedID(entries []Entry) error {
	first := make(map[ID]int32, len(entries))
	for i := range entries {
		e := &entries[i]
		if j, ok := first[e.ID]; ok {
			return fmt.Errorf("entry %d: tenants %q and %q have the same id %d", i+1,
				strings.ToLower(entries[j].Name), strings.ToLower(e.Name), e.ID)
		}
		first[e.ID] = int32(i)
	}
	return nil
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

// Lookup implements Directory; it never has to ask.
func (l *List) Lookup(name []byte, _ int64) (Facts, Outcome) {
	if l == nil {
		return Facts{}, Unknown
	}
	f, ok := l.tenants[string(name)]
	switch {
	case !ok:
		return f, Unknown
	case f.Inactive:
		return f, Inactive
	}
	return f, Known
}

// Ask implements Directory.
func (l *List) Ask(name []byte) (Facts, Outcome) { return l.Lookup(name, 0) }

// Len returns the number of tenants.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	return len(l.tenants)
}

// Lost returns how many tenants of l are not in next.
func (l *List) Lost(next *List) int {
	lost := 0
	if l == nil {
		return 0
	}
	for name := range l.tenants {
		if _, ok := next.tenants[name]; !ok {
			lost++
		}
	}
	return lost
}

// columns are where the fields of a CSV line stand; -1: nowhere.
type columns struct{ active, plan int }

// ReadCSV reads lines of name, id, active and plan; the last two may be left
// out. Lines that begin with "#" are comments. A first line "name,id,..." is a
// header that says what the further columns are; those that it calls neither
// active nor plan are ignored. Errors name the line. It reads to the end; the
// caller bounds the size.
func ReadCSV(r io.Reader) ([]Entry, error) {
	c := csv.NewReader(r)
	c.FieldsPerRecord, c.ReuseRecord, c.Comment, c.TrimLeadingSpace = -1, true, '#', true
	var entries []Entry
	cols := columns{active: 2, plan: 3}
	for first := true; ; first = false {
		rec, err := c.Read()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, err // csv names line and column
		}
		if first {
			rec[0] = strings.TrimPrefix(rec[0], "\ufeff")
		}
		if first && len(rec) > 1 && strings.EqualFold(rec[0], "name") && strings.EqualFold(strings.TrimSpace(rec[1]), "id") {
			cols = header(rec)
			continue
		}
		e, err := cols.entry(rec)
		if err != nil {
			line, _ := c.FieldPos(0)
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		entries = append(entries, e)
	}
}

// header finds the columns by name.
func header(rec []string) columns {
	cols := columns{-1, -1}
	for i := 2; i < len(rec); i++ {
		switch strings.ToLower(strings.TrimSpace(rec[i])) {
		case "active":
			cols.active = i
		case "plan":
			cols.plan = i
		}
	}
	return cols
}

func (c columns) entry(rec []string) (Entry, error) {
	if len(rec) < 2 {
		return Entry{}, fmt.Errorf("%q has no id; expected name,id", rec[0])
	}
	id, err := parseID(strings.TrimSpace(rec[1]))
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Name: strings.ToLower(strings.TrimSpace(rec[0])), ID: id}
	if c.active >= 0 && c.active < len(rec) {
		active, err := ParseActive(strings.TrimSpace(rec[c.active]))
		if err != nil {
			return Entry{}, err
		}
		e.Inactive = !active
	}
	if c.plan >= 0 && c.plan < len(rec) {
		e.Plan = strings.Clone(strings.TrimSpace(rec[c.plan]))
	}
	return e, checkEntry(e.Name, id)
}

// ParseActive reads whether a tenant is active, as people and databases write
// it; nothing is yes.
func ParseActive(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "", "1", "true", "t", "yes", "y", "active":
		return true, nil
	case "0", "false", "f", "no", "n", "inactive":
		return false, nil
	}
	return false, fmt.Errorf("%q does not say whether the tenant is active; expected true or false", s)
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
