package api_test

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sclient "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/kube"
	"github.com/serin-dev/serin/internal/rollout"
)

// TestAnUpgradeOfSerinKeepsThePods: a controller of another Serin starts a revision that
// runs, and one that does not. The first keeps its pod template, and Serin still owns every
// field of it; the second gets the recorder of the present Serin.
func TestAnUpgradeOfSerinKeepsThePods(t *testing.T) {
	c := start(t)
	istioKinds(t, c)
	api := typed(t, c.RequestConfig())
	const namespace, before, after = "upgrade", "registry.example.com/serin@sha256:cccc", "registry.example.com/serin@sha256:dddd"
	if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	w := &place{api: api, name: namespace}
	w.e = &v1alpha1.ScoringEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ep"}, Spec: v1alpha1.ScoringEndpointSpec{Scorer: v1alpha1.Scorer{Image: readyImage}}}
	if err := api.Create(t.Context(), w.e); err != nil {
		t.Fatal(err)
	}
	starts := func(recorder string, number int) appsv1.Deployment {
		t.Helper()
		p, err := kube.NewPlatform(kube.Config{RecorderImage: recorder, ControllerURL: "http://serin:9002", Logger: slog.New(slog.DiscardHandler), Clock: time.Now}, api, w, w.e, map[string]v1alpha1.Scorer{"1": everyField(t), "2": everyField(t)})
		if err != nil {
			t.Fatal(err)
		}
		r := rollout.Revision{Name: fmt.Sprintf("ep-r%d", number), Number: number, Digest: fmt.Sprint(number), Version: "v"}
		if err := p.Apply(t.Context(), rollout.StartRevision{Revision: r}); err != nil {
			t.Fatal(err)
		}
		var d appsv1.Deployment
		if err := api.Get(t.Context(), k8sclient.ObjectKey{Namespace: namespace, Name: r.Name}, &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	was := starts(before, 1)
	w.e.Spec.Scaling = v1alpha1.Scaling{Replicas: new(int32(3))}
	for range 2 { // it may be repeated
		is := starts(after, 1)
		if diff := cmp.Diff(was.Spec.Template, is.Spec.Template); diff != "" {
			t.Errorf("the pod template of a revision that runs changed (-was +is):\n%s", diff)
		}
		if *is.Spec.Replicas != 3 {
			t.Errorf("%d replicas, want the 3 of the document", *is.Spec.Replicas)
		}
		if diff := cmp.Diff(owned(was), owned(is)); diff != "" {
			t.Errorf("what Serin owns of it changed (-was +is):\n%s", diff)
		}
	}
	fresh := starts(after, 2)
	if got := fresh.Spec.Template.Spec.Containers[0].Image; got != after {
		t.Errorf("the recorder of a new revision is %s, want %s", got, after)
	}
}

func everyField(t *testing.T) v1alpha1.Scorer {
	t.Helper()
	full, err := os.ReadFile(root + "/internal/spec/testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return resolve(t, full).Endpoint.Spec.Scorer
}

// owned is what managedFields say is whose, but for when.
func owned(d appsv1.Deployment) (out []string) {
	for _, f := range d.ManagedFields {
		text := ""
		if f.FieldsV1 != nil {
			text = f.FieldsV1.GetRawString()
		}
		out = append(out, strings.Join([]string{f.Manager, string(f.Operation), f.Subresource, text}, " "))
	}
	return out
}
