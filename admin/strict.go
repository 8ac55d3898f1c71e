package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// strict refuses a change whose query holds anything that its endpoint does
// not know. A dry run that is mistyped would otherwise be the change itself.
func (r *route) strict() http.HandlerFunc {
	if r.method != http.MethodPost {
		return r.handle
	}
	return func(w http.ResponseWriter, req *http.Request) {
		if err := r.checkQuery(req.URL.RawQuery); err != nil {
			fail(w, http.StatusUnprocessableEntity, err.Error())
			return
		}
		r.handle(w, req)
	}
}

func (r *route) checkQuery(raw string) error {
	// Query() would leave out what it cannot read, and what stands behind it.
	query, err := url.ParseQuery(raw)
	if err != nil {
		return errors.New("the query is malformed; expected NAME=VALUE, joined by &")
	}
	for name, values := range query {
		if !slices.ContainsFunc(r.query, func(p parameter) bool { return p.name == name }) {
			return fmt.Errorf("the query has %s; expected %s", quote(name), r.parameters())
		}
		if len(values) > 1 {
			return fmt.Errorf("the query has %s %d times; expected it once", quote(name), len(values))
		}
		if name != dryRunName {
			continue
		}
		if _, err := strconv.ParseBool(values[0]); err != nil {
			return fmt.Errorf("%s is %s; expected 1 or 0", dryRunName, quote(values[0]))
		}
	}
	return nil
}

// parameters names those of the query in words.
func (r *route) parameters() string {
	if len(r.query) == 0 {
		return "none"
	}
	var names []string
	for _, p := range r.query {
		names = append(names, p.name)
	}
	return strings.Join(names, " or ")
}

// dryRunName is the parameter with which a change is only asked about.
const dryRunName = "dry_run"

// dryRun reports whether a request only asks what would change.
func dryRun(r *http.Request) bool {
	dry, _ := strconv.ParseBool(r.URL.Query().Get(dryRunName)) // strict has looked
	return dry
}

// plain answers 404 to paths that http.ServeMux would redirect from: an order
// is not to be sent to another address than the one that it was given for.
func plain(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.EscapedPath()
		if clean := path.Clean(p); p != clean && p != clean+"/" {
			noEndpoint(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func noEndpoint(w http.ResponseWriter, _ *http.Request) {
	fail(w, http.StatusNotFound, "no such endpoint; /api/v1/openapi.json lists those that there are")
}
