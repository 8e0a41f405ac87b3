package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	safedriver "github.com/serin-dev/serin/examples/safe-driver"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/image"
	"github.com/serin-dev/serin/test/cluster"
)

// packed is what `serin image -o json` says.
type packed struct {
	Reference, Digest string
	Bytes             int64
}

// onThisMachine tells whether serin image may ask a registry by plain HTTP.
func onThisMachine(registry string) bool {
	_, err := image.ParseReference(registry+"/any:1", true)
	return err == nil
}

// needPacking leaves a test out where nothing can be packed; the cluster of this repository can do it, and one of kind.
func needPacking(t *testing.T) {
	t.Helper()
	if !onThisMachine(mesh.Registry) {
		t.Skipf("left out: serin image needs TLS for registry %s; one on a loopback address of this machine needs none", mesh.Registry)
	}
}

// serinImage packs and pushes an image by the command that people use.
func serinImage(t *testing.T, repository string, args ...string) packed {
	t.Helper()
	p, said, err := tryImage(t, repository, args...)
	if err != nil {
		t.Fatalf("serin image %v: %v: %s", args, err, said)
	}
	return p
}

func tryImage(t *testing.T, repository string, args ...string) (p packed, said string, err error) {
	t.Helper()
	needPacking(t)
	binary, err := cluster.BuildSerin(t.Context(), cluster.Options{Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	args = append([]string{"image", "-o", "json", "--insecure", "--tag", mesh.Registry + "/" + repository}, args...)
	cmd := bounded(t, 10*time.Minute, binary, args...) // it may fetch packages
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return p, errs.String() + string(out), err
	}
	if err := json.Unmarshal(out, &p); err != nil {
		t.Fatalf("serin %v printed %s: %v", args, out, err)
	}
	t.Logf("%s: %.1f MB compressed, packed and pushed in %.1f s", repository, float64(p.Bytes)/1e6, time.Since(began).Seconds())
	return p, errs.String(), nil
}

// TestDummyScorers takes the two dummies of a first look through a whole rollout: they are told apart by what they answer,
// a header reaches either throughout, and no request fails.
func TestDummyScorers(t *testing.T) {
	t.Parallel()
	says := map[string]string{"dummies-r1": `"New Model A"`, "dummies-r2": `"New Model B"`}
	w := newWorld(t, "dummies")
	w.apply(plan{Version: "a", Image: serinImage(t, "dummy:a", "--dummy", "New Model A").Reference})
	w.awaitStable("a")
	stop := w.mixed(150)
	defer stop()
	w.apply(plan{
		Version: "b", Image: serinImage(t, "dummy:b", "--dummy", "New Model B").Reference,
		Steps: "{shadow: 100%, minDuration: 3s}, {weight: 10%, minDuration: 3s}, {weight: 50%, minDuration: 3s}, {weight: 100%}",
	})
	ended := *w.awaitOutcome("b", "Promoted", 3*time.Minute).Rollout.EndedAt
	w.until("everybody is answered by the new model", func() bool {
		a := w.ask(passerBy, safedriver.SampleRequest, "", "")
		return a.text == says["dummies-r2"]
	})
	all := stop()
	if bad := failures(all); len(bad) > 0 {
		t.Errorf("%d of %d requests failed, want none; the first: %+v", len(bad), len(all), bad[0])
	}
	n := map[string]int{}
	for _, a := range all {
		switch {
		case a.failed() || a.fallback != "": // another revision answered than the one routed to
		case a.text != says[a.revision()] || a.text == "":
			t.Fatalf("revision %q answered %s, want %s: %+v", a.revision(), a.text, says[a.revision()], a)
		case a.header == "green" && a.at.Before(ended) && a.revision() != "dummies-r1":
			t.Errorf("asked for production, got %s", a.text)
		}
		n[a.header+" "+a.revision()]++
	}
	if n["blue dummies-r2"] < 50 || n["green dummies-r1"] < 50 || n[" dummies-r1"] < 500 || n[" dummies-r2"] < 100 {
		t.Errorf("answers by header and revision: %v: too few of one kind", n)
	}
	t.Logf("%d requests, %.0f a second, %d failed; by header and revision: %v", len(all), rate(all), len(failures(all)), n)
}

func rate(all []answer) float64 {
	return float64(len(all)) / all[len(all)-1].at.Sub(all[0].at).Seconds()
}

// azureML pushes Azure ML's inference server with LightGBM, the example's score.py and a model, by the same command.
func azureML(t *testing.T, model string) (reference string) {
	t.Helper()
	return serinImage(t, "azureml:"+model, scoringScript(model, "MODEL_NAME="+model+".txt")...).Reference
}

func scoringScript(model, env string) []string {
	example := filepath.Join(root, "examples", "azureml")
	return []string{
		"--scoring-script", filepath.Join(example, "score.py"), "--requirements", filepath.Join(example, "requirements.txt"),
		"--model", filepath.Join(root, "examples", "safe-driver", "models", model+".txt"), "--env", env, "--label", "dev.serin.run=train-17",
	}
}

// TestScoringScriptImage: an image whose script cannot find its model is never pushed; one that can says what is in it, and
// runs as nobody in particular.
func TestScoringScriptImage(t *testing.T) {
	t.Parallel()
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	_, said, err := tryImage(t, "refused:1", scoringScript("v1", "MODEL_NAME=other.txt")...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(said, "Could not open /model/other.txt") || !strings.Contains(said, "nothing was pushed") {
		t.Errorf("a script without its model: %v, said %s; want exit code 2 and the reason", err, said)
	}
	if ref, err := name.ParseReference(mesh.Registry+"/refused:1", name.Insecure); err != nil {
		t.Error(err)
	} else if _, err := remote.Head(ref, remote.WithContext(soon)); err == nil {
		t.Error("it was pushed")
	}
	ref, err := name.ParseReference(azureML(t, "v1"), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithContext(soon))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{"user": cfg.Config.User}
	for _, l := range []string{"org.opencontainers.image.title", "org.opencontainers.image.version", "dev.serin.run", "dev.serin.model"} {
		got[l] = cfg.Config.Labels[l]
	}
	want := map[string]string{
		"user": "65532:65532", "org.opencontainers.image.title": "azureml", "org.opencontainers.image.version": "v1", "dev.serin.run": "train-17", "dev.serin.model": "v1.txt",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what the image says (-want +got):\n%s", d)
	}
}

// TestAzureMLServerImage: production is the stock server of Azure ML with real LightGBM; the next version of the model
// comes in `serin scorer`, and the one after goes back to Azure ML's server. Both are promoted, no request fails.
func TestAzureMLServerImage(t *testing.T) {
	t.Parallel()
	const steps = "{shadow: 100%, minDuration: 5s}, {weight: 10%, minDuration: 3s}, {weight: 50%, minDuration: 3s}, {weight: 100%}"
	w := newWorld(t, "azureml")
	azure := azureML(t, "v1")
	w.apply(plan{Version: "azure-1", Image: azure, Readiness: "/"})
	w.awaitStable("azure-1")
	stop := w.traffic(60) // one worker takes one request at a time
	defer stop()
	serin := serinImage(t, "safe-driver:serin", "--model", filepath.Join(root, "examples", "safe-driver", "models", "v2.txt"))
	if serin.Bytes > 30e6 {
		t.Errorf("the image of serin scorer has %d bytes, want at most 30 MB", serin.Bytes)
	}
	w.apply(plan{Version: "serin-2", Image: serin.Reference, Steps: steps, Judge: scoresJudged})
	w.told(t, w.awaitOutcome("serin-2", "Promoted", 3*time.Minute))
	w.apply(plan{Version: "azure-3", Image: azure, Readiness: "/", Steps: steps, Judge: scoresJudged, Latency: "{revertAbove: 100x, promoteBelow: 200x, at: [p50]}"})
	w.told(t, w.awaitOutcome("azure-3", "Promoted", 3*time.Minute))
	all := stop()
	if bad := failures(all); len(bad) > 0 {
		t.Errorf("%d of %d requests failed, want none; the first: %+v", len(bad), len(all), bad[0])
	}
	n := map[string]int{}
	for _, a := range all {
		if a.fallback == "" && !a.failed() && strings.HasPrefix(a.server, "azmlinfsrv/") != (a.revision() != "azureml-r2") {
			t.Errorf("revision %q was answered by the server %q", a.revision(), a.server)
		}
		n[a.revision()+" "+a.server+" "+a.fallback]++
	}
	t.Logf("%d requests, %.0f a second, %d failed; by revision, server and fallback: %v", len(all), rate(all), len(failures(all)), n)
}

func (w *world) told(t *testing.T, s engine.Status) {
	t.Helper()
	e := s.Rollout.Evidence
	t.Logf("%s: %d requests to stable, %d to the candidate, %d shadow pairs, %d disagreed", s.Rollout.To, e.StableRequests, e.CandidateRequests, e.Pairs, e.Disagreed)
	if e.Pairs == 0 {
		t.Errorf("%s was promoted without a shadow pair", s.Rollout.To)
	}
}
