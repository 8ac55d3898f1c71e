package directory

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"jetway/tenant"
)

const (
	// answerMax bounds the body of an answer, headMax its head.
	answerMax = 64 << 10
	headMax   = 32 << 10
	// tenantMark stands for the name in the URL.
	tenantMark = "{tenant}"
)

// service is a Source that asks by GET.
type service struct {
	url    string
	token  string
	client *http.Client
}

func openHTTP(cfg HTTP, cache tenant.CacheConfig) (*service, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	verify := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read ca_file: %w", err)
		}
		verify.RootCAs = x509.NewCertPool()
		if !verify.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cannot use ca_file %q: it holds no certificate", cfg.CAFile)
		}
	}
	most := cache.Concurrency + 8 // those of refreshes too
	dialer := net.Dialer{Timeout: max(10*cache.Timeout, time.Second)}
	return &service{url: cfg.URL, token: cfg.Token, client: &http.Client{
		// Somewhere else is not what the operator named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: verify, TLSHandshakeTimeout: dialer.Timeout,
			MaxConnsPerHost: most, MaxIdleConns: most, MaxIdleConnsPerHost: most, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: headMax, DisableCompression: true},
	}}, nil
}

// Check reports what is wrong with the configuration.
func (c *HTTP) Check() error {
	u, err := url.Parse(strings.ReplaceAll(c.URL, tenantMark, "t"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return errors.New("cannot use the URL; expected http:// or https://, a host and a path, such as \"https://directory.example.com/tenants/{tenant}\"")
	}
	before, _, ok := strings.Cut(c.URL, tenantMark)
	if _, rest, _ := strings.Cut(before, "://"); !ok || !strings.ContainsAny(rest, "/?") {
		return errors.New("cannot use the URL; expected {tenant} in its path or query")
	}
	if strings.ContainsAny(c.Token, "\r\n\x00") {
		return errors.New("cannot use the token; expected one line")
	}
	return nil
}

// target puts a name into the URL, escaped for where it stands.
func (s *service) target(name string) string {
	var b strings.Builder
	query := false
	for rest := s.url; ; {
		before, after, more := strings.Cut(rest, tenantMark)
		query = query || strings.Contains(before, "?")
		b.WriteString(before)
		switch {
		case !more:
			return b.String()
		case query:
			b.WriteString(url.QueryEscape(name))
		default:
			b.WriteString(url.PathEscape(name))
		}
		rest = after
	}
}

// Close implements Source.
func (s *service) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Lookup implements tenant.Source: 200 with {"id": 42, "active": true, "plan":
// "gold"} is a tenant, the latter two if there are any; 404 is none.
func (s *service) Lookup(ctx context.Context, name string) (tenant.Entry, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.target(name), nil)
	if err != nil {
		return tenant.Entry{}, err
	}
	req.Header.Set("Accept", "application/json")
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return tenant.Entry{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, answerMax+1))
	switch {
	case err != nil:
		return tenant.Entry{}, err
	case res.StatusCode == http.StatusNotFound:
		return tenant.Entry{}, tenant.ErrNotFound
	case res.StatusCode != http.StatusOK:
		return tenant.Entry{}, fmt.Errorf("the directory answered %d", res.StatusCode)
	case len(body) > answerMax:
		return tenant.Entry{}, garbage("more than %d KiB", answerMax>>10)
	}
	return parseEntry(name, body)
}

// answer is what the service says of a tenant. Other keys are ignored.
type answer struct {
	ID     *json.Number `json:"id"`
	Name   *string      `json:"name"`
	Active *bool        `json:"active"`
	Plan   string       `json:"plan"`
}

func parseEntry(name string, body []byte) (tenant.Entry, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return tenant.Entry{}, garbage("%v", err)
	}
	if a.ID == nil {
		return tenant.Entry{}, garbage("no id")
	}
	id, err := a.ID.Int64()
	if err != nil {
		return tenant.Entry{}, garbage("the id is %q", a.ID.String())
	}
	if a.Name != nil && !strings.EqualFold(*a.Name, name) {
		return tenant.Entry{}, garbage("asked for one tenant, told of another")
	}
	return tenant.Entry{Name: name, ID: tenant.ID(id), Plan: a.Plan, Inactive: a.Active != nil && !*a.Active}, nil
}
