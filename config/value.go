package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	"jetway/tenant"
)

// The parsers of this file return what they expected as the text of the
// error; the caller knows the value and its key.

// unit is a suffix of sizes; the first that divides a size prints it.
type unit struct {
	name string
	size int64
}

func sizeUnits() []unit {
	return []unit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}}
}

func parseSize(s string) (int64, error) {
	expected := errors.New("a size with a unit (B, KiB, MiB, GiB, KB, MB, GB), such as 32KiB")
	for _, u := range sizeUnits() {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil || int64(n) > (1<<40)/u.size {
			return 0, expected
		}
		return int64(n) * u.size, nil
	}
	return 0, expected
}

func formatSize(n int64) string {
	for _, u := range sizeUnits() {
		if n > 0 && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// parseDuration reads Go's syntax, a part in days in front of it allowed.
func parseDuration(s string) (time.Duration, error) {
	expected := errors.New("a duration with a unit (ms, s, m, h, d), such as 90s")
	const day = 24 * time.Hour
	var total time.Duration
	rest := s
	if digits, after, ok := strings.Cut(s, "d"); ok {
		days, err := strconv.ParseUint(digits, 10, 16)
		if err != nil {
			return 0, expected
		}
		total, rest = time.Duration(days)*day, after
	}
	if rest != "" || total == 0 && rest == s {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || !strings.ContainsAny(rest, "smh") || rest[0] == '+' || rest[0] == '-' {
			return 0, expected
		}
		total += min(d, 1000*day)
	}
	if total > 365*day {
		return 0, errors.New("a duration of at most 365d")
	}
	if total > 0 && total < time.Millisecond {
		return 0, errors.New("a duration of at least 1ms")
	}
	return total, nil
}

// parseWait reads a duration of a wait that must not be endless.
func parseWait(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && d == 0 {
		err = errors.New("a duration above 0s, since this wait must have an end")
	}
	return d, err
}

// formatDuration prints as Go does, without the parts that are zero.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// parsePercent reads whole hundredths of a percent, so that every value
// prints as it was read.
func parsePercent(s string) (float64, error) {
	digits, ok := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(f >= 0 && f <= 100) || strings.ContainsAny(digits, "eExXpP_+-") {
		return 0, errors.New("a percentage from 0% to 100%, such as 20%")
	}
	return math.Round(f*100) / 10000, nil
}

func formatPercent(f float64) string {
	return strconv.FormatFloat(math.Round(f*10000)/100, 'f', -1, 64) + "%"
}

func parseBool(s string) (bool, error) {
	if s != "true" && s != "false" {
		return false, errors.New("true or false")
	}
	return s == "true", nil
}

// parseNumber returns a parser of whole numbers from lo to hi.
func parseNumber(lo, hi int) func(string) (int, error) {
	return func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < lo || n > hi || strconv.Itoa(n) != s {
			return 0, fmt.Errorf("a whole number from %d to %d", lo, hi)
		}
		return n, nil
	}
}

// rateMax bounds rates: a step between two requests is at least a microsecond.
const rateMax = 1e6

// parseRate reads a number per second.
func parseRate(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || f > rateMax || f > 0 && f < 0.001 || strings.Trim(s, "0123456789.") != "" {
		return 0, errors.New("requests per second, 0 or from 0.001 to 1000000, such as 50 or 0.5")
	}
	return f, nil
}

func formatRate(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func parseTenant(s string) (string, error) {
	s = strings.ToLower(s)
	if !tenant.ValidName(s) {
		return "", errors.New("a tenant name of letters, digits, dots, hyphens and underscores")
	}
	return s, nil
}

func parsePort(s string) (uint16, error) {
	n, err := parseNumber(1, 65535)(s)
	if err != nil {
		return 0, errors.New("a port from 1 to 65535")
	}
	return uint16(n), nil
}

// parseChoice returns a parser of one word out of a few.
func parseChoice[T ~string](words ...T) func(string) (T, error) {
	return func(s string) (T, error) {
		expected := ""
		for i, w := range words {
			if s == string(w) {
				return w, nil
			}
			if i > 0 {
				expected += " or "
			}
			expected += string(w)
		}
		return "", errors.New(expected)
	}
}

// parseText accepts any one line.
func parseText(s string) (string, error) {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return "", errors.New("one line of printable text")
		}
	}
	if len(s) > textMax {
		return "", fmt.Errorf("at most %d bytes", textMax)
	}
	return s, nil
}

// textMax bounds what one line of text may hold.
const textMax = 4096

