package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ScriptFolder and ModelFolder are where the image of a scoring script holds its
// files; AZUREML_MODEL_DIR is the latter, as on Azure.
const (
	ScriptFolder = "/app"
	ModelFolder  = "/model"
)

// server is what serves a scoring script: Azure ML's inference server.
const server = PythonHome + "/bin/azmlinfsrv"

// ErrScript is a fault of a scoring script, which its author mends.
var ErrScript = errors.New("the image would not score, nothing was pushed")

// Script is a scoring script in the style of Azure ML, with init() and run(), on
// Azure ML's inference server (PyPI: azureml-inference-server-http).
type Script struct {
	Path  string   // from ScriptFolder
	Port  string   // where it listens
	Flags []string // more of azmlinfsrv
	Env   []string // NAME=VALUE
}

// Entrypoint starts the server.
func (s Script) Entrypoint() []string {
	return append([]string{server, "--entry_script", filepath.Join(ScriptFolder, s.Path), "--model_dir", ModelFolder, "--port", s.Port}, s.Flags...)
}

// Environment is what the container sees. The root of an image may be read-only.
func (s Script) Environment() []string {
	return append([]string{"PATH=/usr/local/bin:/usr/bin:/bin:" + PythonHome + "/bin", "PYTHONPATH=" + PythonHome, "PYTHONUNBUFFERED=1", "HOME=/tmp", "AZUREML_MODEL_DIR=" + ModelFolder}, s.Env...)
}

// trial does what the server does before it serves: it loads the script and calls init().
const trial = `
import importlib.util, sys
sys.path.append(sys.argv[2])
spec = importlib.util.spec_from_file_location("entry_module", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
for name in ("init", "run"):
    if not callable(getattr(module, name, None)):
        sys.exit(f"{sys.argv[1]} has no function {name}()")
module.init()
`

// Try loads the script from the layers as they will lie in the image, and calls its
// init(), so that an image that cannot score is never pushed.
func (s Script) Try(ctx context.Context, cache string, layers []Layer) error {
	root, err := os.MkdirTemp(cache, "python-try-")
	if err != nil {
		return fmt.Errorf("trying the script: %w", err)
	}
	defer func() { _ = os.RemoveAll(root) }() // as in Layer
	if err := os.Chmod(root, 0o755); err != nil {
		return fmt.Errorf("trying the script: %w", err)
	}
	for _, l := range layers {
		if err := l.unpack(ctx, root); err != nil {
			return fmt.Errorf("trying the script: unpacking %s: %w", l.What, err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, server)); err != nil {
		return fmt.Errorf("%w: the requirements install no azmlinfsrv: add azureml-inference-server-http, with its version", ErrScript)
	}
	if _, err := inside(ctx, root, s.Environment(), "-c", trial, filepath.Join(ScriptFolder, s.Path), ScriptFolder); err != nil {
		return fmt.Errorf("%w: %w", ErrScript, err)
	}
	return nil
}

func (l Layer) unpack(ctx context.Context, root string) error {
	if l.Archive != "" {
		_, err := command(ctx, "tar", "--no-same-owner", "-C", root, "-xzf", l.Archive)
		return err
	}
	in, err := l.open()
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = commandOn(ctx, in, "tar", "--no-same-owner", "-C", root, "-xf", "-")
	return err
}
