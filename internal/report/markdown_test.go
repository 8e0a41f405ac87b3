package report

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"

	"github.com/serin-dev/serin/internal/rollout"
)

// shape lists what a page is made of, as GitHub's Markdown reads it, without the text.
func shape(t *testing.T, page string) (kinds []string) {
	t.Helper()
	doc := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader([]byte(page)))
	err := ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if k := n.Kind(); entering && k != ast.KindText && k != ast.KindString {
			kinds = append(kinds, k.String())
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return kinds
}

// attacks are what somebody could write into a reason, a name or a version.
var attacks = []string{
	"`code` and ``more``", "[link](http://evil.example)", "![img](http://evil.example/x.png)", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
	"**bold** *it* __b__ _i_ ~~gone~~", "a | b || c", "\n# heading\n\n- list\n1. list\n> quote\n---\n", "http://evil.example www.evil.example a@evil.example", "\\| \\` \\\\",
	"<!-- comment", "</details>", "&lt;b&gt; &#60;b&#62;", "[x]: http://evil.example", "```sh\nrm\n```", "$$x$$", "<http://evil.example>", "~~~\n", "\u202e\x1b[2J\x00\u200b",
	"|\n|---|\n", "$(reboot)'; reboot #",
}

// say puts a text into every field that others may write.
func say(f Facts, s string) Facts {
	f.Endpoint, f.ID, f.To.Version = "e"+s, "i"+s, "v"+s
	from := *f.From
	from.Version, f.From = "f"+s, &from
	f.Images = map[string]string{f.To.Name: "r" + s}
	f.Decision.Reason, f.Decision.Message, f.Verdict.Message = "R"+s, "m"+s, "w"+s
	f.Approvals = []rollout.Approval{{Step: "s" + s, By: "b" + s, OnBehalfOf: "o" + s, EvidenceDigest: "d"}}
	f.Events = []Event{{Kind: "Action", By: "b" + s, OnBehalfOf: "o" + s, Reason: "r" + s, Message: "m" + s}}
	f.Steps = append([]Step{}, f.Steps...)
	f.Steps[0].Name = "n" + s
	return f
}

// TestNobodyWritesMarkdown: whatever others write, the page is made of the same parts.
func TestNobodyWritesMarkdown(t *testing.T) {
	f := cases()["promoted"]
	calm := shape(t, Build(say(f, "x")).Markdown())
	tables := 0
	for _, k := range calm {
		if k == "Table" {
			tables++
		}
	}
	if tables != 5 {
		t.Fatalf("%d tables are read, want 5: %v", tables, calm)
	}
	// A code span that cannot hold the text becomes text: not counted.
	spans := func(kinds []string) (out []string) {
		for _, k := range kinds {
			if k != ast.KindCodeSpan.String() {
				out = append(out, k)
			}
		}
		return out
	}
	for _, a := range attacks {
		page := Build(say(f, a)).Markdown()
		if d := cmp.Diff(spans(calm), spans(shape(t, page))); d != "" {
			t.Errorf("%q changes what the page is made of (-want +got):\n%s", a, d)
		}
		if strings.ContainsAny(page, "\x00\x1b\u202e") || strings.Contains(page, "##vso") {
			t.Errorf("%q: an order is left in the page", a)
		}
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"a\nb\r\n\tc": "a b c", "##vso[task.complete result=Succeeded]": "# #vso[task.complete result=Succeeded]", "###[x]": "# # #[x]",
		"\x1b[31mred\x07": "[31mred", "a\u202eb\u2028c": "ab c", "  two  words ": "two words", "": "", "#\u200b#vso[x]": "# #vso[x]", "#\x00#vso[x]": "# #vso[x]",
	} {
		if got := Plain(in); got != want {
			t.Errorf("Plain(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	got := []string{
		number(0), number(999), number(1000), number(1234567), amount(1.5, "x"), amount(.5, "share"), amount(.012, "relative"), amount(2, "?"),
		lasting(0), lasting(61), lasting(3 * 3600), lasting(50 * 3600), errorsOf(0, 0), errorsOf(1, 100), spaced("RolledBack"),
		Quoted("50%"), Quoted("a b"), Quoted("it's"), Quoted(""), Quoted("$(x)"),
	}
	want := []string{"0", "999", "1,000", "1,234,567", "1.5x", "50 %", "+1.2 %", "2", "0 s", "1 min 1 s", "3 h 0 min", "2 d 2 h", "0", "1 (1 %)", "Rolled back", "50%", "'a b'", `'it'\''s'`, "''", "'$(x)'"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}
