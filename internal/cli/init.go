package cli

import (
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/spec"
)

const starter = `# A scoring endpoint: the one address that clients call. Every field but scorer has a default; docs/document.md has all.
apiVersion: serin.dev/v1alpha1
kind: ScoringEndpoint
metadata: {name: %s}
spec:
  scorer:                        # a change in here, and only here, starts a rollout
    version: "1"
    local: {model: %s}           # or {command: [PROGRAM, …]}: any HTTP server, it gets $PORT
  contract: {path: /score}
  traffic:
    listen: 127.0.0.1:8080
    header: {name: x-api-version, stable: green, candidate: blue}
  rollout:
    steps:
      - {shadow: 100%%, minDuration: 10m}
      - {weight: 1%%}
      - {weight: 10%%}
      - {weight: 50%%, approval: Required}
      - {weight: 100%%}           # = promotion
`

var nameLike = regexp.MustCompile(`^[a-z0-9][-a-z0-9]*$`)

func newInit(stdio IO) *cobra.Command {
	var name, model string
	c := &cobra.Command{
		Use: "init", Short: "Write a document to begin with", Args: cobra.NoArgs,
		Long:    "Write a document to stdout, with comments.\n\n" + exitTable,
		Example: "  serin init --name safe-driver --model models/v1.txt > endpoint.yaml",
		RunE: func(*cobra.Command, []string) error {
			if !nameLike.MatchString(name) {
				return usageError("--name %q: use lower-case letters, digits and -", name)
			}
			text := fmt.Sprintf(starter, name, model)
			if _, _, err := spec.Load([]byte(text)); err != nil {
				return usageError("--name or --model make no valid document: %w", err)
			}
			fmt.Fprint(stdio.Out, text)
			return nil
		},
	}
	c.Flags().StringVar(&name, "name", "my-model", "name of the endpoint")
	c.Flags().StringVar(&model, "model", "model.txt", "path of a LightGBM text model, relative to the document")
	return c
}
