package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/serin-dev/serin/internal/image"
)

// scriptOptions are those of a scoring script in the style of Azure ML.
type scriptOptions struct {
	script, code, requirements string
	packages, env              []string
	untried                    bool
}

func (o *scriptOptions) addTo(f *pflag.FlagSet) {
	f.StringVar(&o.script, "scoring-script", "", "scoring image of this `FILE.py`, with Azure ML's init() and run()")
	f.StringVar(&o.code, "code", "", "`FOLDER` that is packed with the scoring script, whose name starts there (default: the script alone)")
	f.StringVar(&o.requirements, "requirements", "", "`FILE` of pip for the scoring script; must hold azureml-inference-server-http")
	f.StringArrayVar(&o.packages, "package", nil, "`NAME` of a Debian package for the scoring script, besides libgomp1 and libstdc++6; may be repeated")
	f.StringArrayVar(&o.env, "env", nil, "`NAME=VALUE` in the scoring script's environment, no secrets: whoever has the image reads it; may be repeated")
	f.BoolVar(&o.untried, "untried", false, "do not load the scoring script and call its init() before pushing, such as for one that needs a network")
}

var (
	envName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`) // as Debian's policy has it
)

// ownServerFlag says which flag of azmlinfsrv that the image sets an argument names, if any: that server also takes the
// beginning of a name.
func ownServerFlag(argument string) string {
	name, _, _ := strings.Cut(argument, "=")
	for _, own := range []string{"--entry_script", "--model_dir", "--port"} {
		if len(name) > len("--") && strings.HasPrefix(own, name) {
			return own
		}
	}
	return ""
}

// check refuses what has no meaning; server are the flags for azmlinfsrv.
func (o *scriptOptions) check(server []string) error {
	if o.script == "" {
		if o.code != "" || o.requirements != "" || o.untried || len(o.packages)+len(o.env) > 0 {
			return usageError("--code, --requirements, --package, --env and --untried go with --scoring-script")
		}
		return nil
	}
	if o.requirements == "" {
		return usageError("--scoring-script needs --requirements: a file of pip with azureml-inference-server-http and what the script imports, each with its version")
	}
	if err := isFile("--requirements", o.requirements); err != nil {
		return err
	}
	for _, a := range server {
		if own := ownServerFlag(a); own != "" {
			return setByImage(own)
		}
	}
	for _, e := range o.env {
		if !envName.MatchString(e) {
			return usageError("--env %q: must be NAME=VALUE", e)
		}
	}
	for _, p := range o.packages {
		if !packageName.MatchString(p) {
			return usageError("--package %q: must be the name of a Debian package, such as libgomp1", p)
		}
	}
	return nil
}

// isFile refuses a flag that should name a file.
func isFile(flag, path string) error {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return usageError("%s: %q is no file", flag, path)
	}
	return nil
}

// source is the folder or file to pack, and the script's name in it.
func (o *scriptOptions) source() (from, name string, err error) {
	from, name = o.script, filepath.Base(o.script)
	at := o.script
	if o.code != "" {
		if !filepath.IsLocal(o.script) {
			return "", "", usageError("--scoring-script %q: with --code its name starts in that folder", o.script)
		}
		from, name, at = o.code, filepath.ToSlash(filepath.Clean(o.script)), filepath.Join(o.code, o.script)
	}
	if err := isFile("--scoring-script", at); err != nil {
		return "", "", err
	}
	return from, name, nil
}

// scriptSpec packs Python, the script and the model, and tries them.
func (o *imageOptions) scriptSpec(ctx context.Context, s *image.Spec, progress io.Writer) error {
	own, name, err := o.scriptLayers()
	if err != nil {
		return err
	}
	if o.model != "" {
		if err := labelModel(s, o.model); err != nil {
			return err
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("finding the user's cache: %w", err)
	}
	cache = filepath.Join(cache, "serin", "python")
	say := func(at string) { fmt.Fprintln(progress, at) }
	python, err := image.Python{
		Requirements: o.script.requirements, Packages: slices.Concat([]string{"libgomp1", "libstdc++6"}, o.script.packages), Cache: cache, Say: say,
	}.Layer(ctx)
	if err != nil {
		return err
	}
	script := image.Script{Path: name, Port: scorerPort, Flags: o.scorer, Env: o.script.env}
	s.Architecture, s.Layers = runtime.GOARCH, append([]image.Layer{python}, own...)
	s.Entrypoint, s.Env = script.Entrypoint(), script.Environment()
	if o.script.untried {
		return nil
	}
	say("calling init() of " + o.script.script)
	err = script.Try(ctx, cache, s.Layers)
	if errors.Is(err, image.ErrScript) {
		return exit{ExitUsage, err}
	}
	return err
}

// scriptLayers are those of the user's own files; name is the script's in them.
func (o *imageOptions) scriptLayers() (own []image.Layer, name string, err error) {
	from, name, err := o.script.source()
	if err != nil {
		return nil, "", err
	}
	app, err := image.Files(from, image.ScriptFolder[1:])
	if err != nil {
		return nil, "", exit{ExitUsage, err}
	}
	// The server writes to /tmp, even where the image's own files are read-only.
	own = []image.Layer{{What: "the scoring script", Files: append(app, image.File{Name: "tmp", Mode: 0o1777})}}
	if o.model == "" {
		return own, name, nil
	}
	model, err := image.Files(o.model, image.ModelFolder[1:])
	if err != nil {
		return nil, "", exit{ExitUsage, err}
	}
	return append(own, image.Layer{What: "the model", Files: model}), name, nil
}

// labelModel names the model; a folder has no digest of its own.
func labelModel(s *image.Spec, path string) error {
	s.Labels["dev.serin.model"] = filepath.Base(path)
	in, err := os.Open(path)
	if err != nil {
		return exit{ExitUsage, fmt.Errorf("reading the model: %w", err)}
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil || info.IsDir() {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, in); err != nil {
		return fmt.Errorf("reading the model: %w", err)
	}
	s.Labels["dev.serin.model.digest"] = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	return nil
}
