package operate

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"context"
	"jetway/test/harness"
	"os/exec"
)

// within reports whether b is no worse than a, but for what a busy machine
// makes of it.
func within(a, b time.Duration) bool { return b <= 2*a+5*time.Millisecond }

// TestAdminAbuse: whatever is done to the admin API by those who may not use
// it, nothing changes, and clients do not notice.
func TestAdminAbuse(t *testing.T) {
	file := tokenFile(t, "ops 0123456789abcdef-ops\n")
	s := start(t, fmt.Sprintf(", token_file: %q", file), "")
	_, version := s.call(t, "GET", "/api/v1/members/w1", "", "Authorization", "Bearer 0123456789abcdef-ops")
	span, rate := time.Second, 300.0
	if harness.Long() {
		span, rate = 10*time.Second, 1000
	}
	l := startLoad(s.port, 16, rate)
	time.Sleep(span)
	calm, n := l.p99()
	t.Logf("calm: p99 %s of %d", calm, n)
	measure := func(what string, abuse func(stop <-chan struct{})) {
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			abuse(stop)
		}()
		time.Sleep(span)
		close(stop)
		<-done
		p99, n := l.p99()
		t.Logf("%s: p99 %s of %d", what, p99, n)
		if harness.Long() && !within(calm, p99) {
			t.Errorf("%s: p99 %s, without it %s", what, p99, calm)
		}
	}
	drain := "http://" + s.Admin + "/api/v1/members/w1/drain"
	post := func(body io.Reader, fields ...string) int {
		req, err := http.NewRequest("POST", drain, body)
		if err != nil {
			return 0
		}
		for i := 0; i+1 < len(fields); i += 2 {
			req.Header.Set(fields[i], fields[i+1])
		}
		resp, err := (&http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			return 0 // turned away
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	var let atomic.Int64 // through
	again := func(writers int, try func() int) func(<-chan struct{}) {
		return func(stop <-chan struct{}) {
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(10 * time.Millisecond):
						}
						if status := try(); status == 200 {
							let.Add(1)
						}
					}
				})
			}
			wg.Wait()
		}
	}
	measure("no token", again(4, func() int { return post(nil) }))
	measure("wrong token", again(4, func() int { return post(nil, "Authorization", "Bearer wrong-wrong-wrong-wrong") }))
	measure("cross-site", again(4, func() int {
		return post(nil, "Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site", "Authorization", "Bearer 0123456789abcdef-ops")
	}))
	writers := 200
	if harness.Long() {
		writers = 1000
	}
	measure(fmt.Sprintf("%d concurrent writers", writers), func(stop <-chan struct{}) { let.Add(writeFromAside(t, s.Admin, writers, stop)) })
	measure("slowloris", func(stop <-chan struct{}) {
		for range 300 {
			c, err := net.DialTimeout("tcp", s.Admin, time.Second)
			if err != nil {
				continue
			}
			defer c.Close()
			io.WriteString(c, "POST /api/v1/members/w1/drain HTTP/1.1\r\nHost: 127.0.0.1\r\nX-")
		}
		<-stop
	})
	measure("a body of 1 GB", func(stop <-chan struct{}) {
		piece := bytes.Repeat([]byte("x"), 64<<10)
		for {
			select {
			case <-stop:
				return
			default:
			}
			c, err := net.DialTimeout("tcp", s.Admin, time.Second)
			if err != nil {
				continue
			}
			io.WriteString(c, "POST /api/v1/config/prepare HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1073741824\r\n\r\n")
			c.SetDeadline(time.Now().Add(2 * time.Second))
			for range 1 << 14 {
				if _, err := c.Write(piece); err != nil {
					break
				}
			}
			c.Close()
		}
	})
	l.stop(t)
	if n := let.Load(); n > 0 {
		t.Errorf("%d changes were let through", n)
	}
	eventually(t, "the operator is heard again", func() bool {
		req, _ := http.NewRequest("GET", "http://"+s.Admin+"/api/v1/members/w1", nil)
		req.Header.Set("Authorization", "Bearer 0123456789abcdef-ops")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode == 200 && strings.Contains(string(text), `"drained": false`)
	})
	if strings.Contains(version, `"drained": true`) {
		t.Fatal("drained from the start")
	}
	if log := s.Log(); strings.Contains(log, "0123456789abcdef") || strings.Contains(log, `"message":"admin action"`) {
		t.Errorf("the log holds a token, or a change that was let through")
	}
}

// asideEnv names the variable with which the test runs itself as abusers: on
// machines of their own in life, so not in the process that measures.
const asideEnv = "JETWAY_TEST_OPERATE_WRITERS"

