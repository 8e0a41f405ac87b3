package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal: what a verb writes to the second, one reads
// from the first.
func terminal(t *testing.T, columns, rows uint16) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(screen.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { tty.Close() })
	return screen, tty
}

// TestWatchOnATerminal: --watch draws over itself in colour, says so when the API
// is away, and leaves the last state behind.
func TestWatchOnATerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	l := serveLive(t, document("1", ""))
	screen, tty := terminal(t, 100, 30)
	seen := &safeBuffer{}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := screen.Read(buf)
			if err != nil {
				return
			}
			_, _ = seen.Write(buf[:n])
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		done <- Run(ctx, []string{"status", "--watch", "--state", l.state}, IO{In: strings.NewReader(""), Out: tty, Err: tty})
	}()
	says := func(text string) func() bool { return func() bool { return strings.Contains(seen.String(), text) } }
	l.until("the screen is drawn", says("Ctrl-C ends watching"))
	run(t, l.as("", "apply", "-f", l.write("v2.yaml", document("2", ""), 0o600))...)
	l.until("the new version shows", says("version 1 → 2"))
	l.end()
	waitFor(t, "it says that the API is away", says("no answer since"))
	cancel()
	if code := within(t, "status --watch has ended", done); code != ExitDone {
		t.Errorf("exit code %d", code)
	}
	waitFor(t, "the cursor is back", says(leaveScreen))
	text := seen.String()
	for _, s := range []string{enterScreen, "\x1b[H", "\x1b[J", "\x1b[32m✔"} {
		if !strings.Contains(text, s) {
			t.Errorf("%q is not on the screen", s)
		}
	}
	_, last, _ := strings.Cut(text, leaveScreen)
	waitFor(t, "the last state stays", func() bool {
		_, last, _ = strings.Cut(seen.String(), leaveScreen)
		return strings.Contains(last, "version 1 → 2")
	})
}

func TestColourOnlyOnATerminal(t *testing.T) {
	screen, tty := terminal(t, 80, 24)
	_ = screen
	t.Setenv("NO_COLOR", "")
	if p := paintFor(tty); p == (paint{}) {
		t.Error("no colour on a terminal")
	}
	t.Setenv("NO_COLOR", "1")
	if p := paintFor(tty); p != (paint{}) {
		t.Error("colour in spite of NO_COLOR")
	}
	t.Setenv("NO_COLOR", "")
	if p := paintFor(&safeBuffer{}); p != (paint{}) {
		t.Error("colour where there is no terminal")
	}
}

// TestWatchInAPipe writes each change once, without control characters.
func TestWatchInAPipe(t *testing.T) {
	l := serveLive(t, document("1", ""))
	for _, format := range []string{"text", "json"} {
		out, errs := &safeBuffer{}, &safeBuffer{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan int, 1)
		go func() {
			done <- Run(ctx, []string{"status", "--watch", "-o", format, "--state", l.state}, IO{In: strings.NewReader(""), Out: out, Err: errs})
		}()
		l.until("the status is written", func() bool { return strings.Contains(out.String(), "\n") })
		cancel()
		if code := within(t, "status --watch has ended", done); code != ExitDone || strings.Contains(out.String(), "\x1b") || errs.String() != "" {
			t.Errorf("-o %s: exit code %d, stdout %q, stderr %q", format, code, out, errs)
		}
	}
}
