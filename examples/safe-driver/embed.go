package safedriver

import (
	"embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed models/*.txt
var models embed.FS

// Model returns the text of a committed model, such as "v1".
func Model(name string) ([]byte, error) {
	text, err := models.ReadFile("models/" + name + ".txt")
	if err != nil {
		return nil, fmt.Errorf("there is no model %q: use one of %s", name, strings.Join(ModelNames(), ", "))
	}
	return text, nil
}

// ModelNames lists the committed models.
func ModelNames() []string {
	entries, err := models.ReadDir("models")
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".txt"))
	}
	slices.Sort(names)
	return names
}

// SampleRequest is the two-row sample of the challenge's own documentation.
//
//go:embed sample.json
var SampleRequest []byte
