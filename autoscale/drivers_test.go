package autoscale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
)

func testKey() balancer.Key { return balancer.Key{Domain: "as.d", SubDomain: "worker"} }

func startOrder(sequence uint64, n int) Order {
	o := newOrder(testKey(), ActionStart, sequence)
	o.Count = n
	return o
}

// TestExecDriver runs real commands.
func TestExecDriver(t *testing.T) {
	dir := t.TempDir()
	script := func(text string) []string { return []string{"/bin/sh", "-c", text} }
	d := &execDriver{ExecConfig{Timeout: 10 * time.Second}, zerolog.Nop()}
	ctx := context.Background()

	got := filepath.Join(dir, "got")
	d.cfg.Start = script(`cat > ` + got + `; echo "$JETWAY_ACTION $JETWAY_ORDER $JETWAY_COUNT" >> ` + got + `; echo '{"members": ["a", "b"]}'`)
	names, err := d.Start(ctx, startOrder(7, 2))
	if err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("%q, %v", names, err)
	}
	text, _ := os.ReadFile(got)
	line, rest, _ := strings.Cut(string(text), "\n")
	var o Order
	if err := json.Unmarshal([]byte(line), &o); err != nil || o.ID != "as.d/worker/7" || o.Count != 2 || o.Version != 1 {
		t.Errorf("%s: %+v, %v", line, o, err)
	}
	if rest != "start as.d/worker/7 2\n" {
		t.Errorf("environment %q", rest)
	}

	d.cfg.Stop = script(`echo "no such machine" >&2; exit 3`)
	if err := d.Stop(ctx, newOrder(testKey(), ActionStop, 8)); err == nil || errors.Is(err, ErrUnsure) || !strings.Contains(err.Error(), "no such machine") {
		t.Errorf("%v", err)
	}
	d.cfg.Stop = script(`exit 75`)
	if err := d.Stop(ctx, newOrder(testKey(), ActionStop, 8)); !errors.Is(err, ErrUnsure) {
		t.Errorf("%v", err)
	}
	if _, err := d.List(ctx, testKey()); !errors.Is(err, ErrNoList) {
		t.Errorf("%v", err)
	}
	d.cfg.List = script(`echo '{"complete": true, "instances": [{"order": "as.d/worker/7", "member": "a"}]}'`)
	if l, err := d.List(ctx, testKey()); err != nil || !l.Complete || len(l.Instances) != 1 || l.Instances[0].Sequence != 7 {
		t.Errorf("%+v, %v", l, err)
	}
	d.cfg.List = script(`echo nonsense`)
	if _, err := d.List(ctx, testKey()); err == nil {
		t.Error("nonsense is a list")
	}

	// One that hangs ends with its children, and it is not known what it did.
	pids := filepath.Join(dir, "pids")
	d.cfg.Timeout = 300 * time.Millisecond
	d.cfg.Start = script(`echo $$ > ` + pids + `; sleep 60 & echo $! >> ` + pids + `; wait`)
	begun := time.Now()
	if _, err := d.Start(ctx, startOrder(9, 1)); !errors.Is(err, ErrUnsure) {
		t.Errorf("%v", err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it hung for %s", took)
	}
	text, _ = os.ReadFile(pids)
	for _, line := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return startTime(pid) == "" })
	}

	d.cfg.Start, d.cfg.Timeout = script(`yes | head -c 1000000`), 10*time.Second
	if _, err := d.Start(ctx, startOrder(10, 1)); err != nil {
		t.Error(err)
	}
	d.cfg.Start = []string{filepath.Join(dir, "missing")}
	if _, err := d.Start(ctx, startOrder(11, 1)); err == nil || errors.Is(err, ErrUnsure) {
		t.Errorf("%v", err)
	}
}

func eventually(t *testing.T, f func() bool) {
	t.Helper()
	for range 1000 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it does not happen")
}

