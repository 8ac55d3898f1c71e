package config

import "strings"

// expandError says why a value could not be expanded.
type expandError struct{ what, expected string }

// expand replaces ${NAME} and ${NAME:-default} in a value that YAML has
// already parsed, so that a variable never becomes structure. "$${" stands for
// "${"; any other "$" for itself. As in a shell, :- also replaces an empty
// variable.
func expand(s string, env func(string) (string, bool)) (text string, expanded bool, err *expandError) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), expanded, nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		inside, rest, closed := strings.Cut(s[i+2:], "}")
		name, standard, hasDefault := strings.Cut(inside, ":-")
		switch v, set := lookup(name, env); {
		case !closed || !variableName(name):
			return "", false, &expandError{quote(s[i:]) + " is not a variable", "${NAME} or ${NAME:-default}, or $${ for the two characters"}
		case hasDefault && v == "":
			b.WriteString(standard)
		case !set:
			return "", false, &expandError{"variable " + quote(name) + " is not set", "a value in the environment, or ${" + name + ":-default}"}
		default:
			b.WriteString(v)
		}
		expanded, s = true, rest
	}
}

func lookup(name string, env func(string) (string, bool)) (string, bool) {
	if env == nil || !variableName(name) {
		return "", false
	}
	return env(name)
}

func variableName(s string) bool {
	for i, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= '0' && c <= '9' && i > 0) {
			return false
		}
	}
	return s != ""
}

// escape is the inverse of expand for a value without variables.
func escape(s string) string { return strings.ReplaceAll(s, "${", "$${") }

// secret reports whether the name of a key says that its value must not be
// shown.
func secret(name string) bool {
	for _, word := range []string{"secret", "token", "password", "key", "dsn"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
