package azure

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// mapping is a YAML mapping with its order: templates iterate over it.
type mapping struct {
	keys  []string
	items map[string]any
}

func newMapping() *mapping { return &mapping{items: map[string]any{}} }

func (m *mapping) set(key string, v any) {
	if _, known := m.items[key]; !known {
		m.keys = append(m.keys, key)
	}
	m.items[key] = v
}

func (m *mapping) get(key string) any { return m.items[key] }

func (m *mapping) values() []any {
	out := make([]any, len(m.keys))
	for i, k := range m.keys {
		out[i] = m.items[k]
	}
	return out
}

// tree turns YAML into values. Scalars are texts, as they are for templates; types
// come with parameters.
func tree(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.DocumentNode:
		return tree(n.Content[0])
	case yaml.MappingNode:
		m := newMapping()
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if _, twice := m.items[key]; twice {
				return nil, fmt.Errorf("line %d: %q is there twice", n.Content[i].Line, key)
			}
			v, err := tree(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			m.set(key, v)
		}
		return m, nil
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			v, err := tree(c)
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	case yaml.AliasNode:
		return nil, fmt.Errorf("line %d: anchors are not supported by Azure Pipelines", n.Line)
	}
	if n.Tag == "!!null" {
		return nil, nil
	}
	return n.Value, nil
}

// plain turns mappings into Go's own, for JSON.
func plain(v any) any {
	switch v := v.(type) {
	case *mapping:
		out := map[string]any{}
		for k, x := range v.items {
			out[k] = plain(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = plain(x)
		}
		return out
	}
	return v
}
