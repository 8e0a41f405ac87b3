package serin_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFailuresAreListed holds the list with which CI's output ends to what go test writes: with -v what is only logged is
// left out, and so is a test that passed at the second try.
func TestFailuresAreListed(t *testing.T) {
	for name, c := range map[string]struct{ log, want string }{
		"quiet": {`--- FAIL: TestBad (0.00s)
    --- FAIL: TestBad/one (0.01s)
        a_test.go:8: it is wrong:
            want a
            got  b
        status that is noted
FAIL
FAIL	example.com/a	0.1s
ok  	example.com/b	0.1s
`, `--- FAIL: TestBad/one (0.01s)
        a_test.go:8: it is wrong:
            want a
            got  b
FAIL	example.com/a	0.1s
`},
		"long": {"--- FAIL: TestBad (0.00s)\n    a_test.go:8: no:\n" + numbered("        ", 1, 30) + "FAIL\n", "--- FAIL: TestBad (0.00s)\n    a_test.go:8: no:\n" + numbered("        ", 1, 3) + numbered("        ", 27, 30)},
		"with -v": {`=== RUN   TestGood
    a_test.go:5: progress
--- PASS: TestGood (0.00s)
=== RUN   TestShaky
    a_test.go:7: once
--- FAIL: TestShaky (0.00s)
=== RUN   TestBad
    a_test.go:5: progress
        in two lines
    a_test.go:12: too bad
--- FAIL: TestBad (0.00s)
FAIL	example.com/a	0.1s
== FLAKY, passed at the second try: TestShaky
e2e a was not done within 5 minutes
`, `--- FAIL: TestBad (0.00s)
    a_test.go:12: too bad
FAIL	example.com/a	0.1s
e2e a was not done within 5 minutes
`},
		"a test that hangs": {`=== RUN   TestHangs
panic: test timed out after 3s
	running tests:
		TestHangs (3s)

goroutine 2 [running]:
testing.(*M).startAlarm.func1()
	/usr/local/go/src/testing/testing.go:2802 +0x605

goroutine 1 [chan receive]:
testing.(*T).Run(0x1)
	/usr/local/go/src/testing/testing.go:2109 +0xb3e
main.main()
	_testmain.go:50 +0x165

goroutine 25 [chan receive, 27 minutes]:
example.com/a.TestHangs(0x1)
	/home/a/a_test.go:4 +0x3c
testing.tRunner(0x1)
	/usr/local/go/src/testing/testing.go:2036 +0x21d
FAIL	example.com/a	3.2s
`, `panic: test timed out after 3s
	running tests:
		TestHangs (3s)
goroutine 25 [chan receive, 27 minutes]:
	/home/a/a_test.go:4
FAIL	example.com/a	3.2s
`},
		"ended from outside": {"=== RUN   TestDone\n--- PASS: TestDone (0.00s)\n=== RUN   TestHangs\n    a_test.go:3: progress\n", "did not end: TestHangs\n"},
		"a data race": {`WARNING: DATA RACE
Read at 0x00c0000180e8 by goroutine 9:
  a.TestRaces.func1()
      /home/a/a_test.go:3 +0x33

Goroutine 9 (running) created at:
  a.TestRaces()
==================
--- FAIL: TestRaces (0.03s)
    testing.go:1712: race detected during execution of test
`, `WARNING: DATA RACE
Read at 0x00c0000180e8 by goroutine 9:
  a.TestRaces.func1()
      /home/a/a_test.go:3 +0x33

--- FAIL: TestRaces (0.03s)
    testing.go:1712: race detected during execution of test
`},
		"does not compile": {"# example.com/a\na.go:3:27: undefined: nothing\nFAIL\texample.com/a [build failed]\n", "# example.com/a\na.go:3:27: undefined: nothing\nFAIL\texample.com/a [build failed]\n"},
		"no test began":    {"starting the cluster: no\nFAIL\texample.com/a\t0.1s\n" + strings.Repeat("a log\n", 90), "starting the cluster: no\nFAIL\texample.com/a\t0.1s\n"},
		"nothing known":    {"a\nb\n", "a\nb\n"},
		"many":             {strings.Repeat("== part: FAILED in it\n", 90), strings.Repeat("== part: FAILED in it\n", 59) + "and 31 lines more of this kind, above\n"},
	} {
		log := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(log, []byte(c.log), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := exec.CommandContext(t.Context(), ".ci/failures", log).CombinedOutput()
		if diff := cmp.Diff(c.want, string(got)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func numbered(before string, from, to int) (lines string) {
	for i := from; i <= to; i++ {
		lines += before + strconv.Itoa(i) + "\n"
	}
	return lines
}
