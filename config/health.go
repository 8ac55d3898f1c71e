package config

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"jetway/balancer"
)

// health decodes what is evidence against members.
func (d *decoder) health(o object, h *balancer.Health) {
	read(o, "type", &h.Type, parseChoice(balancer.CheckTCP, balancer.CheckHTTP, balancer.CheckTLS, balancer.CheckNone))
	read(o, "path", &h.Path, parseCheckPath)
	read(o, "host", &h.Host, parseHost)
	read(o, "status", &h.Status, parseStatus)
	read(o, "body", &h.Body, parseText)
	for _, name := range []string{"path", "host", "status", "body"} {
		if n, _ := o.find(name); n != nil && h.Type != balancer.CheckHTTP {
			d.problem(n, quote(name)+" is only for checks of type http, this is "+string(h.Type), "type: http")
		}
	}
	read(o, "interval", &h.Interval, parseCheckTime)
	read(o, "timeout", &h.Timeout, parseCheckTime)
	read(o, "fall", &h.Fall, parseNumber(1, 100))
	read(o, "rise", &h.Rise, parseNumber(1, 100))
	read(o, "failures", &h.Failures, parseNumber(0, 10000))
	read(o, "server_errors", &h.ServerErrors, parseBool)
	read(o, "max_ejected", &h.MaxEjected, parsePercent)
	read(o, "slow_start", &h.SlowStart, parseDuration)
}

func parseCheckTime(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && (d < 50*time.Millisecond || d > time.Hour) {
		err = errors.New("a duration from 50ms to 1h")
	}
	return d, err
}

func parseCheckPath(s string) (string, error) {
	if !strings.HasPrefix(s, "/") || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }) {
		return "", errors.New("a path that begins with / and has no spaces, such as /health?deep=1")
	}
	return s, nil
}

// parseStatus reads codes and ranges of them.
func parseStatus(s string) ([]balancer.StatusRange, error) {
	expected := errors.New("status codes and ranges, such as 200-299,404")
	var list []balancer.StatusRange
	for part := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			hi = lo
		}
		a, errA := strconv.Atoi(lo)
		b, errB := strconv.Atoi(hi)
		if errA != nil || errB != nil || a < 100 || b > 599 || a > b || len(lo) != 3 || len(hi) != 3 || len(list) == 20 {
			return nil, expected
		}
		list = append(list, balancer.StatusRange{Lo: a, Hi: b})
	}
	return slices.Clip(list), nil
}

func formatStatus(list []balancer.StatusRange) string {
	texts := make([]string, len(list))
	for i, r := range list {
		if texts[i] = strconv.Itoa(r.Lo); r.Hi != r.Lo {
			texts[i] += "-" + strconv.Itoa(r.Hi)
		}
	}
	return strings.Join(texts, ",")
}

func printHealth(p printer, h *balancer.Health) {
	p.text("type", string(h.Type))
	if h.Type == balancer.CheckHTTP {
		p.text("path", h.Path)
		p.text("host", h.Host)
		p.text("status", formatStatus(h.Status))
		p.text("body", h.Body)
	}
	p.plain("interval", formatDuration(h.Interval))
	p.plain("timeout", formatDuration(h.Timeout))
	p.plain("fall", h.Fall)
	p.plain("rise", h.Rise)
	p.plain("failures", h.Failures)
	p.plain("server_errors", h.ServerErrors)
	p.text("max_ejected", formatPercent(h.MaxEjected))
	p.plain("slow_start", formatDuration(h.SlowStart))
}
