package cli

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCheckReport: the report in JSON has what the words say, and the exit
// code is the same.
func TestCheckReport(t *testing.T) {
	good := writeConf(t, goodConf)
	warns := writeConf(t, goodConf+"tenants: {unknown: refuse}\n")
	bad := writeConf(t, strings.Replace(goodConf, "http: 9763", "htp: 9763", 1)+"tenants: {identify: [{query: \"\"}]}\n")
	torn := writeConf(t, "loadbalancer: [\n")
	missing := filepath.Join(t.TempDir(), "none.conf")
	f := func(code int, file string, errors, warnings []string, args ...string) {
		t.Helper()
		var out, words, errs bytes.Buffer
		got := execute(append([]string{"check", "-c", file, "-o", "json"}, args...), &out, &errs)
		var r CheckReport
		if err := json.Unmarshal(out.Bytes(), &r); err != nil || got != code || r.Schema != 1 || r.File != file || r.OK != (code == 0) {
			t.Fatalf("%s %v = %d (%v), want %d:\n%s%s", file, args, got, err, code, &out, &errs)
		}
		if !strings.Contains(strings.Join(args, " "), "--against") && errs.Len() > 0 {
			t.Fatalf("%s: a report, and also %s", file, &errs)
		}
		if same := execute(append([]string{"check", "-c", file}, args...), &words, &words); same != code {
			t.Fatalf("%s %v = %d in words, %d in JSON", file, args, same, code)
		}
		keys := func(list []Finding) (keys []string) {
			for _, p := range list {
				keys = append(keys, p.Key)
				if p.Message == "" || !strings.Contains(words.String(), p.Message) || !strings.Contains(words.String(), p.Expected) {
					t.Fatalf("%+v is not what the words say: %s", p, &words)
				}
			}
			return keys
		}
		if e, w := keys(r.Errors), keys(r.Warnings); !slices.Equal(e, errors) || !slices.Equal(w, warnings) {
			t.Fatalf("%s: errors at %q, warnings at %q:\n%s", file, e, w, &out)
		}
	}
	f(0, good, nil, nil)
	f(0, warns, nil, []string{"tenants.unknown"})
	f(1, warns, nil, []string{"tenants.unknown"}, "-W")
	f(1, bad, []string{"membership.static[0]", "membership.static[0].htp", "tenants.identify[0].query"}, nil)
	f(1, bad, []string{"membership.static[0]", "membership.static[0].htp", "tenants.identify[0].query"}, nil, "--against", good)
	f(1, torn, []string{""}, nil)
	f(1, missing, []string{""}, nil)
	var out, errs bytes.Buffer
	if code := execute([]string{"check", "-c", good, "-o", "json", "--print"}, &out, &errs); code != 2 || out.Len() > 0 {
		t.Fatalf("both kinds of output: %d %s%s", code, &out, &errs)
	}
}
