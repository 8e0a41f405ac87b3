package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/serin-dev/serin/internal/engine"
)

const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // the other screen, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
)

// onScreen draws over what was there, without a flicker, and no more than fits.
func onScreen(f *os.File) func(engine.Status, string) {
	return func(st engine.Status, note string) {
		var b bytes.Buffer
		p := paintFor(f)
		if note != "" {
			fmt.Fprintf(&b, "%s%s%s\n", p.bad, note, p.off)
		}
		tree(&b, st, p)
		fmt.Fprintf(&b, "%s%s · Ctrl-C ends watching, not the rollout%s\n", p.dim, st.At.Local().Format(time.TimeOnly), p.off)
		width, height, err := term.GetSize(int(f.Fd()))
		if err != nil {
			width, height = 80, 24
		}
		_, _ = f.WriteString("\x1b[H" + fit(b.String(), width, height) + "\x1b[J")
	}
}

// fit wraps a text at words and cuts it to a screen; the last line says how much
// is missing. Each line clears the rest of its row.
func fit(text string, width, height int) string {
	var lines []string
	for _, l := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		lines = append(lines, wrap(l, width)...)
	}
	if most := max(height-1, 1); len(lines) > most {
		lines = append(lines[:most-1:most-1], fmt.Sprintf("… %d more lines: make the window larger, or serin status | less", len(lines)-most+1))
	}
	return strings.Join(lines, "\x1b[K\r\n") + "\x1b[K"
}

// wrap breaks a line between words; what follows hangs below the tree's branch.
func wrap(line string, width int) []string {
	if columns(line) <= width {
		return []string{line}
	}
	hang := "    "
	if strings.HasPrefix(line, "│") {
		hang = "│       "
	}
	var out []string
	now := ""
	for i, word := range strings.SplitAfter(line, " ") {
		if i > 0 && columns(now)+columns(strings.TrimRight(word, " ")) > width && columns(now) > columns(hang) {
			out = append(out, now)
			now = hang
		}
		now += word
	}
	return append(out, now)
}

// columns counts what a line takes on the screen, colours left out.
func columns(line string) (n int) {
	escape := false
	for _, r := range line {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			n++
		}
	}
	return n
}
