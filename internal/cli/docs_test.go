package cli

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// pages are README.md and all of docs, but for the generated cli.md's usage texts,
// which cobra wrote itself; its examples count.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../../examples/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range append(append(files, more...), "../../README.md") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[f] = string(text)
	}
	return all
}

// commands returns the command lines of a page's blocks, without comments,
// prompts and what follows a pipe.
func commands(page string) []string {
	var out []string
	fenced := false
	for _, line := range strings.Split(page, "\n") {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
			continue
		}
		if !fenced && !strings.HasPrefix(line, "    ") {
			continue
		}
		line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
		for _, c := range regexp.MustCompile(`\s*(?:&&|;|\|)\s*`).Split(line, -1) {
			c = strings.TrimPrefix(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(c), "&")), "./bin/")
			if c, _, _ = strings.Cut(c, " >"); strings.HasPrefix(c, "serin ") || strings.HasPrefix(c, "curl ") {
				out = append(out, c)
			}
		}
	}
	return out
}

// words splits a command line as a shell does, as far as the pages need it.
func words(line string) []string {
	var out []string
	for _, m := range regexp.MustCompile(`'([^']*)'|"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
		out = append(out, m[1]+m[2]+m[3])
	}
	return out
}

// parses reports whether a command line names a verb and flags that exist.
func parses(line string) error {
	args := words(line)[1:]
	c, rest, err := newRoot(IO{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}).Find(args)
	if err != nil {
		return err
	}
	if c.Name() == "serin" || slices.ContainsFunc(rest, func(a string) bool { return a == "[flags]" }) {
		return nil // "serin --help"; a usage line
	}
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	if c.Args != nil && c.Name() != "completion" {
		return c.Args(c, c.Flags().Args())
	}
	return nil
}

// TestDocumentedCommandsExist: every serin command of the pages has a verb and
// flags that exist, and every verb named in running text exists.
func TestDocumentedCommandsExist(t *testing.T) {
	n := 0
	verbs := map[string]bool{"docs": true}
	for _, c := range newRoot(IO{}).Commands() {
		verbs[c.Name()] = true
	}
	later := []string{"simulate", "replay", "label", "export"} // named in docs as not there yet
	for file, text := range pages(t) {
		for _, line := range commands(text) {
			if strings.HasPrefix(line, "serin ") {
				n++
				if err := parses(line); err != nil {
					t.Errorf("%s: %s: %v", file, line, err)
				}
			}
		}
		for _, m := range regexp.MustCompile("`(?:\\./bin/)?serin ([a-z]+)").FindAllStringSubmatch(text, -1) {
			if !verbs[m[1]] && !slices.Contains(later, m[1]) {
				t.Errorf("%s: there is no verb %q", file, m[1])
			}
		}
	}
	if n < 30 {
		t.Errorf("looked at %d commands only: the test does not see the pages", n)
	}
	for _, wrong := range []string{"serin aply", "serin apply --nonsense", "serin status extra"} {
		if parses(wrong) == nil {
			t.Errorf("%s passes as documented: the test cannot fail", wrong)
		}
	}
}

// TestDocumentedCommandsRun runs those of README.md and docs/api.md that need no
// more than an endpoint: the safe-driver example, on a port that is free.
func TestDocumentedCommandsRun(t *testing.T) {
	text, err := os.ReadFile("../../examples/safe-driver/endpoint.yaml")
	if err != nil {
		t.Fatal(err)
	}
	l := serveLive(t, onFreePort(t, string(text)))
	all := pages(t)
	ran := map[string]int{}
	for _, file := range []string{"../../README.md", "../../docs/api.md"} {
		for _, line := range commands(all[file]) {
			kind, code, out := l.perform(line)
			ran[kind]++
			if code != ExitDone {
				t.Errorf("%s: %s: %d\n%s", file, line, code, out)
			}
		}
	}
	for _, kind := range []string{"curl", "apply", "load", "status"} {
		if ran[kind] == 0 {
			t.Errorf("no %s of the pages was run: %v", kind, ran)
		}
	}
}

// onFreePort makes a document of the examples serve from here.
func onFreePort(t *testing.T, text string) string {
	t.Helper()
	models, err := filepath.Abs("../../examples/safe-driver/models")
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(text, `"127.0.0.1:0"`)
	text = strings.ReplaceAll(text, "models/", models+"/")
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("the example is no YAML any more: %v\n%s", err, text)
	}
	return text
}

