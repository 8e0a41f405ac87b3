package azure_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The real programs. They are fetched by `make azure-cli` only: on two shared cores the Azure CLI took half a minute and 400
// MB, kubelogin three minutes to build, the manuals of trivy and azurerm 60 and 18 MB. All goes into .cache, which git
// ignores, and Go's own caches.
const (
	azVersion        = "2.91.0"
	kubeloginVersion = "v0.2.21" // the last one for the Go version of go.mod
	trivyVersion     = "v0.74.0"
)

// extensions are commands that the Azure CLI fetches from Microsoft when they are first called: not on PyPI.
var extensions = map[string]string{"ml": "ml"}

func needReal(t *testing.T) {
	t.Helper()
	if os.Getenv("SERIN_AZURE_CLI") == "" {
		t.Skip("skipped: make azure-cli fetches the real programs")
	}
}

// run runs a program and returns what it wrote.
func run(t *testing.T, env []string, folder, name string, args ...string) (string, error) {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir, c.Env, c.WaitDelay = folder, append(os.Environ(), env...), time.Minute
	out, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// cache is a folder for what is fetched; make fills it once.
func cache(t *testing.T, name string, fill func(folder string) error) string {
	t.Helper()
	folder, err := filepath.Abs(filepath.Join(root, ".cache", name))
	if err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(folder, "full")
	if _, err := os.Stat(full); err == nil {
		return folder
	}
	if err := fill(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// judged is what the parser of the real Azure CLI finds wrong with commands.
func judged(t *testing.T, all []command) (wrong []string) {
	t.Helper()
	folder := cache(t, "azure-cli-"+azVersion, func(folder string) error {
		if _, err := run(t, nil, ".", "python3", "-m", "venv", folder); err != nil {
			return err
		}
		_, err := run(t, nil, ".", filepath.Join(folder, "bin/pip"), "install", "--quiet", "--no-compile", "--disable-pip-version-check", "azure-cli=="+azVersion)
		return err
	})
	in, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), filepath.Join(folder, "bin/python"), "parse.py")
	var errs bytes.Buffer
	c.Stdin, c.Stderr = bytes.NewReader(in), &errs
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, &wrong)
	}
	if err != nil || len(wrong) != len(all) {
		t.Fatalf("parse.py: %d verdicts on %d commands: %v\n%s%s", len(wrong), len(all), err, out, errs.String())
	}
	if said := errs.String(); strings.Contains(said, "deprecated") {
		t.Errorf("the Azure CLI says that something will go:\n%s", said)
	}
	return wrong
}

// TestAzureCLIKnowsTheCommands: every command of az that users get, and every flag, is one of the real Azure CLI.
func TestAzureCLIKnowsTheCommands(t *testing.T) {
	needReal(t)
	var all []command
	for _, c := range commands(t) {
		if c.Name != "az" {
			continue
		}
		if name, is := extensions[c.Args[0]]; is {
			t.Logf("unchecked, of the extension %q: %s", name, c)
			continue
		}
		all = append(all, c)
	}
	if len(all) < 12 {
		t.Fatalf("only %d commands found: the test does not see them", len(all))
	}
	mistakes := map[string]string{ // the test can fail
		"aks nosuch":                             "is not one of",
		"aks stop --name x":                      "are required",
		"aks stop -g x --nam x":                  "no flag --nam",
		"aks show -g x -n x --z":                 "--z",
		"aks create -g x -n x --node-count many": "invalid int value",
		"aks mesh enable-ingress-gateway -g x -n x --ingress-gateway-type x": "is not one of",
	}
	var texts []string
	for text := range mistakes {
		texts = append(texts, text)
	}
	slices.Sort(texts)
	tried := slices.Clone(all)
	for _, text := range texts {
		tried = append(tried, command{"a mistake", "az", strings.Fields(text), true})
	}
	wrong := judged(t, append(tried, command{"a mistake", "az", []string{"aks", "create", "--nosuch", "x"}, false}))
	for i, c := range all {
		if wrong[i] != "" {
			t.Errorf("%s: %s", c, wrong[i])
		} else {
			t.Logf("as it should be: %s", c)
		}
	}
	for i, text := range texts {
		if got := wrong[len(all)+i]; !strings.Contains(got, mistakes[text]) {
			t.Errorf("az %s: %q is found wrong, want %q: the test cannot fail", text, got, mistakes[text])
		}
	}
	if got := wrong[len(wrong)-1]; !strings.Contains(got, "--nosuch") {
		t.Errorf("a part of a command with a wrong flag: %q", got)
	}
}

