package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// part is a set of programs that one `go build` makes from one pinned module.
type part struct {
	name   string
	dir    string   // where go.mod lies
	mains  []string // packages
	rename map[string]string
	flags  []string
}

// programs names what a cluster needs. The versions are pinned by programs/*/go.mod and go.sum.
func programs(full bool) ([]part, error) {
	_, file, _, ok := runtime.Caller(0)
	here := filepath.Dir(file)
	if _, err := os.Stat(filepath.Join(here, "programs")); !ok || err != nil {
		return nil, fmt.Errorf("the harness's sources are not at %q: build its tests without -trimpath", here)
	}
	dir := func(name string) string { return filepath.Join(here, "programs", name) }
	strip := []string{"-ldflags", "-s -w"}
	kube := part{name: "kube", dir: dir("kube"), mains: []string{"k8s.io/kubernetes/cmd/kube-apiserver"}}
	etcd := part{name: "etcd", dir: dir("etcd"), mains: []string{"go.etcd.io/etcd/server/v3"}, rename: map[string]string{"server": "etcd"}, flags: strip}
	self := part{name: "harness", dir: here, mains: []string{"./cmd/clusternode"}, flags: strip}
	version, err := moduleVersion(kube.dir, "k8s.io/kubernetes")
	if err != nil {
		return nil, err
	}
	numbers := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	stamp := "-X k8s.io/component-base/version.git"
	kube.flags = []string{"-ldflags", fmt.Sprintf("-s -w %sVersion=%s %sMajor=%s %sMinor=%s", stamp, version, stamp, numbers[0], stamp, numbers[1])}
	if !full {
		return []part{self, etcd, kube}, nil
	}
	for _, c := range []string{"kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"} {
		kube.mains = append(kube.mains, "k8s.io/kubernetes/cmd/"+c)
	}
	self.mains = append(self.mains, "./cmd/pause")
	containerd := "github.com/containerd/containerd/v2/cmd/"
	plugins := "github.com/containernetworking/plugins/plugins/"
	return []part{
		self, etcd, kube,
		{name: "containerd", dir: dir("containerd"), mains: []string{containerd + "containerd", containerd + "containerd-shim-runc-v2"}, flags: strip},
		{name: "cni", dir: dir("cni"), mains: []string{plugins + "main/bridge", plugins + "main/loopback", plugins + "ipam/host-local"}, flags: strip},
		{
			name: "istio", dir: dir("istio"), mains: []string{"istio.io/istio/pilot/cmd/pilot-discovery", "istio.io/istio/pilot/cmd/pilot-agent"},
			flags: append([]string{"-tags", "vtprotobuf,disable_pgv"}, strip...),
		},
	}, nil
}

// moduleVersion reads a pinned version from a go.mod.
func moduleVersion(dir, module string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require ")); len(f) >= 2 && f[0] == module {
			return f[1], nil
		}
	}
	return "", fmt.Errorf("%s requires no %s", filepath.Join(dir, "go.mod"), module)
}

// builder makes the programs, once per pinned version, under dir/bin.
type builder struct {
	dir string
	log progress
}

// folder is where a part's programs lie: its name says everything that they were made from, but for the harness's own
// sources, which `go build` itself compares.
func (b builder) folder(p part) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOARCH, p.flags)
	for _, f := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(p.dir, f))
		if err != nil {
			return "", err
		}
		sum.Write(text)
	}
	return filepath.Join(b.dir, "bin", fmt.Sprintf("%s-%x", p.name, sum.Sum(nil)[:6])), nil
}

func (p part) output(main string) string {
	segments := strings.Split(strings.TrimSuffix(main, "/v3"), "/")
	name := segments[len(segments)-1]
	if to, ok := p.rename[name]; ok {
		return to
	}
	return name
}

// own says that the sources are the harness's: whether they changed is for `go build` to find out, each time.
func (p part) own() bool { return strings.HasPrefix(p.mains[0], ".") }

// missing are the mains that have not been built.
func (p part) missing(folder string) (mains []string) {
	for _, m := range p.mains {
		if _, err := os.Stat(filepath.Join(folder, p.output(m))); err != nil || p.own() {
			mains = append(mains, m)
		}
	}
	return mains
}

// build makes what is missing and answers each part's folder. While one part compiles, the next ones are downloaded.
func (b builder) build(ctx context.Context, parts []part) (map[string]string, error) {
	unlock, err := lockWait(ctx, filepath.Join(b.dir, "build.lock"), b.log)
	if err != nil {
		return nil, err
	}
	defer unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	folders, fetched := map[string]string{"programs": filepath.Dir(parts[1].dir)}, map[string]chan error{}
	slots := make(chan struct{}, 3)
	for _, p := range parts {
		folder, err := b.folder(p)
		if err != nil {
			return nil, err
		}
		done := make(chan error, 1)
		folders[p.name], fetched[p.name] = folder, done
		todo := p.missing(folder)
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			done <- b.fetch(ctx, p, todo)
		}()
	}
	for _, p := range parts {
		if err := <-fetched[p.name]; err != nil {
			return nil, fmt.Errorf("downloading the sources of %s: %w", p.name, err)
		}
		if err := b.compile(ctx, p, folders[p.name]); err != nil {
			return nil, fmt.Errorf("building %s: %w", p.name, err)
		}
	}
	return folders, nil
}

func (b builder) fetch(ctx context.Context, p part, mains []string) error {
	if len(mains) == 0 {
		return nil
	}
	_, err := goTool(ctx, p.dir, append([]string{"list", "-mod=readonly", "-deps", "-f", "{{if false}}{{end}}"}, mains...)...)
	return err
}

func (b builder) compile(ctx context.Context, p part, folder string) error {
	mains := p.missing(folder)
	if len(mains) == 0 {
		return nil
	}
	began := time.Now()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	args := append([]string{"build", "-mod=readonly"}, p.flags...)
	if p.own() {
		_, err := goTool(ctx, p.dir, append(append(args, "-o", folder+"/"), mains...)...)
		return err
	}
	fresh, err := os.MkdirTemp(folder, ".new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(fresh) }() // what stays is never taken for a program
	if _, err := goTool(ctx, p.dir, append(append(args, "-o", fresh+"/"), mains...)...); err != nil {
		return err
	}
	for _, m := range mains { // only whole programs get their final name
		made := filepath.Base(strings.TrimSuffix(m, "/v3"))
		if err := os.Rename(filepath.Join(fresh, made), filepath.Join(folder, p.output(m))); err != nil {
			return err
		}
	}
	b.log.since(began, "built %s (%d programs)", p.name, len(mains))
	return nil
}

// goTool runs go with the settings that make the build cache reusable from run to run.
func goTool(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &errs, 10*time.Second
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s in %s: %w: %s", args[0], filepath.Base(dir), err, tail(errs.String(), 20))
	}
	return strings.TrimSpace(out.String()), nil
}

// tail is the last n lines.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// BuildSerin builds the serin program of this repository for a Linux image and answers its path.
func BuildSerin(ctx context.Context, o Options) (string, error) {
	dir, err := stateDir(o.Dir)
	if err != nil {
		return "", err
	}
	parts, err := programs(false)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	began, path := time.Now(), filepath.Join(dir, "bin", "serin")
	if _, err = goTool(ctx, filepath.Join(parts[0].dir, "..", ".."), "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./cmd/serin"); err != nil {
		return "", err
	}
	newProgress(o.Log).since(began, "built serin")
	return path, nil
}
