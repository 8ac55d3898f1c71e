package discovery

import (
	"slices"
	"strconv"
	"strings"
)

// isDomain takes dotted labels; case matters as it does in the configuration.
func isDomain(s string) bool {
	return len(s) <= domainMax && all(strings.Split(s, "."), isLabel)
}

// isLabel takes letters, digits, - and _; it neither begins nor ends with -.
func isLabel(s string) bool {
	if s == "" || len(s) > labelMax || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// isID takes printable ASCII: an id stands in cookies, logs and URLs.
func isID(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= nameMax
}

func isState(s string) bool { return s == stateUp || s == stateDraining }

func all(list []string, valid func(string) bool) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !valid(s) })
}

// parseNumber takes the one canonical spelling of a number in a range.
func parseNumber(s string, low, high int) (int, bool) {
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high || strconv.Itoa(n) != s {
		return 0, false
	}
	return n, true
}

// encodedSize is what tags take on the wire: a magic byte and a map in the
// MessagePack dialect of Serf, which knows strings of up to 31 and up to 65535
// bytes. A test compares it with the library's.
func encodedSize(tags map[string]string) int {
	length := func(s string) int {
		if len(s) < 32 {
			return 1 + len(s)
		}
		return 3 + len(s)
	}
	n := 2
	if len(tags) > 15 {
		n += 2
	}
	for name, value := range tags {
		n += length(name) + length(value)
	}
	return n
}
