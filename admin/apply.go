package admin

import (
	"errors"
	"net/http"
)

// Applying puts a configuration in force on several load balancers: prepared
// on all, then committed on all, or aborted. Functions may be nil.
type Applying struct {
	// Prepare checks a whole file as if it stood where the configuration does,
	// and keeps it for a minute.
	Prepare func(text string) (Prepared, error)
	// Commit writes the prepared file in place of the configuration and loads
	// it. On an error everything is as before.
	Commit func(ConfigOrder) (Prepared, error)
	// Rollback undoes a Commit, or forgets what was prepared.
	Rollback func(id string) error
}

// ErrNotPrepared is an id that nothing was prepared under, or too long ago.
var ErrNotPrepared = errors.New("nothing is prepared under this id any more")

const (
	preparePath = "/api/v1/config/prepare"
	configMax   = 8<<20 + 64<<10 // a file of the largest size, with what JSON adds
)

// ConfigFile is a whole configuration file.
type ConfigFile struct {
	Text string `json:"text"`
}

// Prepared is a configuration that can be committed, or was.
type Prepared struct {
	Schema   int      `json:"schema_version"`
	ID       string   `json:"id"`
	Before   string   `json:"before"`  // version in force, as peers compare it
	Version  string   `json:"version"` // version of the file
	Changed  bool     `json:"changed"` // the file is not the one that is there
	Epoch    uint64   `json:"epoch"`   // of the version in force: greater is newer
	Warnings []string `json:"warnings"`
}

// ConfigOrder names what was prepared.
type ConfigOrder struct {
	ID string `json:"id"`
	// Epoch is that of the version once it is in force, the same on all load
	// balancers, in milliseconds since 1970; 0: the time of the commit.
	Epoch uint64 `json:"epoch,omitempty"`
}

// Done is the answer to what has nothing else to say.
type Done struct {
	Schema int  `json:"schema_version"`
	OK     bool `json:"ok"`
}

// applying lists the endpoints that put a file in force.
func (s *Server) applying() []route {
	return []route{
		{method: "POST", path: preparePath, summary: "check a configuration file and keep it for a minute; 422 with what is wrong", handle: s.prepareConfig, body: ConfigFile{}, answer: Prepared{}},
		{method: "POST", path: "/api/v1/config/commit", summary: "write a prepared file in place of the configuration and load it", handle: s.commitConfig, body: ConfigOrder{}, answer: Prepared{}},
		{method: "POST", path: "/api/v1/config/rollback", summary: "undo a commit of the last minute, or forget what was prepared", handle: s.rollbackConfig, body: ConfigOrder{}, answer: Done{}},
	}
}

func (s *Server) prepareConfig(w http.ResponseWriter, r *http.Request) {
	var file ConfigFile
	if !decode(w, r, &file) {
		return
	}
	s.tellPrepared(w)(s.src.Applying.Prepare(file.Text))
}

func (s *Server) commitConfig(w http.ResponseWriter, r *http.Request) {
	var order ConfigOrder
	if !decode(w, r, &order) {
		return
	}
	s.tellPrepared(w)(s.src.Applying.Commit(order))
}

func (s *Server) rollbackConfig(w http.ResponseWriter, r *http.Request) {
	var order ConfigOrder
	if !decode(w, r, &order) {
		return
	}
	if err := s.src.Applying.Rollback(order.ID); err != nil {
		s.tellPrepared(w)(Prepared{}, err)
		return
	}
	answer(w, http.StatusOK, Done{SchemaVersion, true})
}

func (s *Server) tellPrepared(w http.ResponseWriter) func(Prepared, error) {
	return func(p Prepared, err error) {
		switch {
		case errors.Is(err, ErrNotPrepared):
			fail(w, http.StatusConflict, err.Error())
		case err != nil:
			fail(w, http.StatusUnprocessableEntity, err.Error())
		default:
			p.Schema, p.Warnings = SchemaVersion, list(p.Warnings)
			answer(w, http.StatusOK, p)
		}
	}
}
