// Command gendoc writes docs/api-reference.md: every field of the kinds, from the
// comments of the Go types and from the definitions that the API server goes by.
package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

func main() {
	if err := write(os.Stdout, "."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// definition is what is read of a CustomResourceDefinition.
type definition struct {
	Spec struct {
		Names struct {
			Kind, Plural           string
			ShortNames, Categories []string
		}
		Versions []struct {
			Schema struct {
				OpenAPIV3Schema schema `json:"openAPIV3Schema"`
			}
		}
	}
}

// schema is what is read of one field.
type schema struct {
	Type, Format         string
	Properties           map[string]schema
	Items                *schema
	Required             []string
	Enum                 []any
	Default              any
	Minimum, Maximum     *float64
	MaxLength, MaxItems  *int64
	MinItems             *int64
	AllOf                []schema
	Rules                []struct{ Message string } `json:"x-kubernetes-validations"`
	AdditionalProperties *schema
}

// field is one field of a Go type.
type field struct{ doc, typeName string }

// page gathers rows.
type page struct {
	types map[string]map[string]field // Go type → JSON name → field
	docs  map[string]string           // Go type → its comment
	out   strings.Builder
}

func write(w io.Writer, root string) error {
	p := &page{types: map[string]map[string]field{}, docs: map[string]string{}}
	if err := p.readTypes(filepath.Join(root, "api", "v1alpha1")); err != nil {
		return err
	}
	p.out.WriteString(head)
	for _, kind := range []string{"scoringendpoints", "scoringrollouts", "rolloutactions"} {
		raw, err := os.ReadFile(filepath.Join(root, "charts", "serin", "crds", "serin.dev_"+kind+".yaml"))
		if err != nil {
			return fmt.Errorf("reading a definition: %w (make generate)", err)
		}
		var d definition
		if err := yaml.Unmarshal(raw, &d); err != nil {
			return fmt.Errorf("reading the definition of %s: %w", kind, err)
		}
		p.kind(d)
	}
	_, err := io.WriteString(w, p.out.String())
	return err
}

const head = `# Reference of the kinds

Written by ` + "`make generate`" + ` from api/v1alpha1 and the definitions in charts/serin/crds. What the fields are for, with examples: docs/document.md.

The API server checks a document by the same rules as ` + "`serin validate`" + ` and fills in the same defaults: one table of good and bad documents tests
both. It is stricter in how things are written: numbers in the place of texts need quotes (` + "`version: \"2\"`" + `, ` + "`cutoffs: [\"0.05\"]`" + `), quantities are plain
decimals (not ` + "`1e1%`" + ` or ` + "`+5m`" + `), and a field with a default is left out rather than empty. Fields of ` + "`spec.scorer.template`" + ` are Kubernetes' own.

`

// readTypes reads comments and types of all structs of a folder.
func (p *page) readTypes(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return fmt.Errorf("looking for types: %w", err)
	}
	fset := token.NewFileSet()
	for _, name := range files {
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("reading types: %w", err)
		}
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				p.readDecl(g)
			}
		}
	}
	return nil
}

func (p *page) readDecl(g *ast.GenDecl) {
	for _, s := range g.Specs {
		t, ok := s.(*ast.TypeSpec)
		if !ok {
			continue
		}
		p.docs[t.Name.Name] = sentence(g.Doc)
		st, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		fields := map[string]field{}
		for _, f := range st.Fields.List {
			if f.Tag == nil {
				continue
			}
			name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
			fields[name] = field{sentence(f.Doc), typeName(f.Type)}
		}
		p.types[t.Name.Name] = fields
	}
}

// typeName is the name of the type itself, of what a list holds and of what a pointer points to.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.ArrayType:
		return typeName(e.Elt)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// sentence is a comment without its markers, in one line.
