package server

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func document(t *testing.T) map[string]any {
	t.Helper()
	w := ask(newServer(t, newFake()), "", "GET", "/openapi.json", "")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("GET /openapi.json: %d %s", w.Code, w.Header().Get("Content-Type"))
	}
	doc, err := jsonschema.UnmarshalJSON(w.Body)
	if err != nil {
		t.Fatalf("reading openapi.json: %v", err)
	}
	return doc.(map[string]any)
}

// TestDocumentNamesEveryRoute: what is served is described, and the other way round.
func TestDocumentNamesEveryRoute(t *testing.T) {
	var described []string
	for path, item := range document(t)["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			if method != "parameters" {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	served := slices.Sorted(slices.Values(newServer(t, newFake()).routes))
	slices.Sort(described)
	if !slices.Equal(described, served) {
		t.Errorf("described: %v\nserved:    %v", described, served)
	}
}

// closeAll makes every object with properties refuse others: a field that is
// answered and not described is found.
func closeAll(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"].(map[string]any); ok {
			v["additionalProperties"] = false
		}
		for _, k := range slices.Collect(maps.Keys(v)) {
			closeAll(v[k])
		}
	case []any:
		for _, x := range v {
			closeAll(x)
		}
	}
}

func dig(v any, keys ...string) any {
	for _, k := range keys {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}

func escape(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(s)
}

// TestAnswersMatchTheDocument checks answers of every route, good and bad, against
// their schemas.
func TestAnswersMatchTheDocument(t *testing.T) {
	doc := document(t)
	closeAll(dig(doc, "components"))
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	check := func(s *Server, as, method, route, query, body string) {
		t.Helper()
		w := ask(s, as, method, strings.Replace(route, "{name}", "m", 1)+query, body)
		seen[method+" "+route] = true
		checkAnswer(t, c, doc, method, route, w)
	}
	s, refusing := newServer(t, newFake()), newServer(t, newFake())
	refusing.control.(*fake).accept = false
	for _, as := range []string{"lead", "approver", "nobody", ""} {
		for _, get := range []string{"/v1/whoami", "/v1/endpoints", "/v1/endpoints/{name}", "/v1/endpoints/{name}/rollouts", "/v1/endpoints/{name}/audit", "/metrics"} {
			check(s, as, "GET", get, "", "")
			check(s, as, "GET", get, "?no=1", "")
		}
		for _, doc := range []string{"doc", "bad", "broken disk", strings.Repeat("x", maxDocument+1)} {
			check(s, as, "PUT", "/v1/endpoints/{name}", "", doc)
		}
		check(s, as, "DELETE", "/v1/endpoints/{name}", "?dryRun=true", "")
		for _, a := range []string{action("Approve"), action("Pause"), "{", strings.Repeat("x", maxAction+1)} {
			check(s, as, "POST", "/v1/endpoints/{name}/actions", "", a)
			check(refusing, as, "POST", "/v1/endpoints/{name}/actions", "", a)
		}
	}
	check(s, "", "GET", "/openapi.json", "", "")
	check(s, "", "GET", "/healthz", "", "")
	full := newServer(t, newFake())
	full.watch.room = make(chan struct{})
	check(full, "viewer", "GET", "/v1/endpoints/{name}/events", "", "")
	for _, r := range s.routes {
		if !seen[r] {
			t.Errorf("no answer of %s was checked", r)
		}
	}
}

func checkAnswer(t *testing.T, c *jsonschema.Compiler, doc any, method, route string, w *httptest.ResponseRecorder) {
	t.Helper()
	code := strconv.Itoa(w.Code)
	response := dig(doc, "paths", route, strings.ToLower(method), "responses", code)
	if response == nil {
		t.Errorf("%s %s answered %s, which the document does not know: %.200s", method, route, code, w.Body)
		return
	}
	media, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	content, ok := dig(response, "content", media).(map[string]any)
	if !ok {
		t.Errorf("%s %s answered %s as %q, which the document does not know", method, route, code, media)
		return
	}
	if content["schema"] == nil {
		return
	}
	schema, err := c.Compile("openapi.json#/paths/" + escape(route) + "/" + strings.ToLower(method) + "/responses/" + code + "/content/" + escape(media) + "/schema")
	if err != nil {
		t.Fatalf("reading the schema of %s %s %s: %v", method, route, code, err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes()))
	if err == nil {
		err = schema.Validate(v)
	}
	if err != nil {
		t.Errorf("%s %s answered %s: %v\n%.500s", method, route, code, err, w.Body)
	}
}

// TestEventsMatchTheDocument: the payloads of the stream have schemas too.
func TestEventsMatchTheDocument(t *testing.T) {
	doc := document(t)
	closeAll(dig(doc, "components"))
	c := jsonschema.NewCompiler()
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	entries, err := newFake().Audit(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{"Status": fullStatus(), "Entry": entries[0], "Action": map[string]string{"action": "Pause"}} {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.MustCompile("openapi.json#/components/schemas/" + name).Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
