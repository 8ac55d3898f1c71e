package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"jetway/journal"
	"jetway/proxy"
)

// accessLog decodes what is written about requests.
func (d *decoder) accessLog(o object, l *proxy.AccessLogConfig) {
	readLog(o, "path", &l.Path)
	read(o, "format", &l.Format, parseChoice(proxy.LogJSON, proxy.LogText))
	read(o, "sample", &l.Sample, parseNumber(1, 1_000_000))
	read(o, "min_status", &l.MinStatus, func(s string) (int, error) {
		n, err := parseNumber(0, 599)(s)
		if err != nil || n > 0 && n < 100 {
			return 0, errors.New("0 for all, or a status from 100 to 599")
		}
		return n, nil
	})
	read(o, "slow", &l.Slow, parseDuration)
	var query bool
	read(o, "query", &query, parseBool)
	l.HideQuery = !query
}

// readLog sets *p to the absolute name of a file that is written to, or to
// journal.Stdout, and has Load look whether that can be.
func readLog(o object, name string, p *string) {
	at := read(o, name, p, parseText)
	if at != nil && *p != "" && *p != journal.Stdout {
		o.d.resolveFile(at, p, checkLog)
	}
}

// checkLog reports why lines cannot be appended to a file. It makes none.
func checkLog(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return errors.New("is a directory; expected a file or named pipe, or - for standard output")
	case err == nil:
		return nil // opening it may change it, or wake a reader: that is for the start
	}
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("cannot be made: there is no directory %q; expected one that exists", dir)
	}
	return nil
}

func (c *Config) printAccessLog(p printer) {
	l := &c.Proxy.AccessLog
	p.text("path", l.Path)
	p.text("format", string(l.Format))
	p.plain("sample", l.Sample)
	p.plain("min_status", l.MinStatus)
	p.plain("slow", formatDuration(l.Slow))
	p.plain("query", !l.HideQuery)
}
