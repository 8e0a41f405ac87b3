package image

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// WriteFile writes the image as a tar that is both an OCI layout and what `docker
// save` writes: docker, podman, ctr, kind and skopeo each find what they read.
func (i Image) WriteFile(path string, r Reference, say Progress) (err error) {
	path = filepath.Clean(path)
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	err = errors.Join(i.write(tmp, r, say), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Chmod(tmp.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return nil
}

// write keeps one order, so that the same image gives the same file.
func (i Image) write(w io.Writer, r Reference, say Progress) error {
	raw, err := i.image.RawManifest()
	if err != nil {
		return err
	}
	m, err := i.image.Manifest()
	if err != nil {
		return err
	}
	config, err := i.image.RawConfigFile()
	if err != nil {
		return err
	}
	index, docker, err := i.indexes(m, r)
	if err != nil {
		return err
	}
	a := archive{tar.NewWriter(w), 0, i.Size, say}
	digest, err := v1.NewHash(i.Digest)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {"index.json", index}, {"manifest.json", docker}, {blob(digest), raw}, {blob(m.Config.Digest), config}} {
		if err := a.add(f.name, int64(len(f.data)), func(w io.Writer) error { _, err := w.Write(f.data); return err }); err != nil {
			return err
		}
	}
	layers, err := i.image.Layers()
	if err != nil {
		return err
	}
	for n, l := range layers {
		if err := a.layer(l, m.Layers[n]); err != nil {
			return err
		}
	}
	return a.tar.Close()
}

// indexes are the two tables of contents: OCI's and docker's.
func (i Image) indexes(m *v1.Manifest, r Reference) (index, docker []byte, err error) {
	d, err := partial.Descriptor(i.image)
	if err != nil {
		return nil, nil, err
	}
	d.Platform = &v1.Platform{OS: "linux", Architecture: i.Architecture}
	d.Annotations = map[string]string{"org.opencontainers.image.ref.name": r.Tag(), "io.containerd.image.name": r.String()}
	index, err = json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{*d}})
	if err != nil {
		return nil, nil, err
	}
	type saved struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	s := saved{Config: blob(m.Config.Digest), RepoTags: []string{r.String()}}
	for _, l := range m.Layers {
		s.Layers = append(s.Layers, blob(l.Digest))
	}
	docker, err = json.Marshal([]saved{s})
	return index, docker, err
}

func blob(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

type archive struct {
	tar         *tar.Writer
	done, total int64
	say         Progress
}

func (a *archive) add(name string, size int64, write func(io.Writer) error) error {
	if err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	return write(a.tar)
}

func (a *archive) layer(l v1.Layer, d v1.Descriptor) error {
	in, err := l.Compressed()
	if err != nil {
		return err
	}
	defer in.Close()
	return a.add(blob(d.Digest), d.Size, func(w io.Writer) error {
		_, err := io.Copy(io.MultiWriter(w, counter{a}), in)
		return err
	})
}

// counter tells how far the archive is.
type counter struct{ a *archive }

func (c counter) Write(p []byte) (int, error) {
	c.a.done += int64(len(p))
	if c.a.say != nil {
		c.a.say(c.a.done, c.a.total)
	}
	return len(p), nil
}
