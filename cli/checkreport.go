package cli

import (
	"errors"
	"io"

	"jetway/config"
)

// CheckReport is what "check" finds in a configuration, for programs.
type CheckReport struct {
	Schema   int       `json:"schema_version"`
	File     string    `json:"file"`
	OK       bool      `json:"ok"` // what the exit code says: no errors, and no warnings where they are fatal
	Errors   []Finding `json:"errors"`
	Warnings []Finding `json:"warnings"`
}

// Finding is one thing that is wrong, or probably not what was meant.
type Finding struct {
	File     string `json:"file"`
	Line     int    `json:"line,omitempty"`   // from 1; 0: the file as a whole
	Column   int    `json:"column,omitempty"` // in characters, from 1
	Key      string `json:"key,omitempty"`    // such as "membership.static[0].host"; empty: the file as a whole, or no YAML
	Message  string `json:"message"`
	Expected string `json:"expected,omitempty"` // what would have been right
}

func findings(problems []config.Problem) []Finding {
	list := make([]Finding, 0, len(problems))
	for _, p := range problems {
		list = append(list, Finding{p.File, p.Line, p.Column, p.Key, p.What, p.Expected})
	}
	return list
}

// reportCheck is check with a report in JSON instead of words.
func reportCheck(file string, strict bool, stdout io.Writer) error {
	cfg, err := examine(file)
	r := CheckReport{Schema: 1, File: file, Errors: []Finding{}, Warnings: []Finding{}}
	if cfg != nil {
		r.Warnings = findings(cfg.Warnings)
	}
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		r.Errors = findings(problems)
	case err != nil:
		r.Errors = []Finding{{File: file, Message: err.Error()}}
	}
	r.OK = err == nil && !(strict && len(r.Warnings) > 0)
	if err := printJSON(stdout, &r); err != nil {
		return err
	}
	if !r.OK {
		return errSaid
	}
	return nil
}
