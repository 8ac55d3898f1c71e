package cli

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"jetway/config"
)

// trustFlags gives a command the flags that say who asks, and whom it believes.
func (cl *client) trustFlags(c *cobra.Command, when string) {
	c.Flags().StringVar(&cl.tokenFile, "token-file", "", when+"`file` with the token to send (default: admin.token_file of the configuration file, else JETWAY_ADMIN_TOKEN)")
	c.Flags().StringVar(&cl.caFile, "ca", "", when+"PEM `file` of who signs the certificate of the admin API")
	c.Flags().StringVar(&cl.certFile, "cert", "", when+"PEM `file` of a client certificate, and its key unless --key is given")
	c.Flags().StringVar(&cl.keyFile, "key", "", when+"PEM `file` of the key of --cert")
}

// trust decides whom the client believes and as whom it comes. own is the
// admin section of the configuration that the address was taken from, zero
// where it was not.
func (cl *client) trust(own *config.Admin) error {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	switch {
	case cl.caFile != "":
		pem, err := os.ReadFile(cl.caFile)
		if err != nil {
			return fmt.Errorf("cannot read --ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("cannot use --ca %q: it holds no certificate", cl.caFile)
		}
	case own.CertFile != "":
		pinned, err := firstCertificate(own.CertFile)
		if err != nil {
			return fmt.Errorf("cannot use admin.tls.cert_file: %w", err)
		}
		// The one that the file names, whatever name was dialled: nothing else
		// on this machine has its key.
		t.InsecureSkipVerify = true
		t.VerifyConnection = func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !bytes.Equal(s.PeerCertificates[0].Raw, pinned) {
				return errors.New("its certificate is not the one that the configuration names")
			}
			return nil
		}
	}
	if cl.certFile != "" {
		key := cl.keyFile
		if key == "" {
			key = cl.certFile
		}
		pair, err := tls.LoadX509KeyPair(cl.certFile, key)
		if err != nil {
			return fmt.Errorf("cannot use --cert: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	// No proxies: what is on loopback is not theirs to ask.
	cl.http.Transport = &http.Transport{Proxy: nil, TLSClientConfig: t}
	return cl.findToken(own.TokenFile)
}

// findToken takes the first token of --token-file, of the environment, or of
// the configuration's own file where this user may read it.
func (cl *client) findToken(own string) error {
	file := cl.tokenFile
	if file == "" {
		if cl.token = os.Getenv("JETWAY_ADMIN_TOKEN"); cl.token != "" || own == "" {
			return nil
		}
		file = own
	}
	data, err := os.ReadFile(file)
	if err != nil {
		if cl.tokenFile == "" {
			return nil // the API will say that it wants to know
		}
		return fmt.Errorf("cannot read --token-file: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
			continue
		case len(words) == 1:
			cl.token = words[0]
		default:
			cl.token = words[1]
		}
		return nil
	}
	return fmt.Errorf("cannot use token file %q: it holds no token", file)
}

func firstCertificate(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return block.Bytes, nil
		}
	}
	return nil, errors.New("it holds no certificate")
}
