package node

import (
	"embed"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed files
var templates embed.FS

// WriteFiles writes the programs' configuration files.
func WriteFiles(c Config) error {
	all, err := template.ParseFS(templates, "files/*")
	if err != nil {
		return err
	}
	names := map[string]string{
		"containerd/config.toml": "config.toml", "containerd/certs.d/" + c.Registry() + "/hosts.toml": "hosts.toml",
		"containerd/certs.d/" + c.Loopback + "/hosts.toml": "hosts.toml", // the machine's name for the registry: the node's own loopback is another
		"cni/10-bridge.conflist":                           "bridge.conflist", "kubelet/config.yaml": "kubelet.yaml", "kubelet/proxy.yaml": "proxy.yaml",
	}
	values := map[string]string{
		"Dir": c.Dir, "CNI": c.CNI, "Address": Address, "Pods": PodNetwork, "Node": Name, "Registry": c.Registry(),
		"Pause": c.PauseImage(), "KubeConfig": c.KubeConfig(), "Cgroup": CgroupRoot,
	}
	for path, name := range names {
		var text strings.Builder
		if err := all.ExecuteTemplate(&text, name, values); err != nil {
			return err
		}
		path = c.path(path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
