package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image says what to pack.
type Image struct {
	Name       string            // repository and tag, without the registry: "scorer:1"
	Files      map[string]string // path in the image → file or folder on this machine; symbolic links are followed
	Entrypoint []string
	Cmd        []string
	Env        []string
	User       string // default: 65532, nobody in particular
}

// Push packs an image and pushes it to the cluster's registry. It answers the reference by digest that pods can name.
func (c *Cluster) Push(ctx context.Context, i Image) (string, error) {
	image, err := pack(i)
	if err != nil {
		return "", fmt.Errorf("packing the image %q: %w", i.Name, err)
	}
	ref, err := name.ParseReference(c.Registry+"/"+i.Name, name.Insecure)
	if err != nil {
		return "", err
	}
	if err := remote.Write(ref, image, remote.WithContext(ctx)); err != nil {
		return "", fmt.Errorf("pushing the image %q: %w", i.Name, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return "", err
	}
	return ref.Context().Name() + "@" + digest.String(), nil
}

// pack makes an image of one layer, which is not compressed: it travels over loopback only.
func pack(i Image) (v1.Image, error) {
	files, err := archive(i.Files)
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if image, err = mutate.AppendLayers(image, static.NewLayer(files, types.OCIUncompressedLayer)); err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	user := i.User
	if user == "" {
		user = "65532"
	}
	env := append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, i.Env...)
	file.Config = v1.Config{User: user, Entrypoint: i.Entrypoint, Cmd: i.Cmd, Env: env}
	return mutate.ConfigFile(image, file)
}

// archive writes files into a tar archive that is the same for the same files.
func archive(files map[string]string) ([]byte, error) {
	var out bytes.Buffer
	w := layerWriter{tar: tar.NewWriter(&out), made: map[string]bool{}}
	if err := w.dir("tmp", 0o1777); err != nil {
		return nil, err
	}
	targets := make([]string, 0, len(files))
	for to := range files {
		targets = append(targets, to)
	}
	slices.Sort(targets)
	for _, to := range targets {
		if err := w.add(files[to], to); err != nil {
			return nil, err
		}
	}
	if err := w.tar.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

type layerWriter struct {
	tar  *tar.Writer
	made map[string]bool
}

func (w layerWriter) add(from, to string) error {
	info, err := os.Stat(from) // follows links
	if err != nil {
		return err
	}
	to = strings.TrimPrefix(path.Clean("/"+to), "/")
	if !info.IsDir() {
		return w.file(from, to, info)
	}
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		if info.IsDir() { // a link to a folder
			return w.add(p, path.Join(to, filepath.ToSlash(rel)))
		}
		return w.file(p, path.Join(to, filepath.ToSlash(rel)), info)
	})
}

func (w layerWriter) file(from, to string, info fs.FileInfo) error {
	if w.made[to] {
		return nil
	}
	w.made[to] = true
	if err := w.dir(path.Dir(to), 0o755); err != nil {
		return err
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	if err := w.tar.WriteHeader(&tar.Header{Name: to, Mode: mode, Size: int64(len(b)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err = w.tar.Write(b)
	return err
}

func (w layerWriter) dir(to string, mode int64) error {
	if to == "." || w.made[to] {
		return nil
	}
	if err := w.dir(path.Dir(to), 0o755); err != nil {
		return err
	}
	w.made[to] = true
	return w.tar.WriteHeader(&tar.Header{Name: to + "/", Mode: mode, Typeflag: tar.TypeDir})
}
