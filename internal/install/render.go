// Package install renders Serin's own chart and applies it, for people without
// Helm. It knows the few functions that this chart uses; a test renders every
// variant with Helm's library too, and compares.
package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"text/template"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	chart "github.com/serin-dev/serin/charts/serin"
)

// Options say what to render.
type Options struct {
	Namespace string
	// Set are values of the chart, as PATH=VALUE.
	Set []string
}

// Manifests are the definitions of the kinds, and all else that the chart holds.
type Manifests struct{ Kinds, Rest []byte }

// Render makes the manifests.
func Render(o Options) (Manifests, error) {
	values, err := valuesOf(o.Set)
	if err != nil {
		return Manifests{}, err
	}
	about, err := about()
	if err != nil {
		return Manifests{}, err
	}
	data := map[string]any{
		"Values": values, "Chart": about,
		"Release": map[string]any{"Name": "serin", "Namespace": o.Namespace, "Service": "serin"},
	}
	rest, err := templates(data)
	if err != nil {
		return Manifests{}, err
	}
	kinds, err := join("crds")
	return Manifests{Kinds: kinds, Rest: rest}, err
}

// about is Chart.yaml with its names in capitals, as Helm shows it to templates.
func about() (map[string]any, error) {
	var c struct{ Name, Version, AppVersion string }
	raw, err := chart.Files.ReadFile("Chart.yaml")
	if err == nil {
		err = yaml.Unmarshal(raw, &c)
	}
	if err != nil {
		return nil, fmt.Errorf("reading Chart.yaml: %w", err)
	}
	return map[string]any{"Name": c.Name, "Version": c.Version, "AppVersion": c.AppVersion}, nil
}

// valuesOf are the chart's values with those that were set, checked by the
// chart's own schema.
func valuesOf(set []string) (map[string]any, error) {
	raw, err := chart.Files.ReadFile("values.yaml")
	if err != nil {
		return nil, fmt.Errorf("reading the values: %w", err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(raw, &values); err != nil {
		return nil, fmt.Errorf("reading the values: %w", err)
	}
	for _, s := range set {
		p, text, ok := strings.Cut(s, "=")
		if !ok || p == "" {
			return nil, fmt.Errorf("--set %q: write PATH=VALUE, for example image.digest=sha256:…", s)
		}
		if err := put(values, strings.Split(p, "."), text); err != nil {
			return nil, fmt.Errorf("--set %q: %w", s, err)
		}
	}
	return values, check(values)
}

// put sets a value: as a text where the chart has a text, else as YAML reads it.
func put(into map[string]any, path []string, text string) error {
	have := into[path[0]]
	if len(path) > 1 {
		next, ok := have.(map[string]any)
		if !ok && have != nil {
			return fmt.Errorf("%s is no object", path[0])
		}
		if !ok {
			next = map[string]any{}
			into[path[0]] = next
		}
		return put(next, path[1:], text)
	}
	if _, ok := have.(string); ok {
		into[path[0]] = text
		return nil
	}
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		return fmt.Errorf("reading the value: %w", err)
	}
	if v == nil {
		v = ""
	}
	into[path[0]] = v
	return nil
}

func check(values map[string]any) error {
	raw, err := chart.Files.ReadFile("values.schema.json")
	if err != nil {
		return fmt.Errorf("reading the values' schema: %w", err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("reading the values' schema: %w", err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("values.schema.json", doc); err != nil {
		return fmt.Errorf("reading the values' schema: %w", err)
	}
	s, err := c.Compile("values.schema.json")
	if err != nil {
		return fmt.Errorf("reading the values' schema: %w", err)
	}
	text, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("checking the values: %w", err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("checking the values: %w", err)
	}
	if err := s.Validate(v); err != nil {
		return fmt.Errorf("checking the values: %w", err)
	}
	return nil
}

// templates executes every template, in the order of their names.
func templates(data map[string]any) ([]byte, error) {
	t := template.New("").Option("missingkey=zero")
	t.Funcs(functions(t))
	names, err := fs.Glob(chart.Files, "templates/*")
	if err != nil {
		return nil, fmt.Errorf("looking for templates: %w", err)
	}
	for _, n := range names {
		raw, err := chart.Files.ReadFile(n)
		if err == nil {
			_, err = t.New(n).Parse(string(raw))
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", n, err)
		}
	}
	var out bytes.Buffer
	for _, n := range names {
		if path.Ext(n) != ".yaml" {
			continue
		}
		out.WriteString("---\n")
		if err := t.ExecuteTemplate(&out, n, data); err != nil {
			return nil, plain(err)
		}
		out.WriteString("\n")
	}
	return out.Bytes(), nil
}

// refused is what a template says of values that do not go together.
type refused struct{ error }

// plain takes the engine's words from around a refusal.
func plain(err error) error {
	var r refused
	if errors.As(err, &r) {
		return r.error
	}
	return fmt.Errorf("rendering: %w", err)
}

// functions are those of Helm that the chart uses.
func functions(t *template.Template) template.FuncMap {
	return template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var b strings.Builder
			err := t.ExecuteTemplate(&b, name, data)
			return b.String(), err
		},
		"toYaml": func(v any) (string, error) {
			raw, err := yaml.Marshal(v)
			return strings.TrimSuffix(string(raw), "\n"), err
		},
		"nindent": func(n int, s string) string {
			pad := strings.Repeat(" ", n)
			return "\n" + pad + strings.ReplaceAll(s, "\n", "\n"+pad)
		},
		"quote": func(v any) string { return fmt.Sprintf("%q", fmt.Sprint(v)) },
		"default": func(standard, v any) any {
			if truth, ok := template.IsTrue(v); ok && truth {
				return v
			}
			return standard
		},
		"ternary": func(a, b any, first bool) any {
			if first {
				return a
			}
			return b
		},
		"replace": func(old, new, s string) string { return strings.ReplaceAll(s, old, new) },
		"list":    func(v ...any) []any { return v },
		"dict":    dict,
		"int":     number,
		"fail":    func(s string) (string, error) { return "", refused{errors.New(s)} },
	}
}

func dict(v ...any) (map[string]any, error) {
	if len(v)%2 != 0 {
		return nil, errors.New("dict needs pairs")
	}
	out := map[string]any{}
	for i := 0; i < len(v); i += 2 {
		out[fmt.Sprint(v[i])] = v[i+1]
	}
	return out, nil
}

// number takes what YAML makes of a number.
func number(v any) (int, error) {
	switch v := v.(type) {
	case int:
		return v, nil
	case int64:
		return int(v), nil
	case float64:
		return int(v), nil
	}
	return 0, fmt.Errorf("%v is no number", v)
}

// join puts the files of a folder of the chart behind one another.
func join(folder string) ([]byte, error) {
	names, err := fs.Glob(chart.Files, folder+"/*")
	if err != nil {
		return nil, fmt.Errorf("looking for %s: %w", folder, err)
	}
	var out bytes.Buffer
	for _, n := range names {
		raw, err := chart.Files.ReadFile(n)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", n, err)
		}
		out.WriteString("---\n")
		out.Write(raw)
	}
	return out.Bytes(), nil
}