// nameMax leaves room for the longest host name with a port, the default name
// of some things.
const nameMax = 300

// parseName accepts what may name a thing: no blanks, no surprises in logs,
// labels and paths.
func parseName(s string) (string, error) {
	ok := s != "" && len(s) <= nameMax && s[0] != '-' && s[0] != '.'
	for _, c := range []byte(s) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._:[]-", c) >= 0)
	}
	if !ok {
		return "", errors.New("a name of letters, digits, dots, hyphens, underscores and colons, at most 300")
	}
	return s, nil
}

func hostPort(s string) (host string, port int, ok bool) {
	host, digits, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, false
	}
	port, err = parseNumber(0, 65535)(digits)
	return host, port, err == nil
}

// parseListen accepts an address to listen on; port 0 is any free port.
func parseListen(s string) (string, error) {
	host, _, ok := hostPort(s)
	if ok && host != "" {
		_, err := parseHost(host)
		ok = err == nil
	}
	if !ok {
		return "", errors.New(`an address and port to listen on, such as ":8280" or "10.0.0.4:8280"`)
	}
	return s, nil
}

// parseIPPort accepts an IP address and a port.
func parseIPPort(s string) (string, error) {
	host, _, ok := hostPort(s)
	if _, err := netip.ParseAddr(host); err != nil || !ok || strings.Contains(host, "%") {
		return "", errors.New(`an IP address and port, such as "10.0.0.4:7946"`)
	}
	return s, nil
}

// parseDial accepts where to connect to.
func parseDial(s string) (string, error) {
	host, port, ok := hostPort(s)
	if _, err := parseHost(host); err != nil || !ok || port == 0 {
		return "", errors.New(`a host and port, such as "10.0.0.5:7946"`)
	}
	return s, nil
}

// parseHost accepts an IP address or a host name to connect to.
func parseHost(s string) (string, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return a.String(), nil
	}
	if !hostName(s, true) {
		return "", errors.New("an IP address or host name, without port")
	}
	return s, nil
}

// hostName reports whether s is made of labels of letters, digits and hyphens
// (RFC 1123, 2.1), with underscores where they are allowed, and cannot be
// taken for an IPv4 address.
func hostName(s string, underscores bool) bool {
	if len(s) == 0 || len(s) > 253 || strings.Trim(s, "0123456789.") == "" {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' && underscores) {
				return false
			}
		}
	}
	return true
}

// parsePattern accepts a host pattern and returns it as it is matched: in
// lower case, IPv6 addresses in brackets and in their shortest form.
func parsePattern(s string) (string, error) {
	lower := strings.ToLower(s)
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(lower, "["), "]")); err == nil && a.Zone() == "" {
		if a.Is4() && lower == a.String() {
			return lower, nil
		}
		if a.Is6() {
			return "[" + a.String() + "]", nil
		}
	}
	name := strings.TrimPrefix(lower, "*.")
	switch {
	case hostName(name, false):
		return lower, nil
	case strings.Contains(s, "/"):
		return "", errors.New("a host name alone, without scheme and path")
	case strings.HasSuffix(name, ".") && hostName(strings.TrimSuffix(name, "."), false):
		return "", errors.New("the name without the dot at its end")
	case strings.Contains(s, "*"):
		return "", errors.New(`"*" only as the whole first label, such as "*.example.com"`)
	case strings.Contains(s, ":"):
		return "", errors.New("a host name without port")
	}
	return "", errors.New(`a host name such as "as.example.com", "*.example.com" or an IP address (names beyond ASCII in their xn-- form)`)
}

// parsePrefix accepts a network, or an address for a network of one.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, errors.New("an IP address or network, such as 10.0.0.0/8")
	}
	if p.Addr().Is4In6() {
		return p, errors.New("the IPv4 form of this network")
	}
	if p.Masked() != p {
		return p, fmt.Errorf("%s, or a longer prefix: the address has bits outside of the network", p.Masked())
	}
	return p, nil
}

// parseHeaderName accepts a header field that may carry the tenant; "" is none.
func parseHeaderName(s string) (string, error) {
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return "", errors.New("the name of a header field, such as X-Tenant-Id")
		}
	}
	switch strings.ToLower(s) {
	case "host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "via", "keep-alive",
		"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-request-id",
		"cookie", "set-cookie", "authorization", "expect", "content-type", "content-encoding", "proxy-connection":
		return "", errors.New("a header field of its own, such as X-Tenant-Id: this one has another meaning")
	}
	if len(s) > 64 {
		return "", errors.New("at most 64 letters")
	}
	return s, nil
}
