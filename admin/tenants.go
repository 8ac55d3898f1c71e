package admin

import (
	"net/http"
	"time"
)

// Tenants is what is known of tenants: the directory, and who uses Jetway most.
type Tenants struct {
	Schema        int               `json:"schema_version"`
	Kind          string            `json:"directory"` // file, postgres, mysql, sqlite, http, embedded or none
	Up            bool              `json:"up"`        // it could be asked when it was last tried
	Doubted       bool              `json:"doubted"`   // tenants were missing in numbers; none is forgotten
	Known         int               `json:"known"`
	UnknownNames  int               `json:"unknown_names"`
	Questions     map[string]uint64 `json:"questions"`
	Refused       map[string]uint64 `json:"refused"`
	StaleKept     uint64            `json:"stale_kept"`
	Evicted       uint64            `json:"evicted"`
	LastError     string            `json:"last_error,omitempty"`
	LastErrorTime *time.Time        `json:"last_error_time,omitempty"`
	Busy          int               `json:"busy"`      // tenants whose limits are being counted
	InFlight      int               `json:"in_flight"` // their requests
	Top           []TenantUse       `json:"top"`
	Others        TenantUse         `json:"others"`
}

// TenantUse is what one tenant used since the start.
type TenantUse struct {
	Name     string `json:"name"`
	ID       int64  `json:"id,omitempty"`
	Requests uint64 `json:"requests"`
	Refused  uint64 `json:"refused"` // over a limit, dry runs included
}

func (s *Server) tenants(w http.ResponseWriter, _ *http.Request) {
	var v Tenants
	if s.src.Tenants != nil {
		v = s.src.Tenants()
	}
	v.Schema, v.Top = SchemaVersion, list(v.Top)
	answer(w, http.StatusOK, v)
}