func sentence(g *ast.CommentGroup) string {
	if g == nil {
		return ""
	}
	var words []string
	for _, c := range g.List {
		if text := strings.TrimSpace(strings.TrimPrefix(c.Text, "//")); !strings.HasPrefix(text, "+") {
			words = append(words, text)
		}
	}
	return strings.TrimSpace(strings.Join(words, " "))
}

func (p *page) kind(d definition) {
	n := d.Spec.Names
	fmt.Fprintf(&p.out, "## %s\n\n%s\n\n`kubectl get %s`", n.Kind, p.docs[n.Kind], n.Plural)
	for _, s := range n.ShortNames {
		fmt.Fprintf(&p.out, ", `%s`", s)
	}
	fmt.Fprintf(&p.out, "; categories: %s.\n\n| field | type | default | rules, in the API server's words | is |\n|---|---|---|---|---|\n", strings.Join(n.Categories, ", "))
	s := d.Spec.Versions[0].Schema.OpenAPIV3Schema
	p.rows(s, n.Kind, "")
	if len(s.Rules) > 0 {
		fmt.Fprintf(&p.out, "\nOf the whole object: %s.\n", allowed(schema{Rules: s.Rules}))
	}
	p.out.WriteString("\n")
}

// rows writes a line for each field of an object, in the order of their names,
// those of spec before those of status.
func (p *page) rows(s schema, goType, path string) {
	for _, name := range sorted(s.Properties) {
		if path == "" && (name == "apiVersion" || name == "kind" || name == "metadata") {
			continue
		}
		q, f, at := s.Properties[name], p.types[goType][name], strings.TrimPrefix(path+"."+name, ".")
		doc := f.doc
		if doc == "" {
			doc = p.docs[f.typeName]
		}
		def := shown(q.Default)
		if slices.Contains(s.Required, name) {
			def = "required"
		}
		fmt.Fprintf(&p.out, "| `%s` | %s | %s | %s | %s |\n", at, kindOf(q), def, cell(allowed(q)), cell(doc))
		inner, suffix := q, ""
		if q.Items != nil {
			inner, suffix = *q.Items, "[]"
		}
		if _, ours := p.types[f.typeName]; ours && len(inner.Properties) > 0 {
			p.rows(inner, f.typeName, at+suffix)
		}
	}
}

func sorted(m map[string]schema) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func kindOf(s schema) string {
	switch {
	case s.Items != nil:
		return "list of " + kindOf(*s.Items)
	case s.Format == "date-time":
		return "time"
	case s.AdditionalProperties != nil:
		return "map"
	}
	return s.Type
}

func shown(v any) string {
	raw, err := json.Marshal(v)
	if v == nil || err != nil || string(raw) == "{}" {
		return ""
	}
	return "`" + string(raw) + "`"
}

// allowed says in words what the schema asks.
func allowed(s schema) string {
	var out []string
	for _, e := range s.Enum {
		out = append(out, fmt.Sprintf("`%v`", e))
	}
	if len(out) > 0 {
		out = []string{strings.Join(out, ", ")}
	}
	add := func(format string, v *int64) {
		if v != nil {
			out = append(out, fmt.Sprintf(format, *v))
		}
	}
	if s.Minimum != nil {
		out = append(out, fmt.Sprintf("at least %v", *s.Minimum))
	}
	if s.Maximum != nil {
		out = append(out, fmt.Sprintf("at most %v", *s.Maximum))
	}
	add("at least %d", s.MinItems)
	add("at most %d", s.MaxItems)
	add("up to %d characters", s.MaxLength)
	all := s.Rules
	for _, a := range s.AllOf {
		all = append(all, a.Rules...)
		if s.MaxLength == nil {
			add("up to %d characters", a.MaxLength)
		}
	}
	for _, r := range all {
		out = append(out, r.Message)
	}
	if s.Items != nil && len(s.Items.Properties) == 0 {
		if each := allowed(*s.Items); each != "" {
			out = append(out, "each: "+each)
		}
	}
	return strings.Join(out, "; ")
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
