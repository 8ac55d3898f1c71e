package traffic

import (
	"fmt"
	"testing"
)

// TestHash: requests alike in what the policy goes by reach one member each
// time, however the name of a header field is written, and others another.
func TestHash(t *testing.T) {
	f := func(by, path, field string) {
		t.Helper()
		members, ports := group(t, 4, nil)
		b := startBench(t, options{service: fmt.Sprintf("    balance: {hash: %q}\n", by)}, ports...)
		used := map[int]bool{}
		for key := range 8 {
			for range 3 {
				b.quiet(t) // one that is still counted as in flight would put the next over the bound
				request := head(fmt.Sprintf("GET "+path+" HTTP/1.1", key), "Host: lb.test", fmt.Sprintf(field, key))
				if status := b.ask(t, request, "GET"); status != 200 {
					t.Errorf("%s: answered %d", by, status)
				}
			}
			at := 0
			for i, m := range members {
				if n := len(m.Take()); n > 0 {
					at++
					used[i] = true
				}
			}
			if at != 1 {
				t.Errorf("%s: 3 requests with key %d reached %d members", by, key, at)
			}
		}
		if len(used) < 2 {
			t.Errorf("%s: 8 keys reached %d of 4 members", by, len(used))
		}
	}
	f("path", "/a/%d", "X-User: same%.0d")
	f("header:X-User", "/a%.0d", "X-User: u%d")
	f("header:x-user", "/a%.0d", "X-USER: u%d")
}
