package httpcases

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// startHAProxy starts HAProxy as Debian ships it, plainly configured.
func startHAProxy(t *testing.T) *bench {
	t.Helper()
	path := harness.RequireTool(t, "haproxy")
	b := newBench(t, "haproxy")
	var c strings.Builder
	fmt.Fprintf(&c, `global
  maxconn 4000
defaults
  mode http
  timeout connect 1s
  timeout client 2s
  timeout server 2s
  timeout http-request 1500ms
  option forwardfor
frontend f
  bind %s
  acl n hdr(host) -i n.lb.test
  use_backend n1 if n { path_beg /t/t1 }
  use_backend n2 if n { path_beg /t/t2 }
  use_backend n0 if n
  use_backend t2 if { hdr(host) -i t2.lb.test }
  use_backend p if { hdr(host) -i p.lb.test }
  use_backend off if { hdr(host) -i off.lb.test }
  default_backend t1
backend p
  retry-on all-retryable-errors
  server p1 127.0.0.1:%d
  server p2 127.0.0.1:%d
backend off
  server off 127.0.0.1:%d
`, b.addr, b.members["p1"].Port, b.members["p2"].Port, harness.FreePort(t))
	for _, name := range []string{"t1", "t2", "n0", "n1", "n2"} {
		fmt.Fprintf(&c, "backend %s\n  server m 127.0.0.1:%d\n", name, b.members[name].Port)
	}
	config := filepath.Join(t.TempDir(), "haproxy.cfg")
	write(t, config, c.String())
	b.process = harness.StartTool(t, path, "-db", "-f", config)
	b.process.AwaitTCP(b.addr)
	return b
}

// startNginx starts nginx as Debian ships it, plainly configured.
func startNginx(t *testing.T) *bench {
	t.Helper()
	path := harness.RequireTool(t, "nginx")
	b := newBench(t, "nginx")
	dir := t.TempDir()
	var c strings.Builder
	fmt.Fprintf(&c, `daemon off;
worker_processes 1;
pid %[1]s/pid;
error_log stderr crit;
events { worker_connections 4000; }
http {
  access_log off;
  client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  client_header_timeout 2s; client_body_timeout 2s; proxy_read_timeout 2s; client_max_body_size 0;
  proxy_http_version 1.1;
  proxy_set_header Host $http_host;
  proxy_set_header Connection "";
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  upstream p { server 127.0.0.1:%[2]d; server 127.0.0.1:%[3]d; keepalive 8; }
  upstream off { server 127.0.0.1:%[4]d; }
`, dir, b.members["p1"].Port, b.members["p2"].Port, harness.FreePort(t))
	for _, name := range []string{"t1", "t2", "n0", "n1", "n2"} {
		fmt.Fprintf(&c, "  upstream %s { server 127.0.0.1:%d max_fails=0; keepalive 8; }\n", name, b.members[name].Port)
	}
	for _, name := range []string{"t1", "t2", "p", "off"} {
		fmt.Fprintf(&c, "  server { listen %s; server_name %s.lb.test; location / { proxy_pass http://%s; } }\n", b.addr, name, name)
	}
	fmt.Fprintf(&c, `  server { listen %s; server_name n.lb.test; location / { proxy_pass http://n0; } location /t/t1 { proxy_pass http://n1; } location /t/t2 { proxy_pass http://n2; } }
}
`, b.addr)
	config := filepath.Join(dir, "nginx.conf")
	write(t, config, c.String())
	b.process = harness.StartTool(t, path, "-c", config, "-e", "stderr")
	b.process.AwaitTCP(b.addr)
	return b
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRivals prints what Jetway, HAProxy and nginx make of every row in the
// form "whole". A "!" stands before what is no right answer by the table; of
// rivals the fields of forwarded requests are not compared.
func TestRivals(t *testing.T) {
	if !*rivals {
		t.Skip("only with -rivals")
	}
	starts := []func(t *testing.T) *bench{startHAProxy, startNginx}
	if os.Getenv("JETWAY_RIVALS_ONLY") == "" {
		starts = append([]func(t *testing.T) *bench{func(t *testing.T) *bench { return startBench(t, tightTotal("4s")) }}, starts...)
	}
	var benches []*bench
	for _, start := range starts {
		b := start(t)
		b.patient = time.Second // many rows get no answer at all
		benches = append(benches, b)
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%-8s | %-44s | %-30s", "row", "input", "expected")
	for _, b := range benches {
		fmt.Fprintf(&table, " | %-30s", b.name)
	}
	wrong := make([]int, len(benches))
	rows := 0
	for _, g := range groups() {
		for i := range g.rows {
			r := &g.rows[i]
			if r.has(whole) {
				rows++
				rivalLine(&table, benches, wrong, r)
			}
		}
	}
	fmt.Fprintf(&table, "\n%d rows; not right:", rows)
	for i, b := range benches {
		fmt.Fprintf(&table, " %s %d", b.name, wrong[i])
	}
	fmt.Println(table.String())
}

func rivalLine(table *strings.Builder, benches []*bench, wrong []int, r *row) {
	fmt.Fprintf(table, "\n%-8s | %-44.44s | %-30.30s", r.id, r.what, r.expected())
	seens := make([]string, len(benches))
	done := make(chan int)
	for i, b := range benches {
		go func() {
			s := b.run(r, whole)
			seens[i] = strings.TrimPrefix(s.String(), "seen: ")
			if err := b.judge(r, whole, s); err != nil {
				seens[i] = "! " + seens[i]
				wrong[i]++
				if testing.Verbose() {
					fmt.Printf("%s %s: %v\n", b.name, r.id, err)
				}
			}
			done <- i
		}()
	}
	for range benches {
		<-done
	}
	for _, s := range seens {
		fmt.Fprintf(table, " | %-30.30s", strings.TrimPrefix(s, "seen:"))
	}
}

// expected says in a few words what is right.
func (r *row) expected() string {
	var words []string
	for _, o := range r.want {
		word := strings.Trim(fmt.Sprint(o.status), "[]")
		if o.cut {
			word += " cut"
		}
		if o.conn == closes {
			word += " close"
		}
		for _, m := range o.member {
			word += " fwd→" + m.member()
		}
		for _, m := range o.partial {
			word += " (begun→" + m + ")"
		}
		words = append(words, strings.TrimSpace(word))
	}
	return strings.Join(words, " or ")
}
