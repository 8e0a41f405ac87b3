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
	Architecture string  // as in images: amd64, arm64
	Layers       []Layer // the lowest first; images with the same one share it
	Entrypoint   []string
	Env          []string // NAME=VALUE
	Ports        []string // such as 5001/tcp, for people who read the image
	Labels       map[string]string
	Created      time.Time
}

// Layer holds files, or is an archive that was made before.
type Layer struct {
	What    string // for people: "the model"
	Files   []File
	Archive string // a compressed tar; Files is empty then
}

// File is one file of the image, or a folder when From is empty.
type File struct {
	From string // on this machine
	Name string // in the image, from its root: app/score.py
	Mode int64
}

// ProgramLayer holds serin.
func ProgramLayer(b Binary) Layer {
	return Layer{What: "serin", Files: []File{{b.Path, ProgramPath[1:], 0o755}}}
}

// ModelLayer holds a LightGBM text model.
func ModelLayer(path string) Layer {
	return Layer{What: "the model", Files: []File{{path, ModelPath[1:], 0o444}}}
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
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	created := v1.Time{Time: s.Created.UTC()}
	for _, l := range s.Layers {
		layer, err := l.pack()
		if err != nil {
			return Image{}, fmt.Errorf("packing %s: %w", l.What, err)
		}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{Created: created, CreatedBy: "serin image", Comment: l.What}}); err != nil {
			return Image{}, fmt.Errorf("packing %s: %w", l.What, err)
		}
	}
	img, err := configure(img, s, created)
	if err != nil {
		return Image{}, fmt.Errorf("writing the image's configuration: %w", err)
	}
	return describe(img, s.Architecture)
}

func (l Layer) pack() (v1.Layer, error) {
	if l.Archive != "" {
		return tarball.LayerFromFile(l.Archive, tarball.WithMediaType(types.OCILayer))
	}
	return tarball.LayerFromOpener(l.open, tarball.WithMediaType(types.OCILayer))
}

func configure(img v1.Image, s Spec, created v1.Time) (v1.Image, error) {
	old, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg := old.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Created = "linux", s.Architecture, created
	ports := map[string]struct{}{}
	for _, p := range s.Ports {
		ports[p] = struct{}{}
	}
	cfg.Config = v1.Config{User: user, Entrypoint: s.Entrypoint, Env: s.Env, WorkingDir: "/", Labels: maps.Clone(s.Labels), ExposedPorts: ports}
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

// open streams the layer: a tar without a trace of when and by whom it was made.
func (l Layer) open() (io.ReadCloser, error) {
	for _, f := range l.Files { // said before anything is sent
		if err := f.check(); err != nil {
			return nil, err
		}
	}
	out, w := io.Pipe()
	go func() { _ = w.CloseWithError(l.write(w)) }()
	return out, nil
}

func (l Layer) write(w io.Writer) error {
	t := tar.NewWriter(w)
	for _, f := range l.Files {
		if err := f.write(t); err != nil {
			return err
		}
	}
	return t.Close()
}

func (f File) check() error {
	if f.From == "" {
		return nil
	}
	info, err := os.Stat(f.From) // a pipe would be waited for, if it were opened
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q is no regular file", f.From)
	}
	in, err := os.Open(f.From)
	if err != nil {
		return err
	}
	return in.Close()
}

func (f File) write(t *tar.Writer) error {
	// The epoch, not a zero time, which the format cannot tell from it.
	h := &tar.Header{Typeflag: tar.TypeDir, Name: f.Name + "/", Mode: f.Mode, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	if f.From == "" {
		return t.WriteHeader(h)
	}
	in, err := os.Open(f.From)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	h.Typeflag, h.Name, h.Size = tar.TypeReg, f.Name, info.Size()
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(t, in)
	return err
}
