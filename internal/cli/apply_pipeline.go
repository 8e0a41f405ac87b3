package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/serin-dev/serin/internal/engine"
)

// scorerFields are what a pipeline fills in: what it built.
type scorerFields struct{ image, version string }

func (s *scorerFields) addTo(c *cobra.Command) {
	c.Flags().StringVar(&s.image, "image", "", "`REFERENCE` by digest that takes the place of spec.scorer.image")
	c.Flags().StringVar(&s.version, "version", "", "`TEXT` that takes the place of spec.scorer.version")
}

// into writes them into a document; all else stays as it was written.
func (s scorerFields) into(text []byte) ([]byte, error) {
	if s == (scorerFields{}) {
		return text, nil
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, usageError("reading the document: %w", err)
	}
	scorer := child(child(&root, "spec"), "scorer")
	if scorer == nil || scorer.Kind != yaml.MappingNode {
		return nil, usageError("spec.scorer: not in the document; --image and --version set fields of it, so write at least `scorer: {}`")
	}
	for _, f := range []struct{ key, value string }{{"version", s.version}, {"image", s.image}} {
		if f.value != "" {
			setChild(scorer, f.key, f.value)
		}
	}
	return yaml.Marshal(&root)
}

// setChild gives a key of a mapping a text.
func setChild(n *yaml.Node, key, value string) {
	text := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
	if old := child(n, key); old != nil {
		*old = text
		return
	}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, &text)
}

// gated says what is wrong when a plan is not the one whose every step the caller
// lets in: a step more, or one that asks nobody, would be entered without it.
func gated(steps []engine.StepView, gates []string) error {
	names := make([]string, len(steps))
	for i, s := range steps {
		names[i] = s.Name
	}
	if !slices.EqualFunc(names, gates, strings.EqualFold) {
		return fmt.Errorf("spec.rollout.steps: the plan has the steps %s, --gates names %s; let both say the same", strings.Join(names, ","), strings.Join(gates, ","))
	}
	for _, s := range steps {
		if !s.Approval {
			return fmt.Errorf("spec.rollout: step %s asks for no approval, so it would be entered without its gate; write rollout.approval: EveryStep", s.Name)
		}
	}
	return nil
}
