// Package azure_test reads deploy/azure as Terraform would, as far as that goes without the providers (their registry
// is not reachable from everywhere, and a plan needs a subscription): format, syntax, references, and the arguments
// that azurerm 5 took away.
package azure_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

const folder = "../../deploy/azure/terraform"

// module is all files of the folder as one.
type module struct {
	declared map[string]hcl.Range // "var.name", "local.group", "azurerm_key_vault.this", "data.azurerm_subscription.this"
	used     map[string]hcl.Range
	blocks   []*hclsyntax.Block
}

func read(t *testing.T) module {
	t.Helper()
	files, err := filepath.Glob(folder + "/*.tf")
	if err != nil || len(files) < 5 {
		t.Fatalf("files of %s: %v, %v", folder, files, err)
	}
	m := module{declared: map[string]hcl.Range{}, used: map[string]hcl.Range{}}
	parser := hclparse.NewParser()
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := hclwrite.Format(text); !bytes.Equal(got, text) {
			t.Errorf("%s is not as `terraform fmt` writes it:\n%s", name, firstDifference(text, got))
		}
		f, problems := parser.ParseHCL(text, name)
		if problems.HasErrors() {
			t.Fatalf("%s: %v", name, problems)
		}
		body := f.Body.(*hclsyntax.Body)
		for _, b := range body.Blocks {
			m.take(b)
		}
	}
	return m
}

func firstDifference(have, want []byte) string {
	h, w := strings.Split(string(have), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(h), len(w)) {
		if h[i] != w[i] {
			return fmt.Sprintf("line %d: %q, want %q", i+1, h[i], w[i])
		}
	}
	return "another number of lines"
}

func (m *module) take(b *hclsyntax.Block) {
	m.blocks = append(m.blocks, b)
	switch b.Type {
	case "variable":
		m.declared["var."+b.Labels[0]] = b.Range()
	case "locals":
		for name, a := range b.Body.Attributes {
			m.declared["local."+name] = a.Range()
		}
	case "resource":
		m.declared[b.Labels[0]+"."+b.Labels[1]] = b.Range()
	case "data":
		m.declared["data."+b.Labels[0]+"."+b.Labels[1]] = b.Range()
	}
	_ = hclsyntax.VisitAll(b.Body, func(n hclsyntax.Node) hcl.Diagnostics {
		if e, ok := n.(hclsyntax.Expression); ok && b.Type != "terraform" {
			for _, v := range e.Variables() {
				m.use(v)
			}
		}
		return nil
	})
}

// use notes what a reference names: its first two parts, three for data.
func (m *module) use(v hcl.Traversal) {
	parts := []string{v.RootName()}
	for _, step := range v[1:] {
		a, ok := step.(hcl.TraverseAttr)
		if !ok {
			break
		}
		parts = append(parts, a.Name)
	}
	n := 2
	switch {
	case slices.Contains([]string{"each", "count", "path", "self", "u", "what", "grant", "service_mesh_profile"}, parts[0]):
		return // made by the language, by a for, or an argument's own name in ignore_changes
	case parts[0] == "data":
		n = 3
	}
	if len(parts) < n {
		return
	}
	m.used[strings.Join(parts[:n], ".")] = v.SourceRange()
}

func TestEveryReferenceNamesSomething(t *testing.T) {
	m := read(t)
	for name, at := range m.used {
		if _, ok := m.declared[name]; !ok {
			t.Errorf("%v: %s is declared nowhere", at, name)
		}
	}
	for name, at := range m.declared {
		if _, ok := m.used[name]; !ok && (strings.HasPrefix(name, "var.") || strings.HasPrefix(name, "local.") || strings.HasPrefix(name, "data.")) {
			t.Errorf("%v: %s is used nowhere", at, name)
		}
	}
	if len(m.used) < 30 {
		t.Fatalf("only %d references found: this test reads nothing", len(m.used))
	}
}

// TestVariablesAreExplained: each has a type and says what it is.
func TestVariablesAreExplained(t *testing.T) {
	for _, b := range read(t).blocks {
		if b.Type == "variable" && (b.Body.Attributes["description"] == nil || b.Body.Attributes["type"] == nil) {
			t.Errorf("%v: variable %q lacks a description or a type", b.Range(), b.Labels[0])
		}
	}
}

// TestArgumentsOfAzurerm5: what its upgrade guide removed or now requires, for the resources that are used here.
func TestArgumentsOfAzurerm5(t *testing.T) {
	gone := map[string][]string{
		"azurerm_key_vault":                     {"enable_rbac_authorization", "contact"},
		"azurerm_federated_identity_credential": {"parent_id"},
		"azurerm_container_registry":            {"trust_policy_enabled"},
		"azurerm_log_analytics_workspace":       {"local_authentication_disabled", "internet_ingestion_enabled", "internet_query_enabled"},
		"azurerm_storage_account":               {"queue_properties", "static_website"},
	}
	needed := map[string][]string{
		"azurerm_key_vault":                     {"rbac_authorization_enabled"},
		"azurerm_kubernetes_cluster":            {"node_provisioning_profile"},
		"azurerm_federated_identity_credential": {"user_assigned_identity_id"},
	}
	seen := map[string]bool{}
	for _, b := range read(t).blocks {
		if b.Type != "resource" {
			continue
		}
		has := map[string]bool{}
		for name := range b.Body.Attributes {
			has[name] = true
		}
		for _, inner := range b.Body.Blocks {
			has[inner.Type] = true
		}
		kind := b.Labels[0]
		seen[kind] = true
		for _, name := range gone[kind] {
			if has[name] {
				t.Errorf("%v: azurerm 5 has no %s.%s", b.Range(), kind, name)
			}
		}
		for _, name := range needed[kind] {
			if !has[name] {
				t.Errorf("%v: azurerm 5 requires %s.%s", b.Range(), kind, name)
			}
		}
	}
	for kind := range needed {
		if !seen[kind] {
			t.Errorf("no %s was found: this test reads nothing", kind)
		}
	}
}

