package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"jetway/discovery"
)

func signCommand() *cobra.Command {
	var f memberFlags
	var keyFile string
	var valid time.Duration
	c := &cobra.Command{
		Use:   "sign",
		Short: "Sign a member with its domain's key",
		Long: `Prints the signature that lets a member serve where the load balancers require
one (require_signature). It covers the name in the pool, id, domain, sub-domains,
address and all ports, which must be given as the member announces them, and its
own expiry. "jetway member" takes it by --signature or --signature-file, a stock
agent as the tag sig. So the key need not be on the member's machine; where it
may be, "jetway member --sign-key-file" signs and renews by itself.

Exit codes: 0 it is signed, 1 it is not, 2 the command line is wrong.`,
		Example: `  serf agent -node=w1 -tag domain=as.shared.domain -tag http=9763 \
      -tag sig="$(jetway sign --key-file domain.key --node w1 --domain as.shared.domain --host 10.0.0.21 --http 9763)"
  jetway sign --key-file domain.key --file member.yaml --host 10.0.0.21 --valid 720h > member.sig`,
		Args: noCommand,
	}
	f.add(c)
	c.Flags().StringVar(&keyFile, "key-file", "", "`file` with the private key of the domain, as \"jetway keygen domain\" makes it (required)")
	c.Flags().DurationVar(&valid, "valid", 24*time.Hour, "how long the signature is good, at least 1m")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := f.load(c, func() (string, error) { return "", errors.New("it would be this machine's, not the member's") })
		if err != nil {
			return err
		}
		m := cfg.Announcement.Member
		_, notIP := netip.ParseAddr(m.Host)
		switch {
		case keyFile == "":
			err = errors.New("--key-file is missing")
		case valid < time.Minute:
			err = fmt.Errorf("cannot use --valid %s: expected at least 1m", valid)
		case notIP != nil:
			err = errors.New("--host is missing: the signature covers the IP address of the application")
		}
		if err != nil {
			return &usageError{err, c.CommandPath()}
		}
		key, exposed, err := discovery.ReadDomainKey(keyFile)
		if err != nil {
			return err
		}
		if exposed {
			fmt.Fprintf(c.ErrOrStderr(), "jetway: %q can be read by others; chmod 600 is enough\n", keyFile)
		}
		until := time.Now().Add(valid)
		signature, err := discovery.Sign(key, cfg.Node, m, until)
		if err != nil {
			return err
		}
		if c.ErrOrStderr() == os.Stderr && isTerminal(os.Stderr) {
			fmt.Fprintf(os.Stderr, "node %s, good until %s\n", printable(cfg.Node), until.UTC().Format(time.RFC3339))
		}
		_, err = fmt.Fprintln(c.OutOrStdout(), signature)
		return err
	}
	return c
}
