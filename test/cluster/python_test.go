package cluster

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// The programs of the wheels must name the Python of the layer, not that of the machine which packed it, and the layer must
// hold what they need: an interpreter, the C library's loader, the libraries that were asked for.
func TestPythonLayer(t *testing.T) {
	if os.Getenv("SERIN_E2E") != "1" {
		t.Skip("downloads 200 MB from Debian and PyPI the first time: set SERIN_E2E=1, or run `make e2e`")
	}
	i := Python{Requirements: "../../examples/azureml/requirements.txt", Packages: []string{"libgomp1", "libstdc++6"}, Imports: []string{"lightgbm", "azureml_inference_server_http"}}
	path, err := PythonLayer(t.Context(), Options{Log: t.Output()}, i)
	if err != nil {
		t.Fatal(err)
	}
	again, err := PythonLayer(t.Context(), Options{Log: t.Output()}, i)
	if err != nil || again != path {
		t.Errorf("the second time: %s (%v), want %s", again, err, path)
	}
	files, first, bytes := readLayer(t, path, strings.TrimPrefix(PythonHome, "/")+"/bin/azmlinfsrv")
	if first != "#!/usr/bin/python3\n" {
		t.Errorf("azmlinfsrv begins with %q, want the layer's own Python", first)
	}
	for _, part := range []string{"usr/bin/python3", "/ld-linux-", "/libgomp.so.1", strings.TrimPrefix(PythonHome, "/") + "/lightgbm/"} {
		if !strings.Contains(files, part) {
			t.Errorf("no %s in the layer", part)
		}
	}
	t.Logf("%s: %d MB unpacked", path, bytes/1e6)
}

func readLayer(t *testing.T, path, program string) (files, first string, bytes int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var names strings.Builder
	for r := tar.NewReader(unzip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names.String(), first, bytes
		}
		if err != nil {
			t.Fatal(err)
		}
		names.WriteString(h.Name + "\n")
		bytes += h.Size
		if h.Name == program {
			if first, err = bufio.NewReader(r).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	}
}
