package admin

import (
	"net/http"
	"strconv"
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
	Busy          int               `json:"busy"`         // tenants whose limits are being counted
	InFlight      int               `json:"in_flight"`    // their requests
	Told          uint64            `json:"told"`         // tenants that peers told of
	Installation  bool              `json:"installation"` // there are figures of the installation
	Top           []TenantUse       `json:"top"`
	Others        TenantUse         `json:"others"`
}

// TenantUse is what one tenant used since the start.
type TenantUse struct {
	Name     string `json:"name"`
	ID       int64  `json:"id,omitempty"`
	Requests uint64 `json:"requests"`
	Refused  uint64 `json:"refused"`             // over a limit, dry runs included
	InFlight int    `json:"in_flight,omitempty"` // of tenants with limits
	// All is the same at this Jetway and the peers that are connected, as far as
	// they tell: each does of its busiest tenants. Absent without peers.
	All *TenantSum `json:"installation,omitempty"`
}

// TenantSum is what one tenant used at several load balancers.
type TenantSum struct {
	Requests uint64 `json:"requests"`
	Refused  uint64 `json:"refused"`
	InFlight int    `json:"in_flight"`
}

// TenantView is one tenant.
type TenantView struct {
	Schema  int           `json:"schema_version"`
	Name    string        `json:"name"`
	State   string        `json:"state"` // known, inactive, unknown, super, or failed where the directory could not be asked
	ID      int64         `json:"id,omitempty"`
	Plan    string        `json:"plan,omitempty"`
	Domains []TenantRoute `json:"domains"` // where its requests go, by host pattern
}

// TenantRoute is where the requests of a tenant for one host pattern go.
type TenantRoute struct {
	Service   string `json:"service"`
	Host      string `json:"host"`
	Domain    string `json:"domain"` // empty: no range holds the tenant
	SubDomain string `json:"sub_domain"`
}

// topMax bounds how many tenants are listed.
const topMax = 1000

func (s *Server) tenant(w http.ResponseWriter, r *http.Request) {
	if s.src.Tenant == nil {
		fail(w, http.StatusNotFound, "there is no tenant directory")
		return
	}
	v, err := s.src.Tenant(r.Context(), r.PathValue("tenant"))
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	v.Schema, v.Domains = SchemaVersion, list(v.Domains)
	answer(w, http.StatusOK, v)
}

func (s *Server) tenants(w http.ResponseWriter, r *http.Request) {
	top := 20
	if text := r.URL.Query().Get("top"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > topMax {
			fail(w, http.StatusBadRequest, "top is "+quote(text)+"; expected a number up to 1000")
			return
		}
		top = n
	}
	var v Tenants
	if s.src.Tenants != nil {
		v = s.src.Tenants(top)
	}
	v.Schema, v.Top = SchemaVersion, list(v.Top)
	answer(w, http.StatusOK, v)
}
