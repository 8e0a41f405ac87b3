package azure_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"
)

const root = "../.."

// programs are those whose commands are looked for: the tests of the pipelines have stand-ins for them.
var programs = []string{"az", "kubelogin", "trivy"}

// command is a call of one of the programs, as it stands in a script or a page.
type command struct {
	Where string   `json:"-"`
	Name  string   `json:"-"`
	Args  []string `json:"args"`
	Whole bool     `json:"whole"` // in prose a command may be a part of one
}

func (c command) String() string { return c.Where + ": " + c.Name + " " + strings.Join(c.Args, " ") }

// commands are all of them in what users get: scripts, pipelines, pages, charts, Terraform.
func commands(t *testing.T) (found []command) {
	t.Helper()
	for _, folder := range []string{"pipelines", "deploy", "docs", "charts", "examples", "README.md"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, ".go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err == nil {
				found = append(found, commandsOf(t, strings.TrimPrefix(path, root+"/"), string(text))...)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

var (
	inProse  = regexp.MustCompile("`((?:az|kubelogin|trivy) [^`]+)`")
	inString = regexp.MustCompile(`"((?:az|kubelogin|trivy) [^"]+)"`)
	template = regexp.MustCompile(`\$\{[^}]*\}`) // of Terraform
)

func commandsOf(t *testing.T, name, text string) (found []command) {
	t.Helper()
	switch filepath.Ext(name) {
	case ".sh":
		return calls(t, name, text, true)
	case ".md":
		var prose string
		blocks, prose := codeAndProse(text)
		for _, b := range blocks {
			found = append(found, calls(t, name, b, true)...)
		}
		text = prose
	default:
		for _, m := range inString.FindAllStringSubmatch(text, -1) {
			found = append(found, calls(t, name, template.ReplaceAllString(m[1], "x"), true)...)
		}
	}
	for _, m := range inProse.FindAllStringSubmatch(text, -1) {
		found = append(found, calls(t, name, strings.ReplaceAll(m[1], "\n", " "), false)...)
	}
	return found
}

// codeAndProse parts a page: blocks are fenced or indented.
func codeAndProse(page string) (blocks []string, prose string) {
	var block []string
	fenced := false
	end := func() {
		if len(block) > 0 {
			blocks = append(blocks, strings.Join(block, "\n"))
		}
		block = nil
	}
	for _, line := range strings.Split(page, "\n") {
		switch fence := strings.HasPrefix(line, "```"); {
		case fence:
			fenced = !fenced
			end()
		case fenced || strings.HasPrefix(line, "    "):
			block = append(block, line)
		default:
			if line != "" {
				end()
			}
			prose += line + "\n"
		}
	}
	end()
	return blocks, prose
}

// calls parses a text as a shell does. What is no shell has none, unless it looks as if it had.
func calls(t *testing.T, where, text string, whole bool) (found []command) {
	t.Helper()
	file, err := syntax.NewParser().Parse(strings.NewReader(text), where)
	if err != nil {
		if regexp.MustCompile(`(?m)^\s*(az|kubelogin|trivy) `).MatchString(text) {
			t.Errorf("%s: not understood: %v\n%s", where, err, text)
		}
		return nil
	}
	arrays := map[string][]string{}
	syntax.Walk(file, func(n syntax.Node) bool {
		if a, ok := n.(*syntax.Assign); ok && a.Array != nil {
			for _, e := range a.Array.Elems {
				arrays[a.Name.Value] = append(arrays[a.Name.Value], words(e.Value, arrays)...)
			}
		}
		return true
	})
	syntax.Walk(file, func(n syntax.Node) bool {
		if c, ok := n.(*syntax.CallExpr); ok && len(c.Args) > 1 && slices.Contains(programs, c.Args[0].Lit()) {
			one := command{Where: where, Name: c.Args[0].Lit(), Whole: whole}
			for _, w := range c.Args[1:] {
				one.Args = append(one.Args, words(w, arrays)...)
			}
			found = append(found, one)
		}
		return true
	})
	return found
}

// words are what a word becomes: "${list[@]}" all of the list, a value that is not known "x".
func words(w *syntax.Word, arrays map[string][]string) []string {
	if q, ok := w.Parts[0].(*syntax.DblQuoted); ok && len(w.Parts) == 1 && len(q.Parts) == 1 {
		if p, ok := q.Parts[0].(*syntax.ParamExp); ok && p.Index != nil {
			return arrays[p.Param.Value]
		}
	}
	return []string{known(w.Parts)}
}

func known(parts []syntax.WordPart) (text string) {
	for _, p := range parts {
		switch p := p.(type) {
		case *syntax.Lit:
			text += p.Value
		case *syntax.SglQuoted:
			text += p.Value
		case *syntax.DblQuoted:
			text += known(p.Parts)
		default:
			text += "x"
		}
	}
	return text
}

// TestCommandsAreFound: those that are judged elsewhere are read as they stand.
func TestCommandsAreFound(t *testing.T) {
	found := map[string]bool{}
	for _, c := range commands(t) {
		found[c.String()] = c.Whole
	}
	for _, want := range []command{
		{"pipelines/scripts/lib.sh", "az", strings.Fields("aks get-credentials --resource-group x --name x --file x --overwrite-existing --only-show-errors"), true},
		{"pipelines/scripts/lib.sh", "kubelogin", strings.Fields("convert-kubeconfig -l azurecli"), true},
		{"pipelines/scripts/model.sh", "az", strings.Fields("ml model download --name x --version x --download-path x --resource-group x --workspace-name x --only-show-errors"), true},
		{"pipelines/scripts/scan.sh", "trivy", strings.Fields("image --quiet --format cyclonedx --output x x"), true},
		{"pipelines/scripts/image.sh", "az", strings.Fields("acr repository show --name x --image x --query digest --output tsv --only-show-errors"), true},
		{"deploy/azure/README.md", "az", strings.Fields("aks stop --resource-group x --name x"), false},
		{"deploy/azure/README.md", "az", strings.Fields("identity federated-credential create --subject system:serviceaccount:abtesting:default"), false},
		{"deploy/azure/terraform/outputs.tf", "az", strings.Fields("aks get-credentials --resource-group x --name x"), true},
		{"deploy/azure/terraform/variables.tf", "az", strings.Fields("aks mesh get-revisions -l LOCATION -o table"), false},
	} {
		if whole, ok := found[want.String()]; !ok || whole != want.Whole {
			t.Errorf("not found: %s", want)
		}
	}
}
