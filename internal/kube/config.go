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
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rc, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w (set KUBECONFIG, or --context)", err)
	}
	rc.QPS, rc.Burst = clientQPS, clientBurst
	return rc, nil
}
