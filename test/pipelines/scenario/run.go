package scenario

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serin-dev/serin/test/pipelines/azure"
)

const approver = "ann@example.com"

// run is one run of the ready pipeline in a world.
type run struct {
	*azure.Run
	t       *testing.T
	w       *World
	number  string
	folder  string // of the agent's programs
	calls   string
	atGates sync.Map // stage → status that its approver saw
}

var builds atomic.Int64

// options are what a case says of a run.
type options struct {
	candidate  string
	answers    map[string]azure.Answer // of gates; others are approved
	at         map[string]func()       // called when a stage's gate is asked
	rejectedAs azure.Result
	locks      *azure.Locks
	variables  map[string]string
	program    string // a script that stands before serin, see sabotage
	pack       bool   // the pipeline packs the image itself, where the world lets it
	file       string
	parameters map[string]string
}

// newRun prepares a run; start begins it.
func newRun(t *testing.T, w *World, o options) *run {
	t.Helper()
	p, err := azure.Load(filepath.Join(w.Root, "pipelines/azure-devops", cmp.Or(o.file, "azure-pipelines.yml")), o.parameters)
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprint(builds.Add(1))
	r := &run{t: t, w: w, number: "20261125." + id}
	r.folder, r.calls = w.programs(t)
	adapt(p, w.Variables, o.variables)
	w.giveImage(t, p, o)
	r.Run = &azure.Run{
		Pipeline: p, RejectedAs: o.rejectedAs, Locks: o.locks, Repository: w.repository(t, o.candidate),
		Connections: map[string]string{"serin-azure": "", "serin-abtesting": w.Kubeconfig},
		Secrets:     map[string]string{"System.AccessToken": "token-of-the-job"},
		Env:         append([]string{"PATH=" + r.folder + ":" + path(), "STAND_IN_KUBECONFIG=" + w.Kubeconfig}, w.Env...),
		Log:         func(stage, line string) { fmt.Fprintf(t.Output(), "[%s %s] %s\n", r.number, stage, line) },
	}
	if o.program != "" {
		write(t, filepath.Join(r.folder, "sabotage"), strings.ReplaceAll(o.program, "SERIN", w.Serin), 0o700)
		r.Env = append(r.Env, "SERIN_PROGRAM="+filepath.Join(r.folder, "sabotage"))
	}
	r.Predefined = map[string]string{
		"Build.BuildNumber": r.number, "Build.BuildId": id, "Build.SourceBranch": "refs/heads/main", "Build.SourceVersion": "abc123", "Build.Repository.Name": "team",
		"System.CollectionUri": r.service() + "/", "System.TeamProject": "team", "System.TeamProjectId": "team",
	}
	r.Gate = func(_ context.Context, stage, environment string) azure.Answer {
		if environment != "abtestenv" {
			t.Errorf("stage %s is gated by %q", stage, environment)
		}
		r.atGates.Store(stage, w.status(t))
		if f := o.at[stage]; f != nil {
			f()
		}
		return o.answers[stage]
	}
	return r
}

// giveImage names an image that is there already, unless the pipeline packs one or has it by its parameters.
func (w *World) giveImage(t *testing.T, p *azure.Pipeline, o options) {
	t.Helper()
	if o.parameters != nil || o.pack && w.Packs {
		return
	}
	if o.pack {
		t.Logf("left out: this pipeline packs nothing, for serin image needs TLS for registry %q", w.Variables["SERIN_REGISTRY"])
	}
	adapt(p, map[string]string{"SERIN_IMAGE": w.Image(o.candidate)})
}

// adapt changes variables as a team does in its copy; each must be there.
func adapt(p *azure.Pipeline, changes ...map[string]string) {
	for _, c := range changes {
		for name, value := range c {
			i := slices.IndexFunc(p.Variables, func(v azure.Variable) bool { return v.Name == name })
			if i < 0 {
				p.Variables = append(p.Variables, azure.Variable{Name: name, Value: value})
				continue
			}
			p.Variables[i].Value = value
		}
	}
}

// checkPacked: the pipeline packed and pushed an image, and where that can be pulled it is the one that runs. The image says
// which run made it, so no other has its digest.
func (r *run) checkPacked(runs string) {
	r.t.Helper()
	if !r.w.Packs {
		return // newRun has said so
	}
	variable := func(name string) string {
		i := slices.IndexFunc(r.Pipeline.Variables, func(v azure.Variable) bool { return v.Name == name })
		return r.Pipeline.Variables[i].Value
	}
	registry, repository := variable("SERIN_REGISTRY"), variable("SERIN_REPOSITORY")
	res, err := httpClient.Head("http://" + registry + "/v2/" + repository + "/manifests/" + r.number)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	digest := res.Header.Get("Docker-Content-Digest")
	if res.StatusCode != http.StatusOK || digest == "" {
		r.t.Fatalf("the pipeline has pushed no %s:%s: %s", repository, r.number, res.Status)
	}
	if packed := registry + "/" + repository + "@" + digest; r.w.Pulls && runs != packed {
		r.t.Errorf("what runs is %q, the pipeline packed %q", runs, packed)
	}
}