// writeFromAside lets writers try to change something until stop, with what
// nobody else wants of the CPU. It returns how many were let through.
func writeFromAside(t *testing.T, addr string, writers int, stop <-chan struct{}) int64 {
	exe, err := os.Executable()
	if err != nil {
		t.Error(err)
		return 0
	}
	run := []string{exe, "-test.run", "^TestWritersAside$", "-test.v"}
	if chrt, err := exec.LookPath("chrt"); err == nil {
		run = append([]string{chrt, "--idle", "0"}, run...)
	}
	cmd := exec.Command(run[0], run[1:]...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", asideEnv, addr, writers))
	var out bytes.Buffer
	cmd.Stdout = &out
	end, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return 0
	}
	<-stop
	end.Close()
	err = cmd.Wait()
	var tried, refused, let int64
	if _, after, ok := strings.Cut(out.String(), "writers: "); !ok || err != nil {
		t.Errorf("%v: %s", err, out.String())
	} else if _, err := fmt.Sscan(after, &tried, &refused, &let); err != nil || refused == 0 {
		t.Errorf("%d of %d changes refused, %v", refused, tried, err)
	} else {
		t.Logf("%d writers tried %d times: %d refused, %d let through, the rest turned away", writers, tried, refused, let)
	}
	return let
}

// TestWritersAside are those writers, until its standard input ends and one
// was refused: what nobody else wants of the CPU may be nothing for a while.
func TestWritersAside(t *testing.T) {
	var addr string
	var writers int
	if _, err := fmt.Sscan(os.Getenv(asideEnv), &addr, &writers); err != nil {
		t.Skip("a part of TestAdminAbuse")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var tried, refused, let atomic.Int64
	go func() {
		io.Copy(io.Discard, os.Stdin)
		for end := time.Now().Add(30 * time.Second); refused.Load() == 0 && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for first := true; first || ctx.Err() == nil; first = false {
				req, _ := http.NewRequest("POST", "http://"+addr+"/api/v1/members/w1/drain", nil)
				tried.Add(1)
				if resp, err := client.Do(req); err == nil {
					resp.Body.Close()
					if resp.StatusCode == 200 {
						let.Add(1)
					} else {
						refused.Add(1)
					}
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	fmt.Println("writers:", tried.Load(), refused.Load(), let.Load())
}

// capacity is how many requests a second keep all processors of this machine
// busy: client, members and Jetway together.
func capacity(t *testing.T, port int) float64 {
	const rate, span = 4000, 5 * time.Second
	l := startLoad(port, 32, rate)
	time.Sleep(span / 5)
	l.p99()
	busy, all := ticks(t)
	time.Sleep(span)
	_, n := l.p99()
	busy2, all2 := ticks(t)
	l.stop(t)
	return float64(n) / span.Seconds() * float64(all2-all) / float64(busy2-busy)
}

// ticks returns what the processors have worked, and all they could have.
func ticks(t *testing.T) (busy, all int) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Skip(err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line)[1:9] { // what guests took is in it
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		if all += n; i != 3 && i != 4 { // idle, and waiting for a disk
			busy += n
		}
	}
	return busy, all
}

// TestBlockedAccessLog: a reader of the access log that stopped costs lines,
// and no request waits.
func TestBlockedAccessLog(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "access.pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var stopped atomic.Bool
	go func() {
		b := make([]byte, 64<<10)
		for {
			if stopped.Load() {
				time.Sleep(time.Millisecond)
			} else if _, err := reader.Read(b); err != nil {
				return
			}
		}
	}()
	s := start(t, "", fmt.Sprintf("  access_log: {path: %q}", pipe))
	span, rate, rounds := time.Second, 1000.0, 1
	if harness.Long() {
		span, rate, rounds = 6*time.Second, 0.7*capacity(t, s.port), 7
	}
	l := startLoad(s.port, 32, rate)
	var read, blocked []time.Duration
	for range rounds { // in turns, because the machine changes
		for _, stop := range [...]bool{false, true} {
			stopped.Store(stop)
			l.p99() // what was due before
			p99, n := time.Duration(0), 0
			for end := time.Now().Add(20 * time.Second); n == 0; p99, n = l.p99() {
				if time.Now().After(end) {
					t.Fatalf("no answers, blocked: %v", stop)
				}
				time.Sleep(span)
			}
			if stop {
				blocked = append(blocked, p99)
			} else {
				read = append(read, p99)
			}
		}
	}
	t.Logf("%.0f requests/s: p99 while the log is read %s, while it is blocked %s", rate, read, blocked)
	slices.Sort(read)
	slices.Sort(blocked)
	if median, noise := blocked[rounds/2], read[rounds-1]; harness.Long() && median > noise && !within(read[rounds/2], median) {
		t.Errorf("median p99 %s while the log is blocked; while it is read %s, at most %s", median, read[rounds/2], noise)
	}
	if harness.Long() {
		eventually(t, "lines are dropped and counted", func() bool {
			return s.Metric("jetway_access_log_dropped_total") != "0"
		})
	}
	l.stop(t)
	stopped.Store(false) // so that the reader ends
	reader.Close()
}
