package node

import (
	"fmt"
	"path/filepath"
)

// The command lines. Files that they name are written by WriteFiles.

func etcd(c Config) []string {
	client := fmt.Sprintf("http://127.0.0.1:%d", c.EtcdPort)
	peer := fmt.Sprintf("http://127.0.0.1:%d", c.PeerPort)
	return []string{
		filepath.Join(c.Etcd, "etcd"), "--data-dir", c.path("etcd"), "--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer,
		"--unsafe-no-fsync", // nothing here outlives the run
	}
}

func apiServer(c Config) []string {
	argv := []string{
		filepath.Join(c.Kube, "kube-apiserver"), fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", c.EtcdPort),
		fmt.Sprintf("--secure-port=%d", c.APIPort), "--bind-address=" + c.Address, "--advertise-address=" + c.Address,
		"--service-cluster-ip-range=" + ServiceNet, "--authorization-mode=Node,RBAC", "--client-ca-file=" + c.path("pki/ca.crt"),
		"--tls-cert-file=" + c.path("pki/apiserver.crt"), "--tls-private-key-file=" + c.path("pki/apiserver.key"),
		"--kubelet-client-certificate=" + c.path("pki/admin.crt"), "--kubelet-client-key=" + c.path("pki/admin.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + c.path("pki/sa.key"),
		"--service-account-signing-key-file=" + c.path("pki/sa.key"), "--kubelet-preferred-address-types=InternalIP",
		"--allow-privileged=true", "--profiling=false", "--cert-dir=" + c.path("pki"),
	}
	if !c.Full {
		// Nothing would create the service account that this plug-in asks of every pod.
		argv = append(argv, "--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none")
	}
	return argv
}

func controllerManager(c Config) []string {
	return []string{
		filepath.Join(c.Kube, "kube-controller-manager"), "--kubeconfig=" + c.KubeConfig(), "--bind-address=127.0.0.1",
		"--service-account-private-key-file=" + c.path("pki/sa.key"), "--root-ca-file=" + c.path("pki/ca.crt"), "--cluster-cidr=" + PodNetwork,
		"--cluster-signing-cert-file=" + c.path("pki/ca.crt"), "--cluster-signing-key-file=" + c.path("pki/ca.key"),
		"--use-service-account-credentials", "--leader-elect=false", "--cert-dir=" + c.path("pki"),
	}
}

func scheduler(c Config) []string {
	return []string{
		filepath.Join(c.Kube, "kube-scheduler"), "--kubeconfig=" + c.KubeConfig(), "--bind-address=127.0.0.1", "--leader-elect=false",
	}
}

func containerd(c Config) []string {
	return []string{filepath.Join(c.Containerd, "containerd"), "-c", c.path("containerd/config.toml")}
}

func kubelet(c Config) []string {
	return []string{
		filepath.Join(c.Kube, "kubelet"), "--kubeconfig=" + c.KubeConfig(), "--config=" + c.path("kubelet/config.yaml"),
		"--root-dir=" + c.path("kubelet/root"), "--cert-dir=" + c.path("pki"), "--hostname-override=" + Name, "--node-ip=" + Address,
	}
}

func kubeProxy(c Config) []string {
	return []string{filepath.Join(c.Kube, "kube-proxy"), "--config=" + c.path("kubelet/proxy.yaml")}
}
