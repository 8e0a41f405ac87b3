// Package images_test reads the Dockerfiles: that they keep the promises of the images that `serin image` packs.
package images_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/serin-dev/serin/internal/image"
)

// instructions are the lines of a Dockerfile, by instruction; arguments with a default are filled in.
func instructions(t *testing.T, file string) (out [][2]string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	args := map[string]string{}
	for _, line := range strings.Split(string(text), "\n") {
		name, rest, ok := strings.Cut(line, " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		rest = os.Expand(rest, func(n string) string { return args[n] })
		if k, v, ok := strings.Cut(rest, "="); name == "ARG" && ok {
			args[k] = v
		}
		out = append(out, [2]string{name, rest})
	}
	return out
}

func TestDockerfiles(t *testing.T) {
	for _, file := range []string{"Dockerfile", "Dockerfile.azureml"} {
		user, labels := "", ""
		var entry []string
		ports := false
		for _, i := range instructions(t, file) {
			switch name, rest := i[0], i[1]; name {
			case "FROM":
				user, labels = "", "" // each stage has its own
				if base := strings.Fields(rest)[0]; base != "scratch" && (!strings.Contains(base, ":") || strings.HasSuffix(base, ":latest")) {
					t.Errorf("%s: FROM %s: no version", file, base)
				}
			case "USER":
				user = rest
			case "LABEL":
				labels += rest
			case "EXPOSE":
				ports = rest == "5001"
			case "COPY":
				sourceExists(t, file, rest)
			case "ENTRYPOINT":
				if err := json.Unmarshal([]byte(rest), &entry); err != nil {
					t.Errorf("%s: ENTRYPOINT %s: a shell would start it: %v", file, rest, err)
				}
			}
		}
		if !regexp.MustCompile(`^[1-9]\d*(:[1-9]\d*)?$`).MatchString(user) {
			t.Errorf("%s: USER %q: must be a number, not root: runAsNonRoot knows no names", file, user)
		}
		for _, l := range []string{"org.opencontainers.image.title=safe-driver", "org.opencontainers.image.version=1", "dev.serin.model=", "dev.serin.run="} {
			if !strings.Contains(labels, l) {
				t.Errorf("%s: no label %s in %s", file, l, labels)
			}
		}
		if !ports || len(entry) == 0 {
			t.Errorf("%s: port %v, entry point %v", file, ports, entry)
		}
		if want := []string{image.ProgramPath, "scorer", "--model", image.ModelPath, "--listen", ":5001"}; file == "Dockerfile" && !slices.Equal(entry, want) {
			t.Errorf("%s starts %v, serin image packs %v", file, entry, want)
		}
	}
}

// sourceExists: what is copied from the build's folder is there.
func sourceExists(t *testing.T, file, rest string) {
	t.Helper()
	fields := strings.Fields(rest)
	if strings.HasPrefix(fields[0], "--from=") {
		return
	}
	for _, f := range fields[:len(fields)-1] {
		if _, err := os.Stat(filepath.Join("../..", f)); err != nil {
			t.Errorf("%s: COPY %s: %v", file, rest, err)
		}
	}
}
