package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"jetway/balancer"
)

// LocalCheck is how the agent finds out whether the application beside it
// works. The zero value checks nothing.
type LocalCheck struct {
	Type     string // "", "tcp" or "http"
	Port     uint16 // default: the member's http port, else https, else the first mapped one
	Host     string // default: the member's host, else 127.0.0.1
	Path     string // of "http"; default "/"; any answer of 200 to 399 is good
	Interval time.Duration
	Timeout  time.Duration
	Fall     int // failures in a row until it is down; default 3
	Rise     int // good ones in a row until it is up again; default 2; the first of all counts at once
}

const (
	localInterval = 2 * time.Second
	localTimeout  = time.Second
	localRecheck  = time.Second // without a check: until one may have been configured
)

// prepare fills in defaults and refuses what cannot be.
func (c *LocalCheck) prepare(m *balancer.Member) error {
	switch c.Type {
	case "":
		*c = LocalCheck{}
		return nil
	case "tcp", "http":
	default:
		return fmt.Errorf("cannot use check %q: expected tcp or http", clip(c.Type))
	}
	if c.Port == 0 {
		if some := ports(m); len(some) > 0 {
			c.Port = firstOf(m.HTTP, m.HTTPS, some[0])
		}
	}
	if c.Host == "" {
		c.Host = m.Host
	}
	if c.Host == "" {
		c.Host = "127.0.0.1"
	}
	if c.Path == "" {
		c.Path = "/"
	}
	if u, err := url.ParseRequestURI(c.Path); err != nil || !strings.HasPrefix(c.Path, "/") || u.Host != "" {
		return fmt.Errorf("cannot use path %q of the check: expected one that begins with /", clip(c.Path))
	}
	standard := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	standard(&c.Interval, localInterval)
	standard(&c.Timeout, localTimeout)
	if c.Fall <= 0 {
		c.Fall = 3
	}
	if c.Rise <= 0 {
		c.Rise = 2
	}
	return nil
}

// String is the check as it stands in logs.
func (c LocalCheck) String() string {
	address := net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
	if c.Type == "http" {
		return "http://" + address + c.Path
	}
	return c.Type + " " + address
}

// once checks, on a connection of its own; nil: the application works.
func (c *LocalCheck) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	address := net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
	dial := func(string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}
	if c.Type == "tcp" {
		conn, err := dial(address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	req.SetRequestURI("http://" + address + c.Path)
	req.Header.SetUserAgent("jetway-member")
	req.SetConnectionClose()
	client := fasthttp.HostClient{Addr: address, Dial: dial, StreamResponseBody: true, MaxIdemponentCallAttempts: 1}
	deadline, _ := ctx.Deadline()
	err := client.DoDeadline(req, resp, deadline)
	if errors.Is(err, fasthttp.ErrTimeout) {
		return fmt.Errorf("no answer within %s", c.Timeout) // both are still in use
	}
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	if err != nil {
		return err
	}
	if status := resp.StatusCode(); status < 200 || status > 399 {
		return fmt.Errorf("it answered %d; expected 200 to 399", status)
	}
	return nil
}
