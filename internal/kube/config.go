package kube

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Requests that a client may send: a leader writes at every decision.
const (
	clientQPS   = 50
	clientBurst = 100
)

// ClientConfig finds the cluster as kubectl does: the pod's own account, else
// KUBECONFIG or ~/.kube/config, in the named context ("" for the current one).
func ClientConfig(context string) (*rest.Config, error) {
	rc, _, err := clientConfig(context)
	return rc, err
}

// clientConfig also returns the namespace of the context.
func clientConfig(context string) (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	found := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context})
	rc, err := found.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("reading the kubeconfig: %w (set KUBECONFIG, or --context)", err)
	}
	namespace, _, err := found.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("reading the kubeconfig's namespace: %w", err)
	}
	rc.QPS, rc.Burst = clientQPS, clientBurst
	return rc, namespace, nil
}
