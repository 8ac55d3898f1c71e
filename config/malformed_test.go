package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// base is the file that the malformed ones are made of; it is right.
const base = `loadbalancer:
  name: lb1
  listeners:
    - name: http
      address: ":8280"
  timeouts: {header: 10s}
  limits: {header_bytes: 32KiB}
membership:
  static:
    - {id: w1, domain: a, host: 10.0.0.1, http: 80}
services:
  app:
    domains:
      a:
        tenant_range: "1-10"
        hosts: [as.example.com]
      b:
        tenant_range: "*"
        hosts: [as.example.com]
`

// TestMalformed breaks base in one place per case: the first occurrence of old
// becomes text. The problem must stand at the exact position, and say what is
// needed to mend it.
func TestMalformed(t *testing.T) {
	if _, err := Parse("f", []byte(base), nil); err != nil {
		t.Fatalf("the base file is refused: %v", err)
	}
	classes := make(map[string]int)
	f := func(class, old, text, position, hint string) {
		t.Helper()
		classes[class]++
		if strings.Count(base, old) == 0 {
			t.Fatalf("%s: %q is not in the base file", class, old)
		}
		_, err := Parse("f", []byte(strings.Replace(base, old, text, 1)), nil)
		var problems Problems
		if !errors.As(err, &problems) {
			t.Fatalf("%s: got error %v, want problems", class, err)
		}
		for _, p := range problems {
			if fmt.Sprintf("%d:%d", p.Line, p.Column) == position && strings.Contains(p.String(), hint) {
				return
			}
		}
		t.Errorf("%s: want a problem at %s with %q, got\n%v", class, position, hint, err)
	}

	f("alias", `name: lb1`, "name: &a lb1\n  installation: *a", "3:17", `alias "*a" is not supported`)
	f("alias", `name: lb1`, "name: &a lb1", "2:9", `anchor "&a" is not supported`)
	f("alias", `services:`, bomb+"services:", "12:8", `alias "*a" is not supported`)
	f("alias", `      b:`, "      b: &b\n        <<: *b", "18:13", `alias "*b" is not supported`)

	f("unquoted star", `tenant_range: "*"`, `tenant_range: *`, "18:23", `expected quotes around it, as in "*"`)
	f("unquoted star", `[as.example.com]`, `[as.example.com, *.as.example.com]`, "16:33", `"*.as.example.com" is an alias to YAML; expected quotes`)
	f("unquoted star", `tenant_range: "*"`, `tenant_range: *,5`, "18:23", `expected quotes around it`)
	f("unquoted star", `[as.example.com]`, `[*example]`, "16:17", `"*example" is an alias to YAML; expected quotes`)

	f("duplicate key", `name: lb1`, "name: lb1\n  name: lb2", "3:3", `key "name" stands twice, first at line 2 column 3`)
	f("duplicate key", `      b:`, "      a:", "17:7", `key "a" stands twice, first at line 14 column 7`)
	f("duplicate key", `header: 10s`, `header: 10s, "header": 5s`, "6:27", `key "header" stands twice, first at line 6 column 14`)

	f("tab", `  name: lb1`, "\tname: lb1", "2:1", `a tab stands in the indentation; expected spaces`)
	f("tab", `      address`, "    \t address", "5:5", `a tab stands in the indentation; expected spaces`)
	f("tab", "        hosts", "\t\thosts", "16:1", `a tab stands in the indentation; expected spaces`)

	f("byte order mark", "loadbalancer:", "\xef\xbb\xbfloadbalancer:", "1:1", `byte order mark; expected plain UTF-8`)
	f("byte order mark", "loadbalancer:", "\xff\xfel\x00o\x00", "1:1", `the file is UTF-16; expected UTF-8`)
	f("byte order mark", "loadbalancer:", "\xfe\xff\x00l\x00o", "1:1", `the file is UTF-16; expected UTF-8`)
	f("byte order mark", "lb1", "lb1\ufeff", "2:12", `character U+FEFF is not allowed`)

	f("over-size", "lb1", "lb1 # "+strings.Repeat("x", sizeMax), "1:1", `larger than 8 MiB`)
	f("over-size", "services:", strings.Repeat("# comment\n", sizeMax/10)+"services:", "1:1", `larger than 8 MiB`)
	f("over-size", base, strings.Repeat(" ", sizeMax+1), "1:1", `larger than 8 MiB`)

	f("half-written", base[strings.Index(base, "services:"):], "services:\n", "11:10", `nothing stands where the section "services" belongs`)
	f("half-written", base[strings.Index(base, "com]"):], "", "16:16", `the bracket that opens here is not closed`)
	f("half-written", base[strings.Index(base, `10"`):], "", "15:23", `the quotes that begin here are never closed`)
	f("half-written", base[strings.Index(base, "      b:"):], "      b:\n", "17:9", `nothing stands where the section of "b" belongs`)
	f("half-written", base[strings.Index(base, "services:"):], "", "1:1", `key "services" is missing in this file; expected a section`)
	f("half-written", base, "", "1:1", `the file is empty`)
	f("half-written", base, "# only this\n", "1:1", `nothing but comments`)

	f("wrong type", `name: lb1`, `name: [lb1]`, "2:9", `a list stands where the value of "name" belongs; expected a name`)
	f("wrong type", `{header: 10s}`, `10s`, "6:13", `"10s" stands where the section "timeouts" belongs; expected keys and values`)
	f("wrong type", `[as.example.com]`, `as.example.com`, "16:16", `"as.example.com" stands where the list "hosts" belongs; expected a list of host patterns`)
	f("wrong type", `http: 80`, `http: eighty`, "10:49", `"eighty" is wrong for "http"; expected a port from 1 to 65535`)
	f("wrong type", `http: 80}`, `http: 80, state: drained}`, "10:60", `"drained" is wrong for "state"; expected up or draining`)
	f("wrong type", `    - {id: w1, domain: a, host: 10.0.0.1, http: 80}`, `    - w1`, "10:7", `"w1" stands where an element of "static" belongs`)
	f("wrong type", `name: lb1`, "fail_over: yes", "2:14", `"yes" is wrong for "fail_over"; expected true or false`)
	f("wrong type", `name: lb1`, "name:", "2:8", `nothing stands where the value of "name" belongs`)
	f("wrong type", `name: lb1`, "name: !!str lb1", "2:9", `tag "!!str" is not supported`)
	f("wrong type", `name: lb1`, "[name]: lb1", "2:3", `a list stands where a key belongs`)

	f("typo", `listeners:`, `listners:`, "3:3", `key "listners" is unknown in loadbalancer; expected "listeners"`)
	f("typo", `listeners:`, `listners:`, "2:3", `key "listeners" is missing in loadbalancer; expected a list of sections`)
	f("typo", `tenant_range`, `tenantrange`, "15:9", `key "tenantrange" is unknown in a domain; expected "tenant_range"`)
	f("typo", `services:`, `servcies:`, "11:1", `key "servcies" is unknown in this file; expected "services"`)
	f("typo", `header_bytes`, `header_byte`, "7:12", `expected "header_bytes"`)
	f("typo", `{id: w1,`, `{id: w1, colour: red,`, "10:16", `key "colour" is unknown in static; expected one of id, domain`)

	f("bad duration", `10s`, `10`, "6:22", `"10" is wrong for "header"; expected a duration with a unit`)
	f("bad duration", `10s`, `10 s`, "6:22", `expected a duration with a unit`)
	f("bad duration", `10s`, `-10s`, "6:22", `expected a duration with a unit`)
	f("bad duration", `10s`, `0s`, "6:22", `expected a duration above 0s`)
	f("bad duration", `10s`, `500d`, "6:22", `at most 365d`)

	f("bad size", `32KiB`, `32`, "7:26", `"32" is wrong for "header_bytes"; expected a size with a unit`)
	f("bad size", `32KiB`, `32kb`, "7:26", `expected a size with a unit`)
	f("bad size", `32KiB`, `-1KiB`, "7:26", `expected a size with a unit`)
	f("bad size", `32KiB`, `2GiB`, "7:26", `expected a size from 1KiB to 1MiB`)

	f("bad range", `"1-10"`, `"10-1"`, "15:23", `interval "10-1" ends before it begins; expected "*", or ids`)
	f("bad range", `"1-10"`, `"1-10,x"`, "15:23", `"x" is not a tenant id`)
	f("bad range", `"1-10"`, `"1-10,10"`, "15:23", `1-10 and 10 overlap`)
	f("bad range", `"1-10"`, `"0"`, "15:23", `"0" is not a tenant id`)
	f("bad range", `"1-10"`, `""`, "15:23", `it is empty`)

	f("overlap", `tenant_range: "*"`, `tenant_range: "10-20"`, "18:23", `domain "b" overlaps that of domain "a" at line 15 column 23: both hold 10`)
	f("overlap", `tenant_range: "*"`, `tenant_range: "3-4"`, "18:23", `domain "b" is shadowed by that of domain "a" at line 15 column 23: both hold 3-4`)
	f("overlap", `tenant_range: "*"`, `tenant_range: "1-99"`, "18:23", `domain "b" shadows that of domain "a"`)
	f("overlap", `tenant_range: "1-10"`, `tenant_range: "*"`, "18:23", `domain "b" has the tenant range "*", and so has domain "a" at line 15 column 23`)
	f("overlap", "        tenant_range: \"1-10\"\n", ``, "17:23", `domain "a" at line 14 column 7`)

	f("unset variable", `lb1`, `${JETWAY_NAME}`, "2:9", `variable "JETWAY_NAME" is not set; expected a value in the environment, or ${JETWAY_NAME:-default}`)
	f("unset variable", `lb1`, `x-${A:-b}-${C}`, "2:9", `variable "C" is not set`)
	f("unset variable", `[as.example.com]`, `["${HOST}"]`, "16:17", `variable "HOST" is not set`)
	f("unset variable", `lb1`, `${lb1`, "2:9", `"${lb1" is not a variable`)
	f("unset variable", `lb1`, `${1a}`, "2:9", `is not a variable; expected ${NAME}`)
	f("unset variable", `[as.example.com]`, `[${HOST}]`, "16:17", `expected quotes around "${...}" between brackets`)

	f("host twice", `      b:`, "        sub_domains: {mgt: {}, worker: {}}\n      b:", "16:17", `host "as.example.com" leads to a/worker of service "app", and from line 16 column 17 to a/mgt`)
	f("host twice", `services:`, "services:\n  esb: {domains: {e: {hosts: [AS.example.com]}}}", "17:17", `host "as.example.com" leads to a/worker of service "app", and from line 12 column 31 to e/worker of service "esb"`)
	f("host twice", `[as.example.com]`, `[as.example.com, As.Example.COM]`, "16:33", `"As.Example.COM" stands twice in "hosts", first at line 16 column 17`)

	f("bad host", `[as.example.com]`, `["*"]`, "16:17", `"*" only as the whole first label`)
	f("bad host", `[as.example.com]`, `["as.example.com:80"]`, "16:17", `expected a host name without port`)
	f("bad host", `[as.example.com]`, `["http://as.example.com/"]`, "16:17", `without scheme and path`)
	f("bad host", `[as.example.com]`, `[as_1.example.com]`, "16:17", `expected a host name such as`)
	f("bad host", `[as.example.com]`, `[as.example.com.]`, "16:17", `without the dot at its end`)
	f("bad host", `[as.example.com]`, `[10.0.0.256]`, "16:17", `expected a host name such as`)
	f("bad host", `[as.example.com]`, `[bücher.example]`, "16:17", `xn--`)
	f("bad host", "        hosts: [as.example.com]\n      b:", `      b:`, "14:7", `a/worker has no hosts`)

	f("listener twice", `  timeouts`, "    - {name: http, address: \":8281\"}\n  timeouts", "6:14", `listener name "http" stands twice, first at line 4 column 13`)
	f("listener twice", `  timeouts`, "    - {name: h2, address: \":8280\"}\n  timeouts", "6:27", `address ":8280" is taken by ":8280" at line 5 column 16`)
	f("listener twice", `  timeouts`, "    - {name: h2, address: \"127.0.0.1:8280\"}\n  timeouts", "6:27", `address "127.0.0.1:8280" is taken by ":8280"`)
	f("listener twice", `  timeouts`, "  admin: {address: \"localhost:8280\"}\n  timeouts", "6:20", `is taken by ":8280" at line 5 column 16`)

	f("bad address", `":8280"`, `"8280"`, "5:16", `"8280" is wrong for "address"; expected an address and port to listen on`)
	f("bad address", `":8280"`, `":82800"`, "5:16", `expected an address and port to listen on`)
	f("bad address", `10.0.0.1`, `10.0.0.1:80`, "10:33", `expected an IP address or host name, without port`)
	f("bad address", `":8280"`, "\":8280\"\n      public_port: 0", "6:20", `expected a port from 1 to 65535`)
	f("bad address", `[as.example.com]`, "[as.example.com]\n        allow_from: [10.0.0.1/8]", "17:22", `10.0.0.0/8, or a longer prefix`)

	f("bad encoding", `lb1`, "lb\xff", "2:11", `byte 0xff is not UTF-8`)
	f("bad encoding", `[as.example.com]`, "[ü\xc3]", "16:18", `byte 0xc3 is not UTF-8`)
	f("bad encoding", `lb1`, "lb\x00", "2:11", `character U+0000 is not allowed`)
	f("bad encoding", `lb1`, `"lb\u0007"`, "2:9", `the value of "name" is not one line of text`)

	f("documents", `services:`, "---\nservices:", "11:1", `a second YAML document begins here; expected one document per file`)
	f("documents", `services:`, "...\n---\nservices:", "12:1", `a second YAML document begins here`)
	f("documents", `services:`, "---\n---\nservices:", "11:1", `a second YAML document begins here`)

	f("bad structure", `{header: 10s}`, `{header: 10s`, "6:13", `the bracket that opens here is not closed`)
	f("bad structure", `name: lb1`, `name: lb1: lb2`, "2:12", `": " stands where no key can be`)
	f("bad structure", `name: lb1`, `name: @lb1`, "2:9", `"@lb1" cannot begin a value; expected quotes`)
	f("bad structure", `  timeouts`, ` timeouts`, "6:2", `the indentation of its neighbours`)
	f("bad structure", `name: lb1`, `"name" lb1`, "3:12", `a colon at the end of the line before`)
	f("bad structure", `{header: 10s}`, strings.Repeat("[", 20)+strings.Repeat("]", 20), "6:27", `nested deeper than 16`)
	f("bad structure", `lb1`, strings.Repeat("[", 200_000), "2:10009", `nested too deep`)

	f("member", `, http: 80`, ``, "10:7", `the member has no port; expected http, https or port_mapping`)
	f("member", `host: 10.0.0.1, `, ``, "10:7", `key "host" is missing in static; expected a host`)
	f("member", `80}`, "80}\n    - {id: w1, domain: a, host: 10.0.0.2, http: 80}", "11:7", `member "w1" of domain "a" stands twice, first at line 10 column 7`)
	f("member", `80}`, `80, weight: 1001}`, "10:61", `expected a whole number from 1 to 1000`)
	f("member", `80}`, `80, port_mapping: {http: 1}}`, "10:68", `"http" is no public port`)
	f("member", `id: w1`, `id: w 1`, "10:12", `"w 1" is wrong for "id"; expected a name`)

	f("gossip", `  static:`, "  gossip: {bind: \"10.0.0.4:7946\"}\n  static:", "9:18", `has no key`)
	f("gossip", `  static:`, "  gossip: {bind: \"host:7946\"}\n  static:", "9:18", `expected an IP address and port`)
	f("gossip", `  static:`, "  gossip: {}\n  static:", "9:11", `key "bind" is missing in gossip`)
	f("gossip", `  static:`, "  gossip: {bind: \"127.0.0.1:8280\"}\n  static:", "9:18", `is taken by ":8280"`)
	f("gossip", `  static:`, "  gossip: {bind: \"127.0.0.1:1\", advertise: \"0.0.0.0:1\"}\n  static:", "9:44", `cannot be reached by others`)

	f("block", `  app:`, "  defaults: {hosts: [a.example.com]}\n  app:", "12:21", `"hosts" cannot stand in defaults`)
	f("block", `  app:`, "  defaults: {tenant_range: \"*\"}\n  app:", "12:14", `key "tenant_range" is unknown in defaults`)
	f("block", `  app:`, "  app:\n    balance: fastest", "13:14", `"fastest" is wrong for "balance"; expected least_requests, round_robin, random or peak_ewma, or a section with hash`)
	f("block", `  app:`, "  app:\n    balance: hash", "13:14", `"hash" is wrong for "balance": it must say what to go by; expected {hash: tenant}, or path, source or header:NAME in place of tenant`)
	f("block", `  app:`, "  app:\n    balance: {hash: moon}", "13:21", `"moon" is wrong for "hash"; expected tenant, path, source or header:NAME`)
	f("block", `  app:`, "  app:\n    balance: {}", "13:14", `balance names no policy; expected a section with hash, or least_requests, round_robin, random or peak_ewma`)
	f("block", `  app:`, "  app:\n    health: {path: /x}", "13:20", `"path" is only for checks of type http, this is tcp; expected type: http`)
	f("block", `  app:`, "  app:\n    health: {type: http, status: 2xx}", "13:34", `"2xx" is wrong for "status"; expected status codes and ranges, such as 200-299,404`)
	f("block", `  app:`, "  app:\n    health: {interval: 1ms}", "13:24", `"1ms" is wrong for "interval"; expected a duration from 50ms to 1h`)
	f("block", `  app:`, "  app:\n    listeners: [htp]", "13:17", `listener "htp" does not exist; expected "http"`)
	f("block", `  app:`, "  app:\n    affinity: {mode: sticky}", "13:22", `expected cookie or route or learn or source or none`)
	f("block", `  app:`, "  app:\n    affinity: {cookie: {max_age: 10ms}}", "13:34", `"10ms" is wrong for "max_age"; expected a duration of at least 1s, or 0s`)
	f("block", `  app:`, "  app:\n    retry: {budget: 0.2}", "13:21", `expected a percentage`)
	f("block", `services:`, "services:\n  esb: {hosts: [e.example.com], domains: {a: {}}}", "15:7", `a/worker stands twice, first in service "esb" at line 12 column 43`)
	f("block", `  app:`, "  a b:", "12:3", `"a b" cannot be a name in services`)

	f("tenants", `services:`, "tenants: {identify: [{path: /t/x}]}\nservices:", "11:29", `cannot use path pattern "/t/x": expected literal segments`)
	f("tenants", `services:`, "tenants: {identify: [{}]}\nservices:", "11:22", `a rule needs one of path, host, header, cookie and query`)
	f("tenants", `services:`, "tenants: {directory: {file: t.txt}}\nservices:", "11:29", `ends in .csv`)
	f("tenants", `services:`, "tenants: {headers: {id: Host}}\nservices:", "11:25", `this one has another meaning`)
	f("tenants", `services:`, "tenants: {unknown: refused}\nservices:", "11:20", `expected default or refuse`)

	if len(classes) < 12 {
		t.Errorf("%d classes, want at least 12", len(classes))
	}
	for class, n := range classes {
		if n < 3 {
			t.Errorf("class %s has %d files, want at least 3", class, n)
		}
	}
}

const bomb = `a: &a [x, x, x, x, x, x, x, x, x]
b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]
c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]
d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]
`

// TestProblemsTogether wants all mistakes in one go, in the order of the file,
// and no more lines than anybody reads.
func TestProblemsTogether(t *testing.T) {
	broken := strings.NewReplacer("name: lb1", "nmae: lb1", "10s", "10", "http: 80", "http: 0", "tenant_range: \"1-10\"", "tenant_range: x", "\"*\"", "\"*,*\"").Replace(base)
	_, err := Parse("f", []byte(broken), nil)
	want := []string{"f:2:3: ", "f:6:22: ", "f:10:49: ", "f:15:23: ", "f:18:23: "}
	lines := strings.Split(fmt.Sprint(err), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got %d problems, want %d:\n%v", len(lines), len(want), err)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) || !strings.Contains(line, "; expected ") {
			t.Errorf("problem %d is %q, want it at %s and to say what was expected", i, line, want[i])
		}
	}
	_, err = Parse("f", []byte(base+strings.Repeat("? [a]\n", 150)), nil)
	if last := fmt.Sprint(err); !strings.HasSuffix(last, "\nand 50 more") {
		t.Errorf("150 problems end in %q, want: and 50 more", last[len(last)-60:])
	}
}