// TestNoSecretInTheFiles: tokens and passwords come from the environment or a vault.
func TestNoSecretInTheFiles(t *testing.T) {
	for _, b := range read(t).blocks {
		_ = hclsyntax.VisitAll(b.Body, func(n hclsyntax.Node) hcl.Diagnostics {
			a, ok := n.(*hclsyntax.Attribute)
			if !ok {
				return nil
			}
			for _, word := range []string{"password", "secret_value", "personal_access_token", "serviceprincipalkey", "client_secret"} {
				if strings.Contains(a.Name, word) {
					t.Errorf("%v: %s: secrets do not belong here", a.Range(), a.Name)
				}
			}
			return nil
		})
	}
}

// TestWhoOfGitHubGetsAToken: the steps' jobs by the environment, build and revert by the branch; nobody else.
func TestWhoOfGitHubGetsAToken(t *testing.T) {
	vars := func(repository cty.Value) cty.Value {
		return cty.ObjectVal(map[string]cty.Value{"github_repository": repository, "branch": cty.StringVal("main"), "environment": cty.StringVal("abtestenv")})
	}
	subjects := func(b *hclsyntax.Block, repository cty.Value) (got []string) {
		c := &hcl.EvalContext{Variables: map[string]cty.Value{"var": vars(repository)}}
		over, problems := b.Body.Attributes["for_each"].Expr.Value(c)
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		for _, who := range over.AsValueMap() {
			c.Variables["each"] = cty.ObjectVal(map[string]cty.Value{"value": who})
			subject, problems := b.Body.Attributes["subject"].Expr.Value(c)
			if problems.HasErrors() {
				t.Fatal(problems)
			}
			got = append(got, subject.AsString())
		}
		slices.Sort(got)
		return got
	}
	for _, b := range read(t).blocks {
		if b.Type != "resource" || b.Labels[0] != "azurerm_federated_identity_credential" || b.Labels[1] != "github" {
			continue
		}
		if got, want := subjects(b, cty.StringVal("o/r")), []string{"repo:o/r:environment:abtestenv", "repo:o/r:ref:refs/heads/main"}; !slices.Equal(got, want) {
			t.Errorf("subjects %q, want %q", got, want)
		}
		if got := subjects(b, cty.NullVal(cty.String)); len(got) > 0 {
			t.Errorf("without a repository: %q", got)
		}
		return
	}
	t.Error("no credential for GitHub")
}

// TestNamesAreThoseOfThePipelines: with the defaults the ready pipeline finds its connection and its environment, and of
// several approvers one is enough.
func TestNamesAreThoseOfThePipelines(t *testing.T) {
	page, err := os.ReadFile("../../pipelines/azure-devops/azure-pipelines.yml")
	if err != nil {
		t.Fatal(err)
	}
	value := func(kind, attribute string, approvers ...cty.Value) cty.Value {
		set := cty.SetValEmpty(cty.String)
		if len(approvers) > 0 {
			set = cty.SetVal(approvers)
		}
		c := &hcl.EvalContext{
			Variables: map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{"name": cty.StringVal("serin"), "environment": cty.StringVal("abtestenv"), "approvers": set})},
			Functions: map[string]function.Function{"length": stdlib.LengthFunc},
		}
		for _, b := range read(t).blocks {
			if b.Type == "resource" && b.Labels[0] == kind {
				v, problems := b.Body.Attributes[attribute].Expr.Value(c)
				if problems.HasErrors() {
					t.Fatal(problems)
				}
				return v
			}
		}
		t.Fatalf("no %s", kind)
		return cty.NilVal
	}
	for kind, attribute := range map[string]string{"azuredevops_serviceendpoint_azurerm": "service_endpoint_name", "azuredevops_environment": "name"} {
		if name := value(kind, attribute).AsString(); !strings.Contains(string(page), name) {
			t.Errorf("%s %q: the pipeline does not name it", kind, name)
		}
	}
	two := []cty.Value{cty.StringVal("a"), cty.StringVal("b")}
	if v := value("azuredevops_check_approval", "minimum_required_approvers", two...); v.IsNull() || !v.RawEquals(cty.NumberIntVal(1)) {
		t.Errorf("of two approvers %#v must agree", v)
	}
	if v := value("azuredevops_check_approval", "minimum_required_approvers", two[0]); !v.IsNull() {
		t.Errorf("of one approver %#v", v)
	}
}