// TestWebhookDriver posts to a real server.
func TestWebhookDriver(t *testing.T) {
	var calls atomic.Int64
	answer := func(w http.ResponseWriter, r *http.Request, o Order) { io.WriteString(w, `{"members": ["a"]}`) }
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		body, _ := io.ReadAll(r.Body)
		var o Order
		if err := json.Unmarshal(body, &o); err != nil {
			t.Error(err)
		}
		at := r.Header.Get("X-Jetway-Timestamp")
		if want := "sha256=" + signature([]byte("secret"), at, body); r.Header.Get("X-Jetway-Signature") != want || r.Method != "POST" {
			t.Errorf("%s with %v", r.Method, r.Header)
		}
		if o.ID != r.Header.Get("Idempotency-Key") {
			t.Errorf("key %q of order %q", r.Header.Get("Idempotency-Key"), o.ID)
		}
		answer(w, r, o)
	}))
	defer srv.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := newWebhook(WebhookConfig{URL: srv.URL, SecretFile: secret, Timeout: 5 * time.Second, List: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if names, err := d.Start(ctx, startOrder(1, 1)); err != nil || !slices.Equal(names, []string{"a"}) {
		t.Errorf("%q, %v", names, err)
	}
	failures := 2
	answer = func(w http.ResponseWriter, r *http.Request, o Order) {
		if failures--; failures >= 0 {
			w.WriteHeader(503)
		}
	}
	calls.Store(0)
	if _, err := d.Start(ctx, startOrder(2, 1)); err != nil || calls.Load() != 3 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
	answer = func(w http.ResponseWriter, r *http.Request, o Order) { http.Error(w, "no quota", http.StatusForbidden) }
	calls.Store(0)
	if _, err := d.Start(ctx, startOrder(3, 1)); err == nil || errors.Is(err, ErrUnsure) || calls.Load() != 1 || !strings.Contains(err.Error(), "no quota") {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
	answer = func(w http.ResponseWriter, r *http.Request, o Order) { w.WriteHeader(404) }
	if err := d.Stop(ctx, newOrder(testKey(), ActionStop, 4)); err != nil {
		t.Errorf("%v, although it is gone", err)
	}
	answer = func(w http.ResponseWriter, r *http.Request, o Order) {
		io.WriteString(w, `{"instances": [{"order": "as.d/worker/12", "member": "x"}]}`)
	}
	if l, err := d.List(ctx, testKey()); err != nil || l.Complete || len(l.Instances) != 1 || l.Instances[0].Sequence != 12 {
		t.Errorf("%+v, %v", l, err)
	}
	answer = func(w http.ResponseWriter, r *http.Request, o Order) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}
	if _, err := d.Start(ctx, startOrder(5, 1)); err == nil {
		t.Error("a redirect is followed")
	}
	srv.Close()
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := d.Start(ctx, startOrder(6, 1)); !errors.Is(err, ErrUnsure) {
		t.Errorf("%v, want unsure", err)
	}
}

func processOf(t *testing.T, dir string, command ...string) *processDriver {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the process driver needs Linux")
	}
	d, err := NewDrivers(dir, zerolog.Nop()).Make(DriverConfig{Process: &ProcessConfig{Command: command, StopWait: 200 * time.Millisecond,
		PortFirst: 20000, PortEnd: 30000}})
	if err != nil {
		t.Fatal(err)
	}
	p := d.(*processDriver)
	t.Cleanup(func() { // those of this nursery are reaped, and the list is written, before the directory goes
		for _, c := range p.nursery.all() {
			if c.ended != nil {
				p.nursery.signal(p.nursery.find(c.PID), syscall.SIGKILL)
				<-c.ended
			}
		}
	})
	return p
}

// all returns the children as they are now.
func (n *nursery) all() []child {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]child, len(n.children))
	for i, c := range n.children {
		list[i] = *c
	}
	return list
}

func (n *nursery) find(pid int) *child {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.children[slices.IndexFunc(n.children, func(c *child) bool { return c.PID == pid })]
}

