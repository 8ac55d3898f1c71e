package admin

import (
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// openAPI answers the description of this API.
func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, s.Document())
}

// Document returns the OpenAPI 3.1 description of all endpoints, made of the
// table of routes and the types of their answers, so that it cannot differ
// from them.
func (s *Server) Document() map[string]any {
	d := &document{schemas: map[string]any{}}
	paths := map[string]any{}
	for _, r := range s.routes {
		entry, _ := paths[r.path].(map[string]any)
		if entry == nil {
			entry = map[string]any{}
			paths[r.path] = entry
		}
		entry[strings.ToLower(r.method)] = d.operation(&r)
	}
	failure := d.schema(reflect.TypeFor[Failure]())
	return map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{"title": "Jetway admin API", "version": "1",
			"description": "Every JSON answer carries schema_version. Fields may be added within a version; none changes its meaning."},
		"paths":    paths,
		"security": []any{map[string]any{}, map[string]any{"token": []string{}}},
		"components": map[string]any{
			"schemas":         d.schemas,
			"securitySchemes": map[string]any{"token": map[string]any{"type": "http", "scheme": "bearer"}},
			"responses": map[string]any{"failure": map[string]any{"description": "it was refused, and why",
				"content": map[string]any{"application/json": map[string]any{"schema": failure}}}},
		},
	}
}

// document collects the schemas that operations refer to.
type document struct{ schemas map[string]any }

func (d *document) operation(r *route) map[string]any {
	kind, content := r.kind, map[string]any{}
	if kind == "" {
		kind = "application/json"
	}
	if r.answer != nil {
		content["schema"] = d.schema(reflect.TypeOf(r.answer))
	}
	op := map[string]any{
		"summary": r.summary,
		"responses": map[string]any{
			"200":     map[string]any{"description": "it worked", "content": map[string]any{kind: content}},
			"default": map[string]any{"$ref": "#/components/responses/failure"},
		},
	}
	var parameters []any
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(r.path, -1) {
		parameters = append(parameters, map[string]any{"name": m[1], "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
	}
	for _, q := range r.query {
		parameters = append(parameters, map[string]any{"name": q.name, "in": "query", "description": q.meaning, "schema": map[string]any{"type": "string"}})
	}
	if len(parameters) > 0 {
		op["parameters"] = parameters
	}
	if r.body != nil {
		op["requestBody"] = map[string]any{"required": true,
			"content": map[string]any{"application/json": map[string]any{"schema": d.schema(reflect.TypeOf(r.body))}}}
	}
	return op
}

// schema returns the JSON schema of a Go type as encoding/json writes it.
func (d *document) schema(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Pointer:
		return d.schema(t.Elem())
	}
	switch t.Kind() {
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice, reflect.Array:
		return map[string]any{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Interface:
		return map[string]any{}
	case reflect.Struct:
		return d.object(t)
	}
	return map[string]any{"type": "integer"}
}

func (d *document) object(t reflect.Type) map[string]any {
	ref := map[string]any{"$ref": "#/components/schemas/" + t.Name()}
	if d.schemas[t.Name()] != nil {
		return ref
	}
	properties, required := map[string]any{}, []string{}
	schema := map[string]any{"type": "object", "properties": properties}
	d.schemas[t.Name()] = schema // before its fields: a type may hold itself
	var add func(t reflect.Type)
	add = func(t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous:
				add(f.Type)
				continue
			case name == "-" || !f.IsExported():
				continue
			case name == "":
				name = f.Name
			}
			properties[name] = d.schema(f.Type)
			if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
				required = append(required, name)
			}
		}
	}
	add(t)
	schema["required"] = required
	return ref
}
