package e2e_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/serin-dev/serin/test/cluster"
	"github.com/serin-dev/serin/test/pipelines/scenario"
)

// pipelineAccounts: shipper may push versions, approve, abort, and set the plan; steerer
// may not set the plan, and neither may do anything else in the cluster.
const pipelineAccounts = `apiVersion: v1
kind: ServiceAccount
metadata: {name: shipper, namespace: abtesting}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: steerer, namespace: abtesting}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: pipelines-operate, namespace: abtesting}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: serin-operator}
subjects: [{kind: ServiceAccount, name: shipper, namespace: abtesting}, {kind: ServiceAccount, name: steerer, namespace: abtesting}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: pipelines-approve, namespace: abtesting}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: serin-approver}
subjects: [{kind: ServiceAccount, name: shipper, namespace: abtesting}, {kind: ServiceAccount, name: steerer, namespace: abtesting}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: pipelines-configure, namespace: abtesting}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: serin-configurer}
subjects: [{kind: ServiceAccount, name: shipper, namespace: abtesting}]
`

// pipelineDocument is the team's; the pipeline fills in version and image.
const pipelineDocument = `apiVersion: serin.dev/v1alpha1
kind: ScoringEndpoint
metadata: {name: NAME, namespace: abtesting}
spec:
  scorer: {version: "0", image: "IMAGE", readiness: {path: /readyz}}
  traffic: {hosts: ["NAME.example.com"], gateway: mlmodel-gateway, header: {name: x-api-version, stable: green, candidate: blue}}
  rollout:
    approval: EveryStep
    steps: [{shadow: 100%, minDuration: 2s}, {weight: 1%}, {weight: 10%, minDuration: 4s}, {weight: 50%}, {weight: 100%}]
    warmup: 1s
    minRequests: 3
    keepFailed: 5m
    keepOld: 5m
    progressDeadline: DEADLINE
  judge:
    errors: {orWithin: 10pp}
    latency: {revertAbove: 20x, promoteBelow: 40x, at: [p50]}
    agreement: {tolerance: "1", revertBelow: 50%, promoteAbove: 70%}
`

// kubeconfig is one of a service account, as a service connection holds it.
func kubeconfig(t *testing.T, account string) string {
	t.Helper()
	rc := mesh.RequestConfig()
	cl, err := kubernetes.NewForConfig(rc)
	if err != nil {
		t.Fatal(err)
	}
	hour := int64(3600)
	token, err := cl.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := clientcmdapi.NewConfig()
	c.Clusters["here"] = &clientcmdapi.Cluster{Server: rc.Host, CertificateAuthorityData: rc.CAData, CertificateAuthority: rc.CAFile}
	c.AuthInfos[account] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	c.Contexts["here"], c.CurrentContext = &clientcmdapi.Context{Cluster: "here", AuthInfo: account, Namespace: namespace}, "here"
	file := filepath.Join(t.TempDir(), account)
	if err := clientcmd.WriteToFile(*c, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// pipelineWorld makes an endpoint that the pipelines ship to, as a service account.
func pipelineWorld(t *testing.T, account string, production bool) *scenario.World {
	t.Helper()
	parts := strings.Split(t.Name(), "/")
	w := newWorld(t, "pipe-"+strings.ToLower(parts[len(parts)-1]))
	program, err := cluster.BuildSerin(t.Context(), cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	missing := mesh.Registry + "/no/such@sha256:" + strings.Repeat("0", 64)
	text := func(candidate, image string) string {
		deadline := map[bool]string{true: "20s", false: "3m"}[candidate == scenario.Broken]
		return strings.NewReplacer("NAME", w.name, "IMAGE", image, "DEADLINE", deadline).Replace(pipelineDocument)
	}
	out := &scenario.World{
		Root: absolute, Serin: program, URL: mesh.Gateway + "/score", Host: w.name + ".example.com", Rate: 80, Kubeconfig: kubeconfig(t, account),
		Document:  func(candidate string) string { return text(candidate, missing) },
		Variables: map[string]string{"SERIN_AKS": "stand-in", "SERIN_ENDPOINT": w.name, "SERIN_NAMESPACE": namespace, "SERIN_REGISTRY": mesh.Registry, "SERIN_REGISTRY_INSECURE": "true", "SERIN_TIMEOUT": "3m", "SERIN_SETTLE": "2"},
		Where:     []string{"--namespace", namespace, "--endpoint", w.name}, Look: []string{"KUBECONFIG=" + mesh.KubeConfig},
		Packs: onThisMachine(mesh.Registry), Pulls: true,
		Image: func(candidate string) string {
			return map[string]string{scenario.Good: mesh.scorer["v2"], scenario.Broken: missing, scenario.Failing: mesh.scorer["some-rows"]}[candidate]
		},
	}
	if production {
		serinApply(t, program, text(scenario.Good, mesh.scorer["v1"]))
		w.awaitStable("0")
	}
	return out
}

// serinApply is what the platform team does once: the endpoint with its plan.
func serinApply(t *testing.T, program, text string) {
	t.Helper()
	c := bounded(t, time.Minute, program, "apply", "--namespace", namespace, "-f", "-")
	c.Stdin, c.Env = strings.NewReader(text), append(os.Environ(), "KUBECONFIG="+mesh.KubeConfig)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("serin apply: %v: %s", err, out)
	}
}

// TestPipelines carries the ready pipeline of Azure DevOps through the cluster, in every
// case that test/pipelines knows, as a service account with Serin's roles and no others.
func TestPipelines(t *testing.T) {
	if err := mesh.Apply(t.Context(), []byte(pipelineAccounts)); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(scenario.Cases)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scenario.Cases[name](t, func(t *testing.T, production bool) *scenario.World { return pipelineWorld(t, "shipper", production) })
		})
	}
	// The variant for a team that may not set its plan.
	t.Run("VerbsOnly", func(t *testing.T) {
		t.Parallel()
		scenario.VerbsOnly(t, func(t *testing.T, production bool) *scenario.World { return pipelineWorld(t, "steerer", production) })
	})
}