// TestProcessDriver starts real processes, is replaced by another one as after
// a restart, and stops them.
func TestProcessDriver(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	d := processOf(t, dir, "/bin/sh", "-c", `echo {id} {port} > `+dir+`/{id}; trap 'exit 0' TERM; while :; do sleep 0.05; done`)
	defer func() {
		for _, o := range []uint64{1, 2, 3} { // whatever became of it
			stop := newOrder(testKey(), ActionStop, 100+o)
			stop.Start = startOrder(o, 0).ID
			d.Stop(ctx, stop)
		}
	}()
	names, err := d.Start(ctx, startOrder(1, 2))
	if err != nil || len(names) != 2 {
		t.Fatalf("%q, %v", names, err)
	}
	again, err := d.Start(ctx, startOrder(1, 2))
	if err != nil || !slices.Equal(names, again) {
		t.Errorf("%q, %v: the same order is another one", again, err)
	}
	eventually(t, func() bool { text, _ := os.ReadFile(filepath.Join(dir, names[1])); return len(text) > 0 })
	first := d.nursery.all()[0].PID

	// The next process: it adopts them, and carries out no order twice.
	d = processOf(t, dir, "/bin/sh", "-c", `trap '' TERM; while :; do sleep 0.05; done`)
	l, err := d.List(ctx, testKey())
	if err != nil || len(l.Instances) != 2 || !l.Complete || d.nursery.all()[0].PID != first {
		t.Fatalf("%+v, %v", l, err)
	}
	if again, err = d.Start(ctx, startOrder(1, 2)); err != nil || !slices.Equal(names, again) || len(d.nursery.all()) != 2 {
		t.Errorf("%q, %v", again, err)
	}
	stop := newOrder(testKey(), ActionStop, 2)
	stop.Member = names[0]
	if err := d.Stop(ctx, stop); err != nil {
		t.Error(err)
	}
	eventually(t, func() bool { return startTime(first) == "" }) // its parent, this process, reaps it
	if err := d.Stop(ctx, stop); err != nil {
		t.Errorf("%v for one that is gone", err)
	}
	stop.Member = "stranger"
	if err := d.Stop(ctx, stop); !errors.Is(err, ErrForeign) {
		t.Errorf("%v for a stranger", err)
	}
	if l, _ := d.List(ctx, testKey()); len(l.Instances) != 1 || l.Instances[0].Member != names[1] {
		t.Errorf("%+v", l)
	}

	// What did not join of a start is stopped, even if it will not end.
	if names, err = d.Start(ctx, startOrder(3, 3)); err != nil {
		t.Fatal(err)
	}
	stop = newOrder(testKey(), ActionStop, 4)
	stop.Start, stop.Joined = startOrder(3, 0).ID, []string{names[1]}
	if err := d.Stop(ctx, stop); err != nil {
		t.Error(err)
	}
	if l, _ := d.List(ctx, testKey()); len(l.Instances) != 2 || l.Instances[1].Member != names[1] {
		t.Errorf("%+v", l)
	}
}

// TestProcessDriverKnowsItsOwn: a pid that somebody else has now is left
// alone, and one that was started but not noted is found.
func TestProcessDriverKnowsItsOwn(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	d := processOf(t, dir, "/bin/sleep", "60")
	if _, err := d.Start(ctx, startOrder(1, 2)); err != nil {
		t.Fatal(err)
	}
	a, b := d.nursery.all()[0], d.nursery.all()[1]
	// The file as it is when pid a belongs to another process, and when the
	// one before was killed between starting b and noting it.
	text := fmt.Sprintf(`[{"order":%q,"sequence":1,"index":0,"domain":"as.d","sub_domain":"worker","member":%q,"pid":%d,"started":"1@other"},
		{"order":%q,"sequence":1,"index":1,"domain":"as.d","sub_domain":"worker","member":%q},
		{"order":"as.d/worker/2","sequence":2,"index":0,"domain":"as.d","sub_domain":"worker","member":"never"}]`, a.Order, a.Member, a.PID, b.Order, b.Member)
	if err := os.WriteFile(filepath.Join(dir, processFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	next := processOf(t, dir, "/bin/sleep", "60")
	l, err := next.List(ctx, testKey())
	if err != nil || len(l.Instances) != 1 || l.Instances[0].Member != b.Member {
		t.Fatalf("%+v, %v", l, err)
	}
	stop := newOrder(testKey(), ActionStop, 5)
	stop.Member = a.Member
	if err := next.Stop(ctx, stop); err != nil {
		t.Error(err)
	}
	if startTime(a.PID) == "" {
		t.Error("another process was killed by its pid")
	}
	stop.Member = b.Member
	if err := next.Stop(ctx, stop); err != nil {
		t.Error(err)
	}
	eventually(t, func() bool { return startTime(b.PID) == "" })
}

// FuzzHistory: whatever is in the file or comes from a peer is refused or used,
// never a panic.
func FuzzHistory(f *testing.F) {
	f.Add([]byte(`{"version":1,"serial":3,"clusters":{"d/worker":{"sequence":1,"starts":[{"order":{"id":"x","count":2}}],"stops":[{"member":"a"}]}}}`))
	f.Add([]byte(`{"version":1,"clusters":{"d/worker":{"starts":[null]}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		past, err := parseHistory(b)
		if err != nil {
			return
		}
		for _, h := range past.Clusters {
			c := &cluster{past: h}
			c.see([]Member{{ID: "a", State: "draining"}}, time.Now(), "")
			c.join()
			c.booting()
		}
	})
}
