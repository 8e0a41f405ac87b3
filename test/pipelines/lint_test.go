package pipelines_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const shell = root + "/pipelines/scripts/"

// TestShellcheck: the scripts have no finding.
func TestShellcheck(t *testing.T) {
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Skip("skipped: shellcheck is not there (apt-get install shellcheck)")
	}
	files, err := filepath.Glob(shell + "*.sh")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	ci, err := filepath.Glob(root + "/.ci/*")
	if err != nil || len(ci) < 8 {
		t.Fatalf("%d scripts of CI, %v", len(ci), err)
	}
	if out, err := bounded(t, "shellcheck", append(append(files, root+"/pipelines/rollout.sh"), ci...)...).CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
	bad := filepath.Join(t.TempDir(), "bad.sh")
	if err := os.WriteFile(bad, []byte("#!/bin/bash\nrm $1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if bounded(t, "shellcheck", bad).Run() == nil {
		t.Error("shellcheck finds nothing in a script that is wrong: the test cannot fail")
	}
}

// allowed are findings of Microsoft's language service that are wrong, each with the reason.
var allowed = map[string]string{
	`^script\.yml:\d+: String does not match the pattern of "\^\[-?_A-Za-z0-9\]\*\$"\.$`: "a step's name is a template expression here; the service checks names before templates are expanded",
}

// languageService reads pipelines on stdin as {name: text} and writes what Microsoft's editor service finds.
const languageService = `
const answer = console.log;
console.log = () => {}; // the service talks
const {getLanguageService, parse} = require('azure-pipelines-language-service');
const fs = require('fs');
const {TextDocument} = require('vscode-languageserver-textdocument');
const schema = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const service = getLanguageService(async () => schema, [], async () => 'file:///schema.json', {resolveRelativePath: (p, r) => r + '/' + p});
service.configure({validate: true});
(async () => {
  const out = {};
  for (const [name, text] of Object.entries(JSON.parse(fs.readFileSync(0, 'utf8')))) {
    const doc = TextDocument.create('file:///' + name, 'azure-pipelines', 1, text);
    out[name] = (await service.doValidation(doc, parse(text))).map(d => (d.range.start.line + 1) + ': ' + d.message);
  }
  answer(JSON.stringify(out));
})().catch(e => { console.error(e); process.exit(1); });
`

// TestLanguageService: what Microsoft's editor would underline in the pipelines. It needs npm and the schema
// (SERIN_AZURE_SCHEMA, or schemas/azure-pipelines.json in a folder "shared" beside the project's); the package is pinned
// and goes into .cache.
func TestLanguageService(t *testing.T) {
	schema := os.Getenv("SERIN_AZURE_SCHEMA")
	if schema == "" {
		schema = root + "/../shared/schemas/azure-pipelines.json"
	}
	if _, err := os.Stat(schema); err != nil {
		t.Skipf("skipped: the schema of Azure Pipelines is not there: %v", err)
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("skipped: npm is not there, so Microsoft's language service cannot be asked")
	}
	folder := install(t)
	texts := map[string]string{"wrong.yml": "stages:\n- stage: A\n  jobs:\n  - deployment: D\n    environment: e\n    strategy:\n      canary:\n        incremnts: [10]\n"}
	for _, f := range append(glob(t, "*.yml"), glob(t, "templates/*.yml")...) {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(f)] = string(text)
	}
	found := ask(t, folder, schema, texts)
	if !strings.Contains(strings.Join(found["wrong.yml"], "\n"), "incremnts") {
		t.Errorf("a misspelt property is not found (%v): the test cannot fail", found["wrong.yml"])
	}
	delete(found, "wrong.yml")
	used := map[string]bool{}
	for name, list := range found {
		for _, f := range list {
			if key := permitted(name + ":" + f); key != "" {
				used[key] = true
				continue
			}
			t.Errorf("%s:%s", name, f)
		}
	}
	for key, why := range allowed {
		if !used[key] {
			t.Errorf("the allow-list has %q (%s), which is not found any more", key, why)
		}
	}
}

func permitted(finding string) string {
	for key := range allowed {
		if regexp.MustCompile(key).MatchString(finding) {
			return key
		}
	}
	return ""
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(root + "/pipelines/azure-devops/" + pattern)
	if err != nil || len(files) < 2 {
		t.Fatalf("%s: %d files, %v", pattern, len(files), err)
	}
	return files
}

const languageServicePackage = "azure-pipelines-language-service@0.9.2"

// install puts the language service into a folder that git ignores.
func install(t *testing.T) string {
	t.Helper()
	folder, err := filepath.Abs(root + "/.cache/azure-pipelines-language-service-0.9.2")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(folder, "node_modules/azure-pipelines-language-service/package.json")); err == nil {
		return folder
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, languageServicePackage)
	if out, err := c.CombinedOutput(); err != nil {
		t.Skipf("skipped: %s could not be installed: %v\n%s", languageServicePackage, err, out)
	}
	return folder
}

func ask(t *testing.T, folder, schema string, texts map[string]string) (found map[string][]string) {
	t.Helper()
	schema, err := filepath.Abs(schema)
	if err != nil {
		t.Fatal(err)
	}
	in, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	c := bounded(t, "node", "-e", languageService, "-", schema)
	c.Dir, c.Stdin = folder, bytes.NewReader(in)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, &found)
	}
	if err != nil {
		t.Fatalf("language service: %v\n%s%s", err, out, errs.String())
	}
	return found
}
