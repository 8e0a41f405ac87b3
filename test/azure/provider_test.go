package azure_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// azurermVersion is 5.2.0, of 20 August 2026, as the Go module proxy names what is tagged v5: 18 MB.
const azurermVersion = "v1.44.1-0.20260824201233-fae580791926"

// manual is what a page of the provider's documentation says of arguments: by block, "" for the resource itself.
type manual map[string]map[string]bool // argument → it must be there

var (
	argument = regexp.MustCompile("^\\s*[*-] `([a-z0-9_]+)` - (\\(?Required)?")
	ofBlock  = regexp.MustCompile("^(?:A|An|The|Each) `?([a-z0-9_]+)`? block")
)

func manualOf(page string) manual {
	m, block, reading := manual{}, "", false
	for _, line := range strings.Split(page, "\n") {
		if strings.HasPrefix(line, "## ") {
			reading, block = strings.HasPrefix(line, "## Argument"), ""
		}
		if of := ofBlock.FindStringSubmatch(line); of != nil {
			block = of[1]
		}
		if a := argument.FindStringSubmatch(line); a != nil && reading {
			if m[block] == nil {
				m[block] = map[string]bool{}
			}
			m[block][a[1]] = a[2] != ""
		}
	}
	return m
}

// wrong is what a body says that the manual does not, or lacks.
func (m manual) wrong(name string, body *hclsyntax.Body) (found []string) {
	has := map[string]bool{}
	for a := range body.Attributes {
		has[a] = true
	}
	for _, b := range body.Blocks {
		inner, kind := b.Body, b.Type
		if kind == "dynamic" {
			kind = b.Labels[0]
			inner = b.Body.Blocks[0].Body
		}
		if kind == "lifecycle" {
			continue
		}
		has[kind] = true
		if m[kind] != nil {
			found = append(found, m.wrong(kind, inner)...)
		}
	}
	for a := range has {
		if _, known := m[name][a]; !known && !slices.Contains([]string{"count", "for_each", "depends_on"}, a) {
			found = append(found, "no argument "+strings.TrimPrefix(name+".", ".")+a)
		}
	}
	for a, required := range m[name] {
		if required && !has[a] {
			found = append(found, strings.TrimPrefix(name+".", ".")+a+" is required")
		}
	}
	return found
}

// TestAzurermKnowsTheArguments: every argument and block of azurerm's resources is in its documentation, and none that is
// required is missing. The other two providers cannot be had as Go modules.
func TestAzurermKnowsTheArguments(t *testing.T) {
	needReal(t)
	manual := moduleFolder(t, "github.com/hashicorp/terraform-provider-azurerm@"+azurermVersion)
	asked := 0
	for _, b := range read(t).blocks {
		kind, is := map[string]string{"resource": "r", "data": "d"}[b.Type]
		if !is {
			continue
		}
		name, azurerm := strings.CutPrefix(b.Labels[0], "azurerm_")
		if !azurerm {
			t.Logf("unchecked: %s", b.Labels[0])
			continue
		}
		page, err := os.ReadFile(filepath.Join(manual, "website/docs", kind, name+".html.markdown"))
		if err != nil {
			t.Errorf("%v: %v", b.Range(), err)
			continue
		}
		asked++
		for _, w := range manualOf(string(page)).wrong("", b.Body) {
			t.Errorf("%v: %s: %s", b.Range(), b.Labels[0], w)
		}
	}
	if asked < 20 {
		t.Errorf("only %d resources were looked at", asked)
	}
	text, err := os.ReadFile(filepath.Join(manual, "website/docs/r/kubernetes_cluster.html.markdown"))
	if err != nil {
		t.Fatal(err)
	}
	f, problems := hclparse.NewParser().ParseHCL([]byte("nosuch = 1\nnetwork_profile {\n  nosuch = 1\n}\n"), "mistakes.tf")
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	got := strings.Join(manualOf(string(text)).wrong("", f.Body.(*hclsyntax.Body)), "\n")
	for _, want := range []string{"no argument nosuch", "no argument network_profile.nosuch", "network_profile.network_plugin is required", "default_node_pool is required"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not found: the test cannot fail\n%s", want, got)
		}
	}
}