// start begins the run, which ends before the test does.
func (r *run) start() *run {
	r.Start(r.t.Context())
	r.t.Cleanup(func() { _ = r.Wait() })
	return r
}

func (r *run) wait() *run {
	r.t.Helper()
	if err := r.Wait(); err != nil {
		r.t.Fatalf("run %s: %v; %s", r.number, err, r.came())
	}
	return r
}

// came is what the run came to so far.
func (r *run) came() string { return fmt.Sprintf("results %v, exit codes %v", r.Results(), r.Codes()) }

// awaitGate waits until the run asks at a stage's gate, which closes a channel. A run that ends before never asks.
func (r *run) awaitGate(stage string, asked <-chan struct{}) {
	r.t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = r.Wait()
	}()
	select {
	case <-asked:
	case <-ended:
		r.t.Errorf("run %s ended before its gate of %s was asked: %s", r.number, stage, r.came())
	}
}

// second is the run that was to start at a gate of this one, when it has ended.
func (r *run) second(second *run, gate string) *run {
	r.t.Helper()
	if second == nil {
		r.t.Fatalf("no second run was started at the gate of %s: %s", gate, r.came())
	}
	return second.wait()
}

// service stands for the part of Azure DevOps that knows who approved.
func (r *run) service() string {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, req *http.Request, v any) {
		if req.Header.Get("Authorization") != "Bearer token-of-the-job" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /team/_apis/build/builds/{id}/timeline", func(w http.ResponseWriter, req *http.Request) {
		var records []map[string]string
		for _, s := range r.Pipeline.Stages {
			records = append(records, map[string]string{"id": "s-" + s.Name, "type": "Stage", "identifier": s.Name},
				map[string]string{"id": "c-" + s.Name, "type": "Checkpoint", "parentId": "s-" + s.Name},
				map[string]string{"id": "a-" + s.Name, "type": "Checkpoint.Approval", "parentId": "c-" + s.Name})
		}
		answer(w, req, map[string]any{"records": records})
	})
	mux.HandleFunc("GET /team/_apis/pipelines/approvals", func(w http.ResponseWriter, req *http.Request) {
		if id := req.FormValue("approvalIds"); !strings.HasPrefix(id, "a-") || req.FormValue("$expand") != "steps" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		who := map[string]string{"displayName": "Ann", "uniqueName": approver}
		answer(w, req, map[string]any{"value": []any{map[string]any{"status": "approved", "steps": []any{map[string]any{"status": "approved", "actualApprover": who}}}}})
	})
	server := httptest.NewServer(mux)
	r.t.Cleanup(server.Close)
	return server.URL
}

// want is what a case asserts of a run.
type want struct {
	stages map[string]azure.Result // all but those that succeeded
	codes  map[string]int          // of steps that did not end with 0
}

func (r *run) check(w want) {
	r.t.Helper()
	results := r.Results()
	for _, s := range r.Pipeline.Stages {
		expected := w.stages[s.Name]
		if expected == "" {
			expected = azure.Succeeded
		}
		if results[s.Name] != expected {
			r.t.Errorf("run %s: stage %s: %s, want %s", r.number, s.Name, results[s.Name], expected)
		}
	}
	codes := r.Codes()
	maps.DeleteFunc(codes, func(_ string, code int) bool { return code == 0 })
	if !maps.Equal(codes, w.codes) && len(codes)+len(w.codes) > 0 {
		r.t.Errorf("run %s: exit codes %v, want %v", r.number, codes, w.codes)
	}
}

// checkEnd asserts who serves at the end, and what clients saw all the while.
func checkEnd(t *testing.T, w *World, c *clients, began time.Time, version string) {
	t.Helper()
	st := w.await(t, "stable "+version+" and no weight", func(s status) bool {
		return s.Stable != nil && s.Stable.Version == version && s.Weights.PlannedBP+s.Weights.InForceBP+s.Weights.ShadowBP == 0
	})
	from := time.Now()
	w.await(t, "answers after the end", func(status) bool { return len(c.since(from)) > 30 })
	c.stop()
	for _, s := range c.since(from) {
		if s.revision() != st.Stable.Name {
			t.Errorf("after the end a request went to %q, stable is %s: %+v", s.revision(), st.Stable.Name, s)
			break
		}
	}
	all, failed, fellBack := c.since(began), 0, 0
	for _, s := range all {
		if s.fallback {
			fellBack++
		}
		if s.failed() {
			if failed++; failed <= 3 {
				t.Errorf("a client saw %+v", s)
			}
		}
	}
	t.Logf("%d requests, %d failed, %d answered by stable in the candidate's place", len(all), failed, fellBack)
	if len(all) < 30 || failed > 0 {
		t.Errorf("%d of %d requests failed, want none of at least 30", failed, len(all))
	}
}
