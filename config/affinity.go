package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"jetway/balancer"
	"jetway/balancer/session"
)

// standardAffinity is what no key has to say.
func standardAffinity(c *Config) balancer.Affinity {
	return balancer.Affinity{Timeout: c.SessionTimeout, Cookies: []string{"JSESSIONID", "PHPSESSID"}}
}

// affinity decodes how clients stay with their member.
func (d *serviceDecoder) affinity(o object, a *balancer.Affinity) {
	mode := read(o, "mode", &a.Mode, parseChoice(balancer.AffinityCookie, balancer.AffinityRoute, balancer.AffinityLearn,
		balancer.AffinitySource, balancer.AffinityNone))
	read(o, "timeout", &a.Timeout, parseSessionTimeout)
	read(o, "drain", &a.Drain, parseDuration)
	readFile(o, "key_file", &a.KeyFile, checkCookieKeys)
	cookies := readList(o, "cookies", &a.Cookies, parseCookieName)
	read(o, "strip_unknown", &a.StripUnknown, parseBool)
	read(o, "source", &a.Header, parseSource)
	own := o.section("cookie")
	read(own, "name", &a.Cookie.Name, parseStem)
	read(own, "path", &a.Cookie.Path, parseCookiePath)
	read(own, "same_site", &a.Cookie.SameSite, parseSameSite)
	read(own, "max_age", &a.Cookie.MaxAge, parseMaxAge)
	if learns := a.Mode == balancer.AffinityLearn || a.Mode == balancer.AffinityRoute; learns && len(a.Cookies) == 0 {
		at := mode
		if at == nil && cookies != nil {
			at = cookies[0]
		}
		if at == nil {
			at = o.node
		}
		d.problem(at, "mode "+string(a.Mode)+" goes by the application's session cookies, and cookies names none", "at least one, such as JSESSIONID")
	}
}

// checkAffinity wants a key that peers share where sessions depend on one.
func (d *decoder) checkAffinity(c *Config, clusters []clusterAt) {
	if c.Standby == nil || c.Standby.KeyFile != "" {
		return // alone, or the peers' key serves
	}
	for _, cl := range clusters {
		if m := cl.Affinity.Mode; cl.Affinity.KeyFile == "" && (m == balancer.AffinityCookie || m == balancer.AffinityLearn) {
			d.problem(cl.at, fmt.Sprintf("%s has affinity mode %s and peers, but no key that they share", cl.Key, m),
				"affinity.key_file, the same file on all of them (see jetway keygen cookie), or another mode")
		}
	}
}

func parseSessionTimeout(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && d < time.Second {
		err = errors.New("a duration of at least 1s")
	}
	return d, err
}

// parseMaxAge refuses what would be Max-Age=0 and so end the cookie at once.
func parseMaxAge(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && d > 0 && d < time.Second {
		err = errors.New("a duration of at least 1s, or 0s")
	}
	return d, err
}

// parseCookieName accepts a token (RFC 6265, 4.1.1).
func parseCookieName(s string) (string, error) {
	ok := s != "" && len(s) <= 128
	for _, c := range []byte(s) {
		ok = ok && c > ' ' && c < 0x7f && strings.IndexByte(`()<>@,;:\"/[]?={}`, c) < 0
	}
	if !ok {
		return "", errors.New("the name of a cookie, such as JSESSIONID")
	}
	return s, nil
}

func parseStem(s string) (string, error) {
	ok := s != "" && len(s) <= 64
	for _, c := range []byte(s) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_')
	}
	if !ok {
		return "", errors.New("letters, digits and underscores, such as JETWAY")
	}
	return s, nil
}

func parseCookiePath(s string) (string, error) {
	ok := strings.HasPrefix(s, "/") && len(s) <= 1024
	for _, c := range []byte(s) {
		ok = ok && c > ' ' && c < 0x7f && c != ';'
	}
	if !ok {
		return "", errors.New(`a path such as "/" or "/app"`)
	}
	return s, nil
}

// parseSameSite returns the word as it stands in a cookie (RFC 6265bis, 4.1.2.7).
func parseSameSite(s string) (string, error) {
	word, err := parseChoice("lax", "strict", "none")(s)
	if err != nil {
		return "", err
	}
	return strings.ToUpper(word[:1]) + word[1:], nil
}

// parseSource returns the header field, "" for the address.
func parseSource(s string) (string, error) {
	if s == "address" {
		return "", nil
	}
	name, ok := strings.CutPrefix(s, "header:")
	valid := ok && name != "" && len(name) <= 64
	for _, c := range []byte(name) {
		valid = valid && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}
	if !valid {
		return "", errors.New("address, or header: and the name of a header field, such as header:X-Device")
	}
	return strings.ToLower(name), nil
}

func checkCookieKeys(path string) error {
	data, err := readSmall(path)
	if err != nil {
		return err
	}
	_, err = session.ParseRing(data)
	return err
}

func printAffinity(p printer, a *balancer.Affinity) {
	p.text("mode", string(a.Mode))
	p.plain("timeout", formatDuration(a.Timeout))
	p.plain("drain", formatDuration(a.Drain))
	p.text("key_file", a.KeyFile)
	p.texts("cookies", a.Cookies)
	p.plain("strip_unknown", a.StripUnknown)
	source := "address"
	if a.Header != "" {
		source = "header:" + a.Header
	}
	p.text("source", source)
	own := p.section("cookie")
	own.text("name", a.Cookie.Name)
	own.text("path", a.Cookie.Path)
	own.text("same_site", strings.ToLower(a.Cookie.SameSite))
	own.plain("max_age", formatDuration(a.Cookie.MaxAge))
}
