package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

const (
	// eventsMax is how many events are kept for those who ask later.
	eventsMax = 1000
	// eventMax bounds one event in bytes.
	eventMax = 8 << 10
	// streamsMax bounds those who follow events.
	streamsMax = 16
	// streamBeat is how often a quiet stream shows that it is alive.
	streamBeat = 15 * time.Second
)

// Events remembers the newest changes of the load balancer's state. What is
// logged from level info on is one: a transition with a constant message and
// the facts as fields. So it is fed as a writer of log lines in JSON. Safe for
// concurrent use; writing never waits for those who read.
type Events struct {
	mu     sync.Mutex // guards all below
	ring   [][]byte   // lines as logged; event n is at (n-1) % eventsMax
	newest uint64     // number of the newest event, or the one before the first
	more   chan struct{}
}

// NewEvents returns an Events without any. Its numbers begin after those that a
// process that was started before could have given, unless that had more than
// eventsMax a second all its life: who goes on after a number that is of an
// earlier process misses nothing of this one.
func NewEvents(started time.Time) *Events {
	return &Events{newest: uint64(max(started.Unix(), 0)) * eventsMax, more: make(chan struct{})}
}

// Write implements io.Writer; zerolog calls WriteLevel.
func (e *Events) Write(p []byte) (int, error) { return len(p), nil }

// WriteLevel implements zerolog.LevelWriter. p is one line of JSON.
func (e *Events) WriteLevel(level zerolog.Level, p []byte) (int, error) {
	if level < zerolog.InfoLevel || level > zerolog.PanicLevel || len(p) > eventMax {
		return len(p), nil
	}
	line := append([]byte(nil), p...)
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.ring) < eventsMax {
		e.ring = append(e.ring, line)
	} else {
		e.ring[e.newest%eventsMax] = line
	}
	e.newest++
	close(e.more)
	e.more = make(chan struct{})
	return len(p), nil
}

// Event is one change of state.
type Event struct {
	ID     uint64         `json:"id"` // ascending, over restarts too
	Time   string         `json:"time"`
	Level  string         `json:"level"`
	Event  string         `json:"event"`
	Fields map[string]any `json:"fields"`
}

// EventList is the newest events, oldest first.
type EventList struct {
	Schema int     `json:"schema_version"`
	Newest uint64  `json:"newest"`
	Events []Event `json:"events"`
}

// after returns the events after number id, as far as they are remembered, and
// a channel that is closed when there are more. From the future is from none.
func (e *Events) after(id uint64) (list []Event, newest uint64, more <-chan struct{}) {
	e.mu.Lock()
	if id > e.newest {
		id = 0 // the clock went back between two processes
	}
	if kept := uint64(len(e.ring)); e.newest-id > kept {
		id = e.newest - kept
	}
	lines := make([][]byte, 0, e.newest-id)
	for n := id; n < e.newest; n++ {
		lines = append(lines, e.ring[n%eventsMax])
	}
	newest, more = e.newest, e.more
	e.mu.Unlock()
	list = make([]Event, 0, len(lines))
	for i, line := range lines {
		if v, ok := parseEvent(line); ok {
			v.ID = id + uint64(i) + 1
			list = append(list, v)
		}
	}
	return list, newest, more
}

// parseEvent takes a log line apart.
func parseEvent(line []byte) (Event, bool) {
	var fields map[string]any
	if json.Unmarshal(line, &fields) != nil {
		return Event{}, false
	}
	take := func(name string) string {
		s, _ := fields[name].(string)
		delete(fields, name)
		return s
	}
	v := Event{Time: take(zerolog.TimestampFieldName), Level: take(zerolog.LevelFieldName), Event: take(zerolog.MessageFieldName), Fields: fields}
	return v, true
}

// streams reports whether r asks for a stream of events.
func streams(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/api/v1/events" && strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

// events answers the events after ?after=N, as a list, or as a stream of
// server-sent events that goes on (HTML Standard, 9.2) where Accept asks for it.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	var id uint64
	from := r.URL.Query().Get("after")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		from = last
	}
	if from != "" {
		var err error
		if id, err = strconv.ParseUint(from, 10, 64); err != nil {
			fail(w, http.StatusBadRequest, fmt.Sprintf("%q is no number of an event", from))
			return
		}
	}
	if !streams(r) {
		list, newest, _ := s.src.Events.after(id)
		answer(w, http.StatusOK, EventList{SchemaVersion, newest, list})
		return
	}
	if s.following.Add(1) > streamsMax {
		s.following.Add(-1)
		w.Header().Set("Retry-After", "10")
		fail(w, http.StatusServiceUnavailable, fmt.Sprintf("%d streams of events are open already", streamsMax))
		return
	}
	defer s.following.Add(-1)
	s.follow(w, r, id)
}

// follow streams events until the client goes away or the server stops.
func (s *Server) follow(w http.ResponseWriter, r *http.Request, id uint64) {
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	beat := time.NewTicker(streamBeat)
	defer beat.Stop()
	fmt.Fprint(w, ": events of jetway\n\n")
	for {
		list, newest, more := s.src.Events.after(id)
		out.SetWriteDeadline(time.Now().Add(streamBeat)) // a client that does not read is given up
		for i := range list {
			data, err := json.Marshal(&list[i])
			if err != nil {
				panic("BUG: event that is no JSON: " + err.Error())
			}
			fmt.Fprintf(w, "id: %d\ndata: %s\n\n", list[i].ID, data)
		}
		if id = newest; out.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.stopping:
			return
		case <-more:
		case <-beat.C:
			fmt.Fprint(w, ": still here\n\n")
		}
	}
}
