package autoscale

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"jetway/balancer"
)

const (
	// webhookTries is how often one call posts an order; the Scaler makes
	// another call later where all of them failed.
	webhookTries = 3
	webhookPause = 500 * time.Millisecond // doubled each time
)

// webhookDriver posts orders to a service of the operator's.
type webhookDriver struct {
	cfg    WebhookConfig
	secret []byte
	http   *http.Client
}

func newWebhook(cfg WebhookConfig) (*webhookDriver, error) {
	d := &webhookDriver{cfg: cfg, secret: []byte(cfg.Secret)}
	if cfg.SecretFile != "" {
		b, err := readFileMost(cfg.SecretFile, 1<<16)
		if err != nil {
			return nil, fmt.Errorf("cannot read the secret: %w", err)
		}
		d.secret = bytes.TrimSpace(b)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxConnsPerHost: 8, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: cfg.Timeout, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read the authorities: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cannot use %q: it holds no certificate", cfg.CAFile)
		}
	}
	d.http = &http.Client{Transport: transport, Timeout: cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }} // an order goes nowhere else
	return d, nil
}

func (d *webhookDriver) Start(ctx context.Context, o Order) ([]string, error) {
	out, err := d.post(ctx, o)
	if err != nil {
		return nil, err
	}
	return memberNames(out), nil
}

func (d *webhookDriver) Stop(ctx context.Context, o Order) error {
	_, err := d.post(ctx, o)
	return err
}

func (d *webhookDriver) List(ctx context.Context, key balancer.Key) (Listing, error) {
	if !d.cfg.List {
		return Listing{}, ErrNoList
	}
	o := newOrder(key, ActionList, 0)
	o.ID = ""
	out, err := d.post(ctx, o)
	if err != nil {
		return Listing{}, err
	}
	return parseListing(out)
}

// post posts an order until it is answered, a few times.
func (d *webhookDriver) post(ctx context.Context, o Order) (out []byte, err error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("BUG: an order that is no JSON: %w", err)
	}
	pause := webhookPause
	for try := 1; ; try++ {
		var again bool
		if out, again, err = d.postOnce(ctx, &o, body); err == nil || !again {
			return out, err
		}
		if try == webhookTries {
			return nil, fmt.Errorf("%w: %w", err, ErrUnsure)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ErrUnsure)
		case <-time.After(pause):
			pause *= 2
		}
	}
}

// postOnce posts an order. again tells that it may not have arrived.
func (d *webhookDriver) postOnce(ctx context.Context, o *Order, body []byte) (out []byte, again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return nil, false, fmt.Errorf("cannot post to the webhook: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "jetway")
	if o.ID != "" {
		req.Header.Set("Idempotency-Key", o.ID)
	}
	if len(d.secret) > 0 {
		at := strconv.FormatInt(time.Now().Unix(), 10)
		req.Header.Set("X-Jetway-Timestamp", at)
		req.Header.Set("X-Jetway-Signature", "sha256="+signature(d.secret, at, body))
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return nil, true, fmt.Errorf("cannot post to the webhook: %w", err)
	}
	defer resp.Body.Close()
	out, err = io.ReadAll(io.LimitReader(resp.Body, outputMax))
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		if err != nil {
			return nil, true, fmt.Errorf("cannot read the webhook's answer: %w", err)
		}
		return out, false, nil
	case o.Action == ActionStop && (code == http.StatusNotFound || code == http.StatusGone):
		return nil, false, nil // it is gone already
	case code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout:
		return nil, true, fmt.Errorf("the webhook answers %d", code)
	default:
		said := strings.ToValidUTF8(string(out[:min(len(out), 200)]), "?")
		return nil, false, fmt.Errorf("the webhook answers %d: %s", code, strings.TrimSpace(said))
	}
}

// signature is the HMAC-SHA256 of the time, a dot and the body, in hexadecimal:
// the time is signed too, so that an order that was overheard cannot be used
// later.
func signature(secret []byte, at string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(at))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}
