package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jetway/admin"
)

func eventsCommand() *cobra.Command {
	var output outputFormat
	var follow bool
	var after uint64
	c := &cobra.Command{
		Use:   "events",
		Short: "Show what changed in a running Jetway",
		Long: `Shows the newest changes of state, oldest first: members that come, go and are
ejected, reloads, actions of operators. With -f it goes on as they happen, one
JSON object a line with -o json, until it is interrupted.`,
		Example: "  jetway events\n  jetway events -f\n  jetway events -f -o json | jq -r 'select(.event == \"member ejected\") | .fields.member'",
		Args:    noCommand,
	}
	cl := clientFlags(c)
	outputFlag(c, &output)
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens")
	c.Flags().Uint64Var(&after, "after", 0, "only those after the event of this `number`")
	c.RunE = func(c *cobra.Command, _ []string) error {
		path := fmt.Sprintf("/api/v1/events?after=%d", after)
		if follow {
			return cl.follow(c, path, output)
		}
		var v admin.EventList
		body, err := cl.ask(c.Context(), http.MethodGet, path, &v)
		if err != nil {
			return err
		}
		if output == outputJSON {
			_, err := c.OutOrStdout().Write(body)
			return err
		}
		for i := range v.Events {
			printEvent(c.OutOrStdout(), &v.Events[i])
		}
		return nil
	}
	return c
}

// follow prints events until the stream ends.
func (cl *client) follow(c *cobra.Command, path string, output outputFormat) error {
	req, err := http.NewRequestWithContext(c.Context(), http.MethodGet, cl.base+path, nil)
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", cl.base, err)
	}
	req.Header.Set("Accept", "text/event-stream")
	cl.sign(req)
	cl.http.Timeout = 0
	resp, err := cl.http.Do(req)
	if err != nil {
		return cl.unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, answerMax))
		if err != nil {
			return fmt.Errorf("cannot read the answer of %s: %w", cl.base, err)
		}
		return refusal(resp.StatusCode, text)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var e admin.Event
		switch {
		case output == outputJSON:
			fmt.Fprintln(c.OutOrStdout(), data)
		case json.Unmarshal([]byte(data), &e) == nil:
			printEvent(c.OutOrStdout(), &e)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("events of %s broke off: %w", cl.base, err)
	}
	return fmt.Errorf("events ended: Jetway at %s is stopping", cl.base)
}

func printEvent(w io.Writer, e *admin.Event) {
	at := e.Time
	if t, err := time.Parse(time.RFC3339, e.Time); err == nil {
		at = t.Local().Format("2006-01-02 15:04:05.000")
	}
	text := fmt.Sprintf("%s  %-5s  %s", at, e.Level, e.Event)
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		text += fmt.Sprintf("  %s=%v", name, e.Fields[name])
	}
	fmt.Fprintln(w, printable(text))
}
