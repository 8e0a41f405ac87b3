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
const SampleRequest = `{"data":[[0,1,8,1,0,0,1,0,0,0,0,0,0,0,12,1,0,0,0.5,0.3,0.610327781,7,1,-1,0,-1,1,1,1,2,1,65,1,0.316227766,0.669556409,0.352136337,3.464101615,0.1,0.8,0.6,1,1,6,3,6,2,9,1,1,1,12,0,1,1,0,0,1],[4,2,5,1,0,0,0,0,1,0,0,0,0,0,5,1,0,0,0.9,0.5,0.771362431,4,1,-1,0,0,11,1,1,0,1,103,1,0.316227766,0.60632002,0.358329457,2.828427125,0.4,0.5,0.4,3,3,8,4,10,2,7,2,0,3,10,0,0,1,1,0,1]]}`
