package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"text/template"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/serin-dev/serin/api/v1alpha1"
	safedriver "github.com/serin-dev/serin/examples/safe-driver"
	"github.com/serin-dev/serin/internal/engine"
)

const namespace = "abtesting"

// world is one endpoint of a test, with clients that ask it all the time.
type world struct {
	t         *testing.T
	name      string
	namespace string
	via       door

	rows atomic.Int32 // which rows clients ask about: anyRow, wholeRows, missingRows

	mu   sync.Mutex
	seen []answer
}

func newWorld(t *testing.T, name string) *world {
	t.Helper()
	w := &world{t: t, name: name, namespace: namespace, via: door{url: mesh.Gateway}}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if t.Failed() {
			w.tell(ctx)
		}
		w.remove(ctx)
	})
	w.remove(t.Context()) // what a run that was killed left
	return w
}

// tell prints what a person would look at first.
func (w *world) tell(ctx context.Context) {
	var e v1alpha1.ScoringEndpoint
	if err := mesh.api.Get(ctx, w.key(), &e); err == nil {
		e.Status.Record = "(left out)"
		text, _ := yaml.Marshal(e.Status)
		w.notes("status of %s:\n%s", w.name, text)
	}
	w.tellFailures()
	w.tellEvents(ctx)
	w.notes("logs: %s/log", mesh.Dir)
}

// notes tells what is no failure of itself: unlike a failure it names no line of a test.
func (w *world) notes(format string, args ...any) { fmt.Fprintf(w.t.Output(), format+"\n", args...) }

func (w *world) key() client.ObjectKey {
	return client.ObjectKey{Namespace: w.namespace, Name: w.name}
}