// perform runs one documented command against the live endpoint; those that
// would block or end it are only parsed elsewhere.
func (l *live) perform(line string) (kind string, code int, out string) {
	l.t.Helper()
	args := words(line)
	if args[0] == "curl" {
		out, err := l.curl(args[1:])
		if err != nil {
			return "curl", ExitError, err.Error()
		}
		return "curl", ExitDone, out
	}
	c, _, err := newRoot(IO{}).Find(args[1:])
	if err != nil {
		return "unknown", ExitUsage, err.Error()
	}
	args = args[1:]
	switch c.Name() {
	case "apply":
		for i, a := range args {
			if strings.HasSuffix(a, ".yaml") {
				text, err := os.ReadFile(filepath.Join("../..", a))
				if err != nil {
					return "apply", ExitUsage, err.Error()
				}
				args[i] = l.write("apply.yaml", onFreePort(l.t, string(text)), 0o600)
			}
		}
	case "load":
		args = append(args, "--url", l.address, "--duration", "300ms")
	case "status", "history":
		args = slices.DeleteFunc(args, func(a string) bool { return a == "--watch" })
	default:
		return "parsed", ExitDone, ""
	}
	if hasFlag(c, "state") {
		args = append(args, "--state", l.state)
	}
	code, stdout, stderr := run(l.t, args...)
	return c.Name(), code, stdout + stderr
}

func hasFlag(c *cobra.Command, name string) bool { return c.Flags().Lookup(name) != nil }

// curl does what the pages use of it: -s, -d TEXT, -d @FILE, -H, --unix-socket.
func (l *live) curl(args []string) (string, error) {
	var body []byte
	header := http.Header{}
	address, client := "", &http.Client{Timeout: soon}
	for i := 0; i < len(args); i++ {
		switch a := args[i]; a {
		case "-s":
		case "-d":
			i++
			body = []byte(args[i])
			if file, ok := strings.CutPrefix(args[i], "@"); ok {
				text, err := os.ReadFile(filepath.Join("../..", file))
				if err != nil {
					return "", err
				}
				body = text
			}
		case "-H":
			i++
			name, value, _ := strings.Cut(args[i], ":")
			header.Set(name, strings.TrimSpace(value))
		case "--unix-socket":
			i++
			client = &http.Client{Timeout: soon, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(l.state, "serin.sock"))
			}}}
		default:
			address = strings.Replace(a, "http://127.0.0.1:8080/score", l.address, 1)
		}
	}
	if _, err := url.ParseRequestURI(address); err != nil {
		return "", err
	}
	return fetch(client, address, header, body)
}

func fetch(client *http.Client, address string, header http.Header, body []byte) (string, error) {
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequest(method, address, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header = header
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = &url.Error{Op: method, URL: address, Err: errorText(resp.Status + " " + string(text))}
	}
	return string(text), err
}

type errorText string

func (e errorText) Error() string { return string(e) }

// TestGeneratedReferenceIsUpToDate: docs/cli.md is what this binary says.
func TestGeneratedReferenceIsUpToDate(t *testing.T) {
	_, out, _ := run(t, "docs")
	page, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	if out != string(page) {
		t.Error("docs/cli.md is out of date: make generate")
	}
}

// TestCompletion: the scripts are made, and name every verb where the shell asks.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, errs := run(t, "completion", shell); code != ExitDone || !strings.Contains(out, "__complete") || len(out) < 1000 {
			t.Errorf("completion %s: %d, %d bytes, %s", shell, code, len(out), errs)
		}
	}
	if code, _, errs := run(t, "completion", "tcsh"); code != ExitUsage || !strings.Contains(errs, "fish") {
		t.Errorf("completion tcsh: %d %s, want %d that names those there are", code, errs, ExitUsage)
	}
	_, out, _ := run(t, "__complete", "")
	for _, c := range newRoot(IO{}).Commands() {
		if !c.Hidden && !strings.Contains(out, c.Name()) {
			t.Errorf("completion does not know %s", c.Name())
		}
	}
	if _, out, _ := run(t, "__complete", "status", "-o", ""); !strings.Contains(out, "json") {
		t.Errorf("completion of -o does not offer json: %s", out)
	}
}
