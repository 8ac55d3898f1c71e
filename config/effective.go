package config

import (
	"slices"
	"strings"
)

// ParseEffective reads what Print of another process wrote. Its secrets are
// masked there: what is wrong on a line with one is no problem. Nothing that
// it names is opened.
func ParseEffective(file string, data []byte) (*Config, error) {
	c, d := decodeFile(file, data, nil)
	lines := strings.Split(string(data), "\n")
	problems := slices.DeleteFunc(d.problems, func(p Problem) bool {
		return p.Line > 0 && p.Line <= len(lines) && strings.Contains(lines[p.Line-1], mask)
	})
	if len(problems) > 0 {
		return nil, problems.sorted()
	}
	return c, nil
}
