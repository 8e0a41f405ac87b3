package image

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
)

// Files are those of a folder with all below it, or the one file, under their names
// in the image. Hidden ones and Python's caches are left out; a link, or anything else
// that is neither file nor folder, is an error: nobody can tell what would be packed.
func Files(from, to string) ([]File, error) {
	from = filepath.Clean(from)
	var files []File
	err := filepath.WalkDir(from, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if at != from && (strings.HasPrefix(d.Name(), ".") || d.Name() == "__pycache__") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(from, at)
		if err != nil {
			return err
		}
		name := path.Join(to, filepath.ToSlash(rel))
		switch {
		case d.IsDir():
			files = append(files, File{Name: name, Mode: 0o755})
		case d.Type().IsRegular() && at == from:
			files = append(files, File{Name: to, Mode: 0o755}, File{From: at, Name: path.Join(to, d.Name()), Mode: 0o444})
		case d.Type().IsRegular():
			files = append(files, File{From: at, Name: name, Mode: 0o444})
		default:
			return fmt.Errorf("%q is neither a file nor a folder (%s): put what it stands for in its place", at, d.Type())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing what to pack: %w", err)
	}
	return files, nil
}
