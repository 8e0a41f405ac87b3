package e2e_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	coordination "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
)

// leader is the pod that leads, and in which of its lives.
func (w *world) leader() (pod, life string) {
	w.t.Helper()
	var l coordination.Lease
	if err := mesh.api.Get(w.t.Context(), client.ObjectKey{Namespace: "serin-system", Name: "serin-controller"}, &l); err != nil {
		w.t.Fatal(err)
	}
	if l.Spec.HolderIdentity == nil {
		return "", ""
	}
	pod, _, _ = strings.Cut(*l.Spec.HolderIdentity, "_")
	return pod, *l.Spec.HolderIdentity
}

// killLeader ends the leading controller's process without a word: it cannot give
// back its lease. It returns which life that was.
func (w *world) killLeader() (life string) {
	w.t.Helper()
	name, life := w.leader()
	var pod corev1.Pod
	if err := mesh.api.Get(w.t.Context(), client.ObjectKey{Namespace: "serin-system", Name: name}, &pod); err != nil {
		w.t.Fatal(err)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, file := range processes {
		group, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(group), string(pod.UID)) {
			continue // ended meanwhile, or another's
		}
		args, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if err != nil || !strings.HasPrefix(string(args), "/serin\x00controller\x00") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			w.t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			w.t.Fatalf("killing the leader %s: %v", life, err)
		}
		return life
	}
	w.t.Fatalf("no process of pod %s runs on this machine", name)
	return ""
}

// awaitSuccessor waits until another controller leads and shows this endpoint.
func (w *world) awaitSuccessor(gone string) engine.Status {
	w.t.Helper()
	began := time.Now()
	for deadline := began.Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, life := w.leader(); life != "" && life != gone {
			break
		}
		if time.Now().After(deadline) {
			w.t.Fatal("no other controller leads within a minute")
		}
	}
	led := time.Now()
	st := w.await("a status of the successor", 30*time.Second, func(s engine.Status) bool { return s.At.After(led) })
	w.t.Logf("another controller leads after %.1f s and shows the endpoint %.1f s later", led.Sub(began).Seconds(), time.Since(led).Seconds())
	return st
}

func counted(s engine.Status) uint64 {
	if s.Rollout == nil {
		return 0
	}
	e := s.Rollout.Evidence
	return e.StableRequests + e.CandidateRequests + e.Pairs
}

// killAndCompare kills the leader and returns what its successor shows; evidence
// that was shown more than ten seconds before must still be there.
func (w *world) killAndCompare(watched time.Duration) engine.Status {
	w.t.Helper()
	type shown struct {
		at time.Time
		n  uint64
	}
	var all []shown
	w.await("some evidence", watched+time.Minute, func(s engine.Status) bool {
		all = append(all, shown{time.Now(), counted(s)})
		return time.Since(all[0].at) > watched
	})
	killed := time.Now()
	gone := w.killLeader()
	st := w.awaitSuccessor(gone)
	least := uint64(0)
	for _, s := range all {
		if s.at.Before(killed.Add(-10 * time.Second)) {
			least = max(least, s.n)
		}
	}
	if got := counted(st); got < least || least == 0 {
		w.t.Errorf("the successor shows %d counts, 10 s before the kill there were %d", got, least)
	}
	w.t.Logf("counts: %d ten seconds before the kill, %d at the kill, %d with the successor", least, all[len(all)-1].n, counted(st))
	return st
}

// TestPromise6ControllerKilled: the leading controller is killed in the middle of a
// step, of the comparison in shadow, and of a revert. The standby takes over, no
// request fails, and the rollout comes to its right end.
func TestPromise6ControllerKilled(t *testing.T) {
	begin := func(t *testing.T, name string) (*world, func() []answer) {
		w := newWorld(t, name)
		if err := mesh.AwaitDeployment(t.Context(), "serin-system", "serin-controller"); err != nil {
			t.Fatal(err)
		}
		w.apply(plan{Version: "v1"})
		w.awaitStable("v1")
		stop := w.traffic(100)
		t.Cleanup(func() { stop() })
		return w, stop
	}
	none := func(t *testing.T, all []answer) {
		t.Helper()
		if bad := failures(all); len(bad) > 0 {
			t.Errorf("%d of %d requests failed, want none; the first: %+v", len(bad), len(all), bad[0])
		}
		t.Logf("%d requests, %d failed", len(all), len(failures(all)))
	}
	t.Run("mid-step", func(t *testing.T) {
		w, stop := begin(t, "kill-step")
		w.apply(plan{Version: "v2", Steps: "{weight: 10%, minDuration: 20s}, {weight: 50%, minDuration: 2s}, {weight: 100%}"})
		w.awaitStep("v2", 0)
		if st := w.killAndCompare(14 * time.Second); st.Weights.PlannedBP < 1000 {
			t.Errorf("the successor planned %d basis points, want those of the step", st.Weights.PlannedBP)
		}
		w.awaitOutcome("v2", "Promoted", time.Minute)
		none(t, stop())
	})
	t.Run("mid-analysis", func(t *testing.T) {
		w, stop := begin(t, "kill-shadow")
		w.apply(plan{Version: "v2", Judge: scoresJudged, Steps: "{shadow: 100%, minDuration: 20s}, {weight: 50%, minDuration: 2s}, {weight: 100%}"})
		w.awaitStep("v2", 0)
		w.killAndCompare(14 * time.Second)
		w.awaitOutcome("v2", "Promoted", time.Minute)
		none(t, stop())
	})
	t.Run("mid-revert", func(t *testing.T) {
		w, stop := begin(t, "kill-revert")
		w.apply(plan{Version: "v2", Steps: "{weight: 50%, minDuration: 10m}, {weight: 100%}"})
		st := w.awaitStep("v2", 0)
		if _, err := w.request("maria", v1alpha1.RolloutActionSpec{Rollout: st.Rollout.ID, Action: "Abort"}); err != nil {
			t.Fatal(err)
		}
		gone := w.killLeader()
		w.awaitSuccessor(gone)
		left := w.awaitRoutes(w.awaitOutcome("v2", "Aborted", 30*time.Second).Weights.Epoch)
		time.Sleep(2 * time.Second)
		all := stop()
		if last := lastTo("kill-revert-r2", all); last.After(left.Add(lateWorkers)) {
			t.Errorf("a request was routed to the aborted version %s after its routes were out of force", last.Sub(left))
		}
		none(t, all)
	})
	t.Run("before the verdict", func(t *testing.T) {
		w, stop := begin(t, "kill-broken")
		w.apply(plan{Version: "broken"})
		w.await("the candidate ready", time.Minute, func(s engine.Status) bool {
			return s.Rollout != nil && s.Rollout.To == "broken" && s.Candidate != nil && s.Candidate.Ready
		})
		gone := w.killLeader()
		w.awaitSuccessor(gone)
		w.awaitOutcome("broken", "Reverted", 30*time.Second)
		none(t, stop())
	})
}
