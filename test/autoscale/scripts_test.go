package autoscale

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// scripts is a driver "exec" of shell scripts, as an operator would write it:
// an order that was carried out is not carried out again. It notes every call,
// and can be told to misbehave.
type scripts struct {
	t   *testing.T
	dir string
}

// call is one that Jetway made.
type call struct {
	at     time.Time
	action string
	order  string
	count  int
	member string
	start  string // of a stop: the start whose rest is meant
}

// newScripts writes the scripts; worker starts a member, its id left open.
func newScripts(t *testing.T, worker []string) *scripts {
	s := &scripts{t, t.TempDir()}
	note := func(action string) string {
		return `echo "$(date +%s%N)|` + action + `|$JETWAY_ORDER|$JETWAY_COUNT|$JETWAY_MEMBER|$JETWAY_START" >> ` + s.dir + "/calls\n"
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte("#!/bin/sh\nset -eu\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write("start", note("start")+`cat > `+s.dir+`/order.json
count=$JETWAY_COUNT
. `+s.dir+`/mood
exec 9> `+s.dir+`/lock
flock 9
sleep $pause
i=0
while [ $i -lt $count ]; do
  id=vm-$JETWAY_SEQUENCE-$i
  if [ ! -e `+s.dir+`/$id.pid ]; then
    setsid `+strings.Join(worker, " ")+` --id $id >`+s.dir+`/$id.log 2>&1 </dev/null 9>&- &
    echo $! > `+s.dir+`/$id.pid
  fi
  i=$((i+1))
done
`)
	write("stop", note("stop")+`[ -n "$JETWAY_MEMBER" ] || exit 0
kill $(cat `+s.dir+`/$JETWAY_MEMBER.pid) 2>/dev/null || true
`)
	s.be("")
	t.Cleanup(func() {
		for _, pid := range s.running() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return s
}

// be sets what the start script does before it starts anybody: shell commands
// that may exit, or set count and pause.
func (s *scripts) be(mood string) {
	s.t.Helper()
	path := filepath.Join(s.dir, "mood")
	err := os.WriteFile(path+".new", []byte("pause=0\n"+mood+"\n"), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path) // a script that runs sees the one or the other
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// driver is the driver's part of the configuration.
func (s *scripts) driver(timeout string) string {
	return fmt.Sprintf("{exec: {start: [%q], stop: [%q], timeout: %s}}", s.dir+"/start", s.dir+"/stop", timeout)
}

// calls returns what was called so far, with an action or all for "".
func (s *scripts) calls(action string) (list []call) {
	b, _ := os.ReadFile(s.dir + "/calls") // none yet
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 6 || action != "" && f[1] != action {
			continue
		}
		ns, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		n, _ := strconv.Atoi(f[3])
		list = append(list, call{time.Unix(0, ns), f[1], f[2], n, f[4], f[5]})
	}
	return list
}

// ordered returns how many members were ordered by each start, whatever
// number of times it was given.
func (s *scripts) ordered() map[string]int {
	n := map[string]int{}
	for _, c := range s.calls("start") {
		if before, ok := n[c.order]; ok && before != c.count {
			s.t.Errorf("start %s is for %d, before it was for %d", c.order, c.count, before)
		}
		n[c.order] = c.count
	}
	return n
}

// started returns every member that was ever started.
func (s *scripts) started() []string {
	files, _ := filepath.Glob(s.dir + "/*.pid")
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".pid")
	}
	slices.Sort(files)
	return files
}

// running returns the processes of the members that run.
func (s *scripts) running() (pids []int) {
	for _, name := range s.started() {
		b, _ := os.ReadFile(filepath.Join(s.dir, name+".pid"))
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
