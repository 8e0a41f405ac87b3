package main

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/serin-dev/serin/api/v1alpha1"
)

const reference = "../../docs/api-reference.md"

func TestTheReferenceIsUpToDate(t *testing.T) {
	have, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	if err := write(&want, "../.."); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), want.String()); diff != "" {
		t.Errorf("run make generate (-have +want):\n%s", diff)
	}
}

// fields lists what a type holds, down to Kubernetes' own types.
func fields(t reflect.Type, path string) (out []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "metadata" {
			continue
		}
		at, ft := strings.TrimPrefix(path+"."+name, "."), f.Type
		out = append(out, at)
		for ft.Kind() == reflect.Pointer || ft.Kind() == reflect.Slice {
			if ft.Kind() == reflect.Slice {
				at += "[]"
			}
			ft = ft.Elem()
		}
		if ft.Kind() == reflect.Struct && strings.HasSuffix(ft.PkgPath(), "api/v1alpha1") {
			out = append(out, fields(ft, at)...)
		}
	}
	return out
}

// The types know nothing of how the page is made: a field that it leaves out, or has no words for, is found here.
func TestEveryFieldHasARow(t *testing.T) {
	raw, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	for kind, typ := range map[string]reflect.Type{
		"ScoringEndpoint": reflect.TypeFor[v1alpha1.ScoringEndpoint](), "ScoringRollout": reflect.TypeFor[v1alpha1.ScoringRollout](), "RolloutAction": reflect.TypeFor[v1alpha1.RolloutAction](),
	} {
		_, text, ok := strings.Cut(string(raw), "## "+kind+"\n")
		if !ok {
			t.Fatalf("no section about %s", kind)
		}
		text, _, _ = strings.Cut(text, "\n## ")
		all := fields(typ, "")
		if len(all) < 12 {
			t.Fatalf("%s has %d fields only: the test does not see them", kind, len(all))
		}
		for _, path := range all {
			if !regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(path) + "` \\| [^|]+ \\|.*\\| [^|]{4,} \\|$").MatchString(text) {
				t.Errorf("%s: %s has no row, or no words in it", kind, path)
			}
		}
	}
}
