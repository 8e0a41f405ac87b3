// Package image packs Serin and its scorers as OCI images, and brings them to a
// registry or into a file, without a Docker daemon.
package image

import (
	"archive/tar"
	"fmt"
	"io"
	"maps"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// ProgramPath and ModelPath are where the image holds its files.
	ProgramPath = "/serin"
	ModelPath   = "/model.txt"
	// user is nobody in particular: no name, no home, no rights.
	user = "65532:65532"
)

// Spec is what goes into an image: the same spec gives the same digest.
type Spec struct {
	Binary     Binary
	Model      string   // file with a LightGBM text model; empty: none
	Entrypoint []string // the program and its arguments
	Ports      []string // such as 5001/tcp, for people who read the image
	Labels     map[string]string
	Created    time.Time
}

// Image is packed and can be pushed or written.
type Image struct {
	image        v1.Image
	Digest       string
	Architecture string
	Size         int64 // of all that is pushed
}

// Pack makes the image. The files are read where they are, again and again, and
// never held in memory: they must not change before the image is delivered.
func Pack(s Spec) (Image, error) {
	files := []file{{s.Binary.Path, ProgramPath[1:], 0o755, "serin"}}
	if s.Model != "" {
		files = append(files, file{s.Model, ModelPath[1:], 0o444, "the model"})
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	created := v1.Time{Time: s.Created.UTC()}
	for _, f := range files {
		layer, err := tarball.LayerFromOpener(f.open, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return Image{}, fmt.Errorf("packing %s: %w", f.what, err)
		}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{Created: created, CreatedBy: "serin image", Comment: f.what}}); err != nil {
			return Image{}, fmt.Errorf("packing %s: %w", f.what, err)
		}
	}
	img, err := configure(img, s, created)
	if err != nil {
		return Image{}, fmt.Errorf("writing the image's configuration: %w", err)
	}
	return describe(img, s.Binary.Architecture)
}

func configure(img v1.Image, s Spec, created v1.Time) (v1.Image, error) {
	old, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg := old.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Created = "linux", s.Binary.Architecture, created
	ports := map[string]struct{}{}
	for _, p := range s.Ports {
		ports[p] = struct{}{}
	}
	cfg.Config = v1.Config{User: user, Entrypoint: s.Entrypoint, WorkingDir: "/", Labels: maps.Clone(s.Labels), ExposedPorts: ports}
	return mutate.ConfigFile(img, cfg)
}

func describe(img v1.Image, architecture string) (Image, error) {
	digest, err := img.Digest()
	if err != nil {
		return Image{}, fmt.Errorf("computing the image's digest: %w", err)
	}
	m, err := img.Manifest()
	if err != nil {
		return Image{}, fmt.Errorf("reading the image's manifest: %w", err)
	}
	size := m.Config.Size
	for _, l := range m.Layers {
		size += l.Size
	}
	return Image{img, digest.String(), architecture, size}, nil
}

// file is one file of the image; each is a layer of its own, so that images with
// the same binary share it.
type file struct {
	from, name string
	mode       int64
	what       string
}

// open streams the layer: a tar with the one file, without a trace of when and
// by whom it was made.
func (f file) open() (io.ReadCloser, error) {
	in, err := os.Open(f.from)
	if err != nil {
		return nil, err
	}
	info, err := in.Stat()
	if err != nil {
		_ = in.Close()
		return nil, err
	}
	if !info.Mode().IsRegular() {
		_ = in.Close()
		return nil, fmt.Errorf("%q is no regular file", f.from)
	}
	out, w := io.Pipe()
	go func() {
		defer in.Close()
		_ = w.CloseWithError(f.write(w, in, info.Size()))
	}()
	return out, nil
}

func (f file) write(w io.Writer, in io.Reader, size int64) error {
	t := tar.NewWriter(w)
	// The epoch, not a zero time, which the format cannot tell from it.
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: size, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	if _, err := io.Copy(t, in); err != nil {
		return err
	}
	return t.Close()
}