// remove deletes the endpoint and waits until it is gone.
func (w *world) remove(ctx context.Context) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	e := &v1alpha1.ScoringEndpoint{}
	e.Namespace, e.Name = w.namespace, w.name
	for err := mesh.api.Delete(ctx, e); !apierrors.IsNotFound(err); err = mesh.api.Get(ctx, w.key(), e) {
		if ctx.Err() != nil {
			w.t.Fatalf("%s is still there two minutes after it was deleted: %v; finalizers %v, conditions %+v", w.name, err, e.Finalizers, e.Status.Conditions)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

var document = template.Must(template.New("").Parse(`apiVersion: serin.dev/v1alpha1
kind: ScoringEndpoint
metadata: {name: {{.Name}}, namespace: {{.Namespace}}}
spec:
  scorer: {version: "{{.Version}}", image: "{{.Image}}", readiness: {path: {{.Readiness}}}, env: [{{.Env}}]{{with .Template}}, template: {{.}}{{end}}}
{{- with .Scaling}}
  scaling: {{.}}
{{- end}}
  traffic: {hosts: ["{{.Name}}.example.com"], gateway: {{.Gateway}}, fallback: {{.Fallback}}, sticky: {cookie: "{{.Cookie}}"}}
  rollout:
    steps: [{{.Steps}}]
    warmup: 1s
    minRequests: {{.MinRequests}}
    keepFailed: 0s
    keepOld: {{.KeepOld}}
    progressDeadline: {{.Deadline}}
  judge:
    errors: {orWithin: 2pp}
    latency: {{.Latency}}
{{.Judge}}`))

// plan is what a test says of a document; the rest has defaults.
type plan struct {
	Name, Namespace, Version, Image, Env, Template, Scaling, Gateway, Fallback, Steps, Judge, KeepOld, Deadline, Cookie, MinRequests, Readiness, Latency string
}

const shortSteps = "{weight: 10%, minDuration: 2s}, {weight: 50%, minDuration: 2s}, {weight: 100%}"
const fewTimesSlower = "{revertAbove: 4x, promoteBelow: 8x, at: [p50]}"
const scoresJudged = `    scores: {mean: {revertAbove: 15%, promoteBelow: 30%}}
    agreement: {tolerance: "0.03", revertBelow: 85%, promoteAbove: 92%}
`

func (w *world) apply(p plan) {
	w.t.Helper()
	w.applyText(p.Version, w.render(p))
}

func (w *world) applyText(version string, text []byte) {
	w.t.Helper()
	if err := mesh.Apply(w.t.Context(), text); err != nil {
		w.t.Fatalf("applying version %s: %v", version, err)
	}
}

// render writes the document of a plan.
func (w *world) render(p plan) []byte {
	w.t.Helper()
	p.Name, p.Namespace = w.name, w.namespace
	for field, value := range map[*string]string{&p.Fallback: "Stable", &p.Steps: shortSteps, &p.Gateway: "mlmodel-gateway", &p.KeepOld: "30s", &p.Deadline: "2m", &p.MinRequests: "20", &p.Readiness: "/readyz", &p.Latency: fewTimesSlower, &p.Image: mesh.scorer[p.Version]} {
		if *field == "" {
			*field = value
		}
	}
	var text bytes.Buffer
	if err := document.Execute(&text, p); err != nil {
		w.t.Fatal(err)
	}
	return text.Bytes()
}

// status is what the command line would show, and the object's own.
func (w *world) status() (engine.Status, v1alpha1.ScoringEndpointStatus) {
	w.t.Helper()
	var e v1alpha1.ScoringEndpoint
	if err := mesh.api.Get(w.t.Context(), w.key(), &e); err != nil {
		w.t.Fatal(err)
	}
	var st engine.Status
	if e.Status.View != nil {
		if err := json.Unmarshal(e.Status.View.Raw, &st); err != nil {
			w.t.Fatal(err)
		}
	}
	return st, e.Status
}

// await waits until the status is as wanted, and tells each change on the way.
func (w *world) await(what string, most time.Duration, ok func(engine.Status) bool) engine.Status {
	w.t.Helper()
	deadline, last, began := time.Now().Add(most), "", time.Now()
	for {
		st, _ := w.status()
		line := ""
		if r := st.Rollout; r != nil {
			line = fmt.Sprintf("%s step %s %s %s: %s", r.ID, r.StepName, r.Outcome, r.Decision.Reason, r.Decision.Message)
		}
		if line != last {
			w.notes("%6.1f s  %s", time.Since(began).Seconds(), line)
			last = line
		}
		if ok(st) {
			return st
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("no %s within %s", what, most)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (w *world) awaitStable(version string) {
	w.t.Helper()
	w.await("stable "+version, 3*time.Minute, func(s engine.Status) bool {
		return s.Stable != nil && s.Stable.Ready && s.Stable.Version == version
	})
	w.awaitAnswers()
}

// awaitAnswers waits until the gateway serves the endpoint.
func (w *world) awaitAnswers() {
	w.t.Helper()
	deadline, client := time.Now().Add(time.Minute), w.via.client()
	for {
		a := w.ask(client, safedriver.SampleRequest, "", "")
		if !a.failed() {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the endpoint does not answer: %+v", a)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (w *world) awaitOutcome(version, outcome string, most time.Duration) engine.Status {
	w.t.Helper()
	st := w.await(version+" "+outcome, most, func(s engine.Status) bool {
		return s.Rollout != nil && s.Rollout.To == version && s.Rollout.Outcome != ""
	})
	if st.Rollout.Outcome != outcome {
		w.t.Fatalf("version %s: %s (%s: %s), want %s", version, st.Rollout.Outcome, st.Rollout.Decision.Reason, st.Rollout.Decision.Message, outcome)
	}
	return st
}

// begin is an endpoint in production, under steady traffic. The function returned
// ends the traffic and demands that no request failed.
func begin(t *testing.T, name string, perSecond int, first plan) (w *world, quiet func() []answer) {
	t.Helper()
	w = newWorld(t, name)
	if first.Version == "" {
		first.Version = "v1"
	}
	w.apply(first)
	w.awaitStable(first.Version)
	stop := w.traffic(perSecond)
	t.Cleanup(func() { stop() })
	return w, func() []answer {
		t.Helper()
		all := stop()
		if bad := failures(all); len(bad) > 0 {
			t.Errorf("%d of %d requests failed, want none; the first: %+v", len(bad), len(all), bad[0])
		}
		t.Logf("%d requests, %d failed", len(all), len(failures(all)))
		return all
	}
}

// abort ends the running rollout, as a person does.
func (w *world) abort(st engine.Status) {
	w.t.Helper()
	if got := w.act("maria", v1alpha1.RolloutActionSpec{Rollout: st.Rollout.ID, Action: "Abort"}, 10*time.Second); !got.Accepted {
		w.t.Fatalf("the abort was refused: %+v", got)
	}
}
