package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"jetway/discovery"
)

// pemMax bounds certificate and key files.
const pemMax = 1 << 20

// The checks of this file look into what the configuration names, so that a
// bad file is found by "check" and not by the first request. Their errors
// continue a sentence that begins with the name of the file.

func checkReadable(path string) error {
	_, err := readSmall(path)
	return err
}

// readSmall reads a file of at most pemMax.
func readSmall(path string) ([]byte, error) {
	data, err := readFileMax(path, pemMax)
	switch {
	case err != nil:
		return nil, unreadable(err)
	case len(data) > pemMax:
		return nil, fmt.Errorf("is larger than %d KiB; expected a smaller file", pemMax>>10)
	}
	return data, nil
}

func unreadable(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("cannot be read: %w; expected a readable file", err)
}

// checkPair parses a certificate with its key, if both can be read; a key that
// cannot is reported where it stands.
func checkPair(certFile, keyFile string) error {
	cert, err := readSmall(certFile)
	if err != nil {
		return err
	}
	key, err := readSmall(keyFile)
	if err != nil {
		return nil
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return fmt.Errorf("cannot be used with its key: %w; expected a certificate and the key that belongs to it, both in PEM form", err)
	}
	return nil
}

func checkCertificates(path string) error {
	data, err := readSmall(path)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(data) {
		err = errors.New("holds no certificate; expected one or several in PEM form")
	}
	return err
}

func checkGossipKey(path string) error {
	data, err := readSmall(path)
	if err != nil {
		return err
	}
	_, err = discovery.ParseKeys(data)
	return err
}

func checkDomainKey(path string) error {
	data, err := readSmall(path)
	if err != nil {
		return err
	}
	return discovery.CheckDomainPublicKeys(data)
}

// checkDirectory looks whether the tenants file is there; Routing reads it.
func checkDirectory(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return unreadable(err)
	}
	if info.IsDir() {
		return errors.New("is a directory; expected a tenants file")
	}
	return nil
}