// credentials are what `az aks get-credentials` writes for a cluster with Entra ID.
const credentials = `apiVersion: v1
kind: Config
current-context: serin
clusters: [{name: serin, cluster: {server: "https://serin.example:443"}}]
contexts: [{name: serin, context: {cluster: serin, user: clusterUser_rg_serin}}]
users:
- name: clusterUser_rg_serin
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      command: kubelogin
      args: [get-token, --environment, AzurePublicCloud, --server-id, 6dae42f8-4368-4678-94ff-3960e28e3630, --client-id, 80faf920-1908-4b52-b5ef-a8e7bedfc67a, --tenant-id, t, --login, devicecode]
      provideClusterInfo: false
`

// TestKubeloginSignsInAsAzDid: the real kubelogin turns what az writes into a sign-in by az.
func TestKubeloginSignsInAsAzDid(t *testing.T) {
	needReal(t)
	folder := cache(t, "kubelogin-"+kubeloginVersion, func(folder string) error {
		_, err := run(t, []string{"GOBIN=" + folder, "GOFLAGS=-mod=mod"}, t.TempDir(), "go", "install", "github.com/Azure/kubelogin@"+kubeloginVersion)
		return err
	})
	file := filepath.Join(t.TempDir(), "config")
	asked := 0
	for _, c := range commands(t) {
		if c.Name != "kubelogin" {
			continue
		}
		asked++
		if err := os.WriteFile(file, []byte(credentials), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := run(t, []string{"KUBECONFIG=" + file}, ".", filepath.Join(folder, "kubelogin"), c.Args...); err != nil {
			t.Errorf("%s: %v", c, err)
		}
		text, err := os.ReadFile(file)
		if err != nil || !regexp.MustCompile(`- --login\n\s*- azurecli\n`).Match(text) || strings.Contains(string(text), "devicecode") {
			t.Errorf("%s: %v, it left\n%s", c, err, text)
		}
	}
	if asked < 2 {
		t.Errorf("only %d commands found", asked)
	}
	if _, err := run(t, []string{"KUBECONFIG=" + file}, ".", filepath.Join(folder, "kubelogin"), "convert-kubeconfig", "-l", "nosuch"); err == nil {
		t.Error("a way to sign in that does not exist is taken: the test cannot fail")
	}
}

// TestKubeloginIsPinned: the pipelines install the version that is tested here. GitHub's action needs one: without it looks
// for the latest, and fails without a token.
func TestKubeloginIsPinned(t *testing.T) {
	for file, text := range map[string][2]string{
		"github/serin-step.yml":              {"azure/use-kubelogin@", "kubelogin-version: " + kubeloginVersion},
		"github/serin-revert.yml":            {"azure/use-kubelogin@", "kubelogin-version: " + kubeloginVersion},
		"azure-devops/templates/prepare.yml": {"KubeloginInstaller@", "kubeloginVersion: " + strings.TrimPrefix(kubeloginVersion, "v") + "}"},
	} {
		page, err := os.ReadFile(filepath.Join(root, "pipelines", file))
		if err != nil {
			t.Fatal(err)
		}
		installed, pinned := strings.Count(string(page), text[0]), strings.Count(string(page), text[1])
		if installed != 1 || pinned != 1 {
			t.Errorf("%s: %q %d times, %q %d times, want one each", file, text[0], installed, text[1], pinned)
		}
	}
}

// moduleFolder is where a Go module lies, downloaded as MODULE@VERSION.
func moduleFolder(t *testing.T, module string) string {
	t.Helper()
	out, err := run(t, []string{"GOFLAGS=-mod=mod"}, t.TempDir(), "go", "mod", "download", "-json", module)
	if err != nil {
		t.Fatal(err)
	}
	var found struct{ Dir string }
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &found); err != nil {
		t.Fatal(err)
	}
	return found.Dir
}

// TestTrivyKnowsTheFlags asks the manual that comes with trivy's source: its pages are made from the program's own flags.
func TestTrivyKnowsTheFlags(t *testing.T) {
	needReal(t)
	manual := moduleFolder(t, "github.com/aquasecurity/trivy@"+trivyVersion)
	asked := 0
	for _, c := range commands(t) {
		if c.Name != "trivy" {
			continue
		}
		page, err := os.ReadFile(filepath.Join(manual, "docs/guide/references/configuration/cli/trivy_"+c.Args[0]+".md"))
		if err != nil {
			t.Errorf("%s: %v", c, err)
			continue
		}
		inManual := func(flag string) bool {
			return regexp.MustCompile(`(?m)^ .*` + regexp.QuoteMeta(flag) + `( |$)`).Match(page)
		}
		if inManual("--nosuch") {
			t.Error("the manual has every flag: the test cannot fail")
		}
		for _, flag := range c.Args[1:] {
			if strings.HasPrefix(flag, "-") && !inManual(flag) {
				t.Errorf("%s: trivy %s has no flag %s", c, trivyVersion, flag)
			}
			asked++
		}
	}
	if asked < 12 {
		t.Errorf("only %d arguments found", asked)
	}
}
