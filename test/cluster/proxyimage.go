package cluster

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

var sharedLibrary = regexp.MustCompile(`/\S+\.so\S*`)

// proxyFiles are the contents of Istio's proxyv2 image, made of what lies on this machine: pilot-agent, Envoy, the bootstrap
// template, iptables in both flavours for the init container, and the libraries that these link to.
func proxyFiles(envoy, istio, source string) (map[string]string, error) {
	files := map[string]string{
		"/usr/local/bin/pilot-agent":                     filepath.Join(istio, "pilot-agent"),
		"/usr/local/bin/envoy":                           filepath.Join(envoy, "envoy"),
		"/var/lib/istio/envoy/envoy_bootstrap_tmpl.json": filepath.Join(source, "tools", "packaging", "common", "envoy_bootstrap.json"),
	}
	linked := []string{filepath.Join(envoy, "envoy")}
	for _, tool := range proxyTools() {
		path, err := exec.LookPath(tool)
		if err != nil {
			return nil, fmt.Errorf("the proxy's image needs it: %w", err)
		}
		files["/usr/sbin/"+tool] = path
		linked = append(linked, path)
	}
	extensions, err := filepath.Glob("/usr/lib/*/xtables/*.so")
	if err != nil || len(extensions) == 0 {
		return nil, fmt.Errorf("iptables' extensions are not in /usr/lib/*/xtables (%w)", err)
	}
	for _, e := range extensions {
		files[e] = e
	}
	return files, addLibraries(files, append(linked, extensions...))
}

// proxyTools are what the init container calls, in both flavours of iptables: it finds out itself which one works.
func proxyTools() []string {
	tools := []string{"ip"}
	for _, tool := range []string{"iptables", "ip6tables"} {
		for _, flavour := range []string{"", "-nft", "-legacy"} {
			for _, use := range []string{"", "-save", "-restore"} {
				tools = append(tools, tool+flavour+use)
			}
		}
	}
	return tools
}

// addLibraries adds the shared libraries of programs, at the places where the loader looks for them.
func addLibraries(files map[string]string, programs []string) error {
	out, err := exec.Command("ldd", programs...).Output()
	if err != nil {
		return fmt.Errorf("finding the libraries of the proxy's image: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasSuffix(strings.TrimSpace(line), ":") {
			continue // names the program, not a library
		}
		if l := sharedLibrary.FindString(line); l != "" {
			files[l] = l
		}
	}
	return nil
}
