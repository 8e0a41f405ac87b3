package image

import (
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
)

// program is the import path of Serin's own command.
const program = "github.com/serin-dev/serin/cmd/serin"

// Binary is a serin that can run in an image with nothing else in it.
type Binary struct {
	Path         string
	Architecture string // as in images: amd64, arm64
	Version      string // "devel" where the build says nothing
	Revision     string // of the source; may be empty
}

// architectures are those that Go and Kubernetes both run on.
var architectures = map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_S390: "s390x", elf.EM_PPC64: "ppc64le", elf.EM_RISCV: "riscv64"}

// remedy is how a binary comes about that can be packed.
const remedy = "build one with CGO_ENABLED=0 GOOS=linux go build -trimpath -ldflags='-s -w' -o serin ./cmd/serin, and name it with --binary"

// ReadBinary looks whether a file can be packed: a serin, for Linux, that needs
// no library of the system.
func ReadBinary(path string) (Binary, error) {
	path = filepath.Clean(path)
	if _, err := os.Stat(path); err != nil {
		return Binary{}, fmt.Errorf("reading the binary: %w", err)
	}
	f, err := elf.Open(path)
	if err != nil {
		return Binary{}, fmt.Errorf("the binary %q is no Linux program (%w): %s", path, err, remedy)
	}
	defer func() { _ = f.Close() }() // only read
	b := Binary{Path: path, Architecture: architectures[f.Machine], Version: "devel"}
	if b.Architecture == "" || f.Machine == elf.EM_PPC64 && f.Data != elf.ELFDATA2LSB {
		return Binary{}, fmt.Errorf("the binary %q is for %s: must be for amd64, arm64, ppc64le, riscv64 or s390x", path, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return Binary{}, fmt.Errorf("the binary %q needs libraries of the system, and the image holds none: %s", path, remedy)
		}
	}
	if err := b.readBuild(); err != nil {
		return Binary{}, err
	}
	return b, nil
}

// readBuild takes what the toolchain wrote into the binary.
func (b *Binary) readBuild() error {
	info, err := buildinfo.ReadFile(b.Path)
	if err != nil {
		return fmt.Errorf("the binary %q is no serin (%w): %s", b.Path, err, remedy)
	}
	if info.Path != program {
		return fmt.Errorf("the binary %q is %s, no serin: %s", b.Path, info.Path, remedy)
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Revision = s.Value
		}
	}
	return nil
}
