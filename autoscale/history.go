package autoscale

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// History is what must outlive a process, or be known to the one that acts
// next: the orders under way and what stands in their way. It is written down
// before an order is sent.
type History struct {
	Version  int                        `json:"version"`
	Serial   uint64                     `json:"serial"`
	Clusters map[string]*ClusterHistory `json:"clusters"` // by key
}

// ClusterHistory is that of one cluster.
type ClusterHistory struct {
	Sequence uint64    `json:"sequence"` // of the newest order
	Starts   []*Start  `json:"starts,omitempty"`
	Stops    []*Stop   `json:"stops,omitempty"`
	Failures int       `json:"failures,omitempty"` // starts in a row
	FailedAt time.Time `json:"failed_at,omitzero"` // when the newest of them did
	RetryAt  time.Time `json:"retry_at,omitzero"`
	Held     string    `json:"held,omitempty"` // why nothing is ordered
	Alarm    bool      `json:"alarm,omitempty"`
	Manual   *int      `json:"manual,omitempty"` // members, by an operator
}

// Start is members that were ordered and have not all joined.
type Start struct {
	Order    Order     `json:"order"`
	At       time.Time `json:"at"`
	Accepted bool      `json:"accepted"` // by the driver; else it may be given again
	Joined   []string  `json:"joined,omitempty"`
	Known    []string  `json:"known,omitempty"` // members that are not of this start

	tries   int
	retryAt time.Time
	calling bool
}

func (s *Start) missing() int { return max(s.Order.Count-len(s.Joined), 0) }

// Stop is a member that is to go, or the rest of a start that failed.
type Stop struct {
	Member   string    `json:"member,omitempty"`
	Host     string    `json:"host,omitempty"`
	Since    time.Time `json:"since"`    // when its drain began
	Deadline time.Time `json:"deadline"` // when it is stopped whatever it does
	Order    *Order    `json:"order,omitempty"`
	Ordered  time.Time `json:"ordered,omitzero"`
	Accepted bool      `json:"accepted,omitempty"`
	Lost     bool      `json:"lost,omitempty"` // it served nobody: it is not called back
	Tries    int       `json:"tries,omitempty"`

	retryAt time.Time
	calling bool
}

const (
	historyVersion = 1
	historyMax     = 8 << 20 // bytes that are read back
	historyFile    = "autoscale.json"
)

// historyStore keeps the history in a file; without a directory it keeps
// nothing.
type historyStore struct{ dir string }

func (h historyStore) save(b []byte) error {
	if h.dir == "" {
		return nil
	}
	return replaceFile(filepath.Join(h.dir, historyFile), b)
}

// replaceFile writes a file so that a reader, or a process that starts after
// this one was killed, finds the old one or the new one whole.
func replaceFile(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	fresh := path + ".new"
	if err := os.WriteFile(fresh, b, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// load returns the history that was kept, nil where there is none.
func (h historyStore) load() (*History, error) {
	if h.dir == "" {
		return nil, nil
	}
	path := filepath.Join(h.dir, historyFile)
	b, err := readFileMost(path, historyMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the orders under way: %w", err)
	}
	past, err := parseHistory(b)
	if err != nil {
		return nil, fmt.Errorf("cannot use %q, move it away to start without: %w", path, err)
	}
	return past, nil
}

func parseHistory(b []byte) (*History, error) {
	if len(b) > historyMax {
		return nil, fmt.Errorf("the history is larger than %d MiB", historyMax>>20)
	}
	var past History
	if err := json.Unmarshal(b, &past); err != nil {
		return nil, err
	}
	if past.Version != historyVersion {
		return nil, fmt.Errorf("the history has version %d, expected %d", past.Version, historyVersion)
	}
	for key, c := range past.Clusters {
		if c == nil {
			return nil, fmt.Errorf("the history of %q is empty", key)
		}
		for _, s := range c.Starts {
			if s == nil {
				return nil, fmt.Errorf("the history of %q has an empty start", key)
			}
		}
		for _, s := range c.Stops {
			if s == nil {
				return nil, fmt.Errorf("the history of %q has an empty stop", key)
			}
		}
	}
	return &past, nil
}

// readFileMost reads a file that must not be larger than most.
func readFileMost(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, fmt.Errorf("%q is larger than %d MiB", path, most>>20)
	}
	return os.ReadFile(path)
}
