package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"jetway/discovery"
)

func keygenCommand() *cobra.Command {
	c := group("keygen", "Make keys", keygenGossipCommand(), keygenCookieCommand(), keygenDomainCommand(), keygenTicketCommand(), keygenPeerCommand(), keygenAdminCommand())
	c.Example = "  jetway keygen gossip --out gossip.key\n  jetway keygen admin --out admin.tokens"
	return c
}

func keygenPeerCommand() *cobra.Command {
	return keyCommand("peer", "Make a key by which peers know each other", `Makes a random key of 32 bytes in base64, a line of standby.key_file. All load
balancers of an installation have the same file; whoever has it can be one of
them. To rotate, add the new key below the old one on all of them and restart
each, then put the new one first, then remove the old one.`, `  jetway keygen peer --out peer.key`)
}

func keygenAdminCommand() *cobra.Command {
	return keyCommand("admin", "Make a token of the admin API", `Makes a random token of 32 bytes in base64, a line of admin.token_file. A name in
front of it is shown in the audit log, the word "read" behind it keeps its
owner from changes. Commands find the token in that file, in --token-file or in
JETWAY_ADMIN_TOKEN.`, `  jetway keygen admin --out admin.tokens`)
}

func keygenTicketCommand() *cobra.Command {
	return keyCommand("ticket", "Make a key of TLS session tickets", `Makes a random key of 32 bytes in base64, a line of the ticket_key_file of a
listener. Load balancers that share the file resume each other's sessions. To
rotate, put a new key in front of the old one on all of them, and remove the
old one a day later; the file is read again when it changes.`, `  jetway keygen ticket --out tls/tickets.key`)
}

func keygenCookieCommand() *cobra.Command {
	return keyCommand("cookie", "Make a key of session cookies", `Makes a random key of 32 bytes in base64, a line of affinity.key_file. It seals
the cookies of affinity mode cookie and names the sessions of mode learn. Load
balancers that share the file keep each other's sessions. To rotate, put a new
key in front of the old one on all of them, and remove the old one when
affinity.timeout has passed; the file is read again when it changes.`, `  jetway keygen cookie --out cookie.key`)
}

func keygenGossipCommand() *cobra.Command {
	return keyCommand("gossip", "Make a key that encrypts gossip", `Makes a random key of 32 bytes in base64. Everybody in a gossip pool has the
same: Jetway (membership.gossip.key_file), "jetway member --key-file", and a
stock agent by "serf agent -encrypt".`, `  jetway keygen gossip --out gossip.key
  serf agent -encrypt "$(cat gossip.key)" -tag domain=as.shared.domain -tag http=9763`)
}

func keygenDomainCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "domain", Short: "Make a pair of keys that says who may serve a domain",
		Long: `Makes an Ed25519 key pair in PEM. Whoever has the private key signs members, by
"jetway member --sign-key-file" or "jetway sign"; load balancers have the public
one (require_signature: {public_key_file: domain.pub}) and give unsigned members
no requests. To rotate, put both public keys into the file, sign with the new
private key, and remove the old public key.`,
		Example: "  jetway keygen domain --out domain.key     # and domain.pub beside it",
		Args:    noCommand,
		RunE: func(c *cobra.Command, _ []string) error {
			private, public, err := discovery.NewDomainKey()
			if err != nil {
				return err
			}
			if out == "" {
				_, err := fmt.Fprint(c.OutOrStdout(), private, public)
				return err
			}
			other := strings.TrimSuffix(out, ".key") + ".pub"
			if err := writeNew(other, public); err != nil {
				return err
			}
			if err := writeNew(out, private); err != nil {
				os.Remove(other)
				return err
			}
			return os.Chmod(other, 0o644)
		},
	}
	c.Flags().StringVar(&out, "out", "", "write the private key to a new `file` that only you may read, and the public one beside it with the ending .pub, instead of printing")
	return c
}

// keyCommand makes 32 random bytes in base64, which is what all shared keys are.
func keyCommand(use, short, long, example string) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		Args: noCommand,
		RunE: func(c *cobra.Command, _ []string) error {
			key := discovery.NewKey()
			if out == "" {
				_, err := fmt.Fprintln(c.OutOrStdout(), key)
				return err
			}
			return writeNew(out, key+"\n")
		},
	}
	c.Flags().StringVar(&out, "out", "", "write a new `file` that only you may read, instead of printing")
	return c
}

// writeNew writes a file that must not be there yet: a key in use is not
// replaced by accident.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot write %q: there is one already; remove it first if nobody uses it", path)
	}
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	if _, err = f.WriteString(text); err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		os.Remove(path)
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	return nil
}
