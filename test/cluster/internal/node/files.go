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
		"config.toml": "containerd/config.toml", "hosts.toml": "containerd/certs.d/" + c.Registry() + "/hosts.toml",
		"bridge.conflist": "cni/10-bridge.conflist", "kubelet.yaml": "kubelet/config.yaml", "proxy.yaml": "kubelet/proxy.yaml",
	}
	values := map[string]string{
		"Dir": c.Dir, "CNI": c.CNI, "Address": Address, "Pods": PodNetwork, "Node": Name, "Registry": c.Registry(),
		"Pause": c.PauseImage(), "KubeConfig": c.KubeConfig(), "Cgroup": CgroupRoot,
	}
	for name, path := range names {
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
