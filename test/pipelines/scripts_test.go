package pipelines_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// standIns are programs that answer as the real ones are documented to, and note how they were called.
var standIns = map[string]string{
	"az": `
case "$1 $2 $3" in
"ml model show") if [[ $* == *job_name* ]]; then echo witty_sail_17; else echo 7; fi ;;
"ml model download") while [[ $1 != --download-path ]]; do shift; done; mkdir -p "$2/driver" && touch "$2/driver/model.txt"; if [[ -n ${TWO:-} ]]; then touch "$2/driver/other.txt"; fi ;;
"acr login --name") echo the-token ;;
"aks get-credentials --resource-group") if [[ -n ${BLIP:-} && ! -e $CALLS.blip ]]; then touch "$CALLS.blip"; exit 1; fi ;;
"acr repository show") echo sha256:$(printf '1%.0s' {1..64}) ;;
esac`,
	"serin": `
if [[ $1 == image ]]; then
	if [[ -n ${DOCKER_CONFIG:-} ]]; then stat -c %a "$DOCKER_CONFIG/config.json" >>"$CALLS"; PATH=${PATH#*:} jq -r '.auths | to_entries[] | .key + " " + (.value.auth | @base64d)' "$DOCKER_CONFIG/config.json" >>"$CALLS"; echo "$DOCKER_CONFIG" >"$CALLS.config"; fi
	echo contoso.azurecr.io/driver@sha256:$(printf '0%.0s' {1..64})
fi
if [[ $1 == status && -n ${STATUS:-} ]]; then printf '%s' "$STATUS"; exit; fi
if [[ $1 == wait ]]; then printf '%s' '{"result": "Reverted", "message": "why ##vso[task.setvariable variable=evil]1\r\n##vso[task.setvariable variable=evil]2"}'; exit 3; fi
if [[ $1 == status ]]; then printf '%s' '{"rollout": {"id": "r-1", "to": "##vso[task.setvariable variable=evil]3", "stepName": "10%"}}'; fi`,
	"kubelogin": "",
	"jq":        `PATH=${PATH#*:} exec jq "$@"`,
	"curl":      `if [[ -n ${ANSWER:-} ]]; then printf '%s' "$ANSWER"; else PATH=${PATH#*:} exec curl "$@"; fi`,
	"trivy": `
if [[ $1 == image ]]; then while [[ $1 != --output ]]; do shift; done; echo '{"components":[{},{}]}' >"$2"; else echo "${FOUND:-}"; exit "${TRIVY:-0}"; fi`,
}

// bounded is a program that is given two minutes, for what takes seconds.
func bounded(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, name, args...)
	c.WaitDelay = 5 * time.Second
	c.Cancel = func() error {
		t.Errorf("%s %s is not done within two minutes, and is ended", name, strings.Join(args, " "))
		return c.Process.Kill()
	}
	return c
}

// script runs a script of the pipelines among stand-ins; it returns its exit code, what it
// said, and how the stand-ins were called.
func script(t *testing.T, name string, env ...string) (code int, said, calls string) {
	t.Helper()
	folder := t.TempDir()
	notes := filepath.Join(folder, "calls")
	for program, body := range standIns {
		text := "#!/usr/bin/env bash\necho \"" + program + " $*\" >>\"$CALLS\"\n" + body + "\n"
		if err := os.WriteFile(filepath.Join(folder, program), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	file, err := filepath.Abs(shell + name)
	if err != nil {
		t.Fatal(err)
	}
	c := bounded(t, "bash", file)
	c.Dir = folder
	c.Env = append([]string{"PATH=" + folder + ":" + os.Getenv("PATH"), "HOME=" + folder, "CALLS=" + notes, "AGENT_TEMPDIRECTORY=" + folder, "TF_BUILD=True"}, env...)
	out, _ := c.CombinedOutput()
	text, _ := os.ReadFile(notes)
	if config, err := os.ReadFile(notes + ".config"); err == nil {
		if _, err := os.Stat(strings.TrimSpace(string(config))); err == nil {
			t.Errorf("%s left the registry's token in %s", name, config)
		}
	}
	return c.ProcessState.ExitCode(), string(out), string(text)
}

// TestScripts: what the scripts of the build ask other programs for, and what they refuse.
func TestScripts(t *testing.T) {
	azure := []string{"SERIN_REGISTRY=contoso.azurecr.io", "SERIN_REPOSITORY=driver", "SERIN_VERSION=1.2"}
	registered := []string{"SERIN_MODEL_NAME=driver", "SERIN_RESOURCE_GROUP=g", "SERIN_WORKSPACE=w", "SERIN_DOWNLOADS=here"}
	earlier := t.TempDir()
	if err := os.MkdirAll(filepath.Join(earlier, "model/driver"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(earlier, "model/driver/old.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	image := "SERIN_IMAGE=contoso.azurecr.io/driver@sha256:" + strings.Repeat("2", 64)
	for _, c := range []struct {
		name, script string
		env          []string
		code         int
		said, called string
	}{
		{"registered model, latest", "model.sh", registered, 0, "variable=model;isOutput=true]here/driver/model.txt", "az ml model download --name driver --version 7 --download-path here --resource-group g --workspace-name w"},
		{"registered model, version", "model.sh", append(registered, "SERIN_MODEL_VERSION=3"), 0, "variable=source;isOutput=true]azureml:driver:3", "--version 3"},
		{"training run", "model.sh", registered, 0, "variable=run;isOutput=true]witty_sail_17", "az ml model show --name driver --version 7 --query job_name --output tsv --resource-group g"},
		{"several files", "model.sh", append(registered, "TWO=1"), 2, "SERIN_MODEL_FILE", ""},
		{"model of an earlier run on the agent", "model.sh", append(registered[:3:3], "PIPELINE_WORKSPACE="+earlier), 0, "/driver/model.txt", ""},
		{"no model", "model.sh", nil, 2, "SERIN_MODEL", ""},
		{"no such model", "model.sh", []string{"SERIN_MODEL=none.txt"}, 2, "none.txt", ""},
		{"model that Azure left unset", "model.sh", []string{"SERIN_MODEL_NAME=$(model)", "SERIN_MODEL=calls"}, 2, "calls", ""},
		{"packed for an Azure registry", "image.sh", append(azure, "SERIN_MODEL=m.txt"), 0, "variable=image;isOutput=true]contoso.azurecr.io/driver@sha256:000", "600\ncontoso.azurecr.io 00000000-0000-0000-0000-000000000000:the-token"},
		{"flags of the scorer", "image.sh", append(azure, "SERIN_MODEL=m.txt", "SERIN_SCORER_FLAGS=--timeout 5s"), 0, "packed and pushed", "-- --timeout 5s"},
		{"labels", "image.sh", append(azure, "SERIN_MODEL=m.txt", "SERIN_TRAINING_RUN=witty_sail_17", "SERIN_SOURCE=azureml:driver:7"), 0, "", "--label dev.serin.source=azureml:driver:7 --label dev.serin.pipeline=/_build/results?buildId= --label dev.serin.run=witty_sail_17"},
		{"no training run", "image.sh", append(azure, "SERIN_MODEL=m.txt", "SERIN_TRAINING_RUN=$(model.run)"), 0, "", "buildId=\n"},
		{"scoring script", "image.sh", append(azure, "SERIN_MODEL=m/driver.pkl", "SERIN_SCORING_SCRIPT=score.py", "SERIN_CODE=src"), 0, "", "--scoring-script score.py --requirements requirements.txt --env MODEL_NAME=driver.pkl --code src"},
		{"built by the registry", "image.sh", append(azure, "SERIN_DOCKERFILE=folder"), 0, "driver@sha256:111", "az acr build --registry contoso --image driver:1.2 folder"},
		{"by tag", "image.sh", []string{"SERIN_IMAGE=contoso.azurecr.io/driver:latest"}, 2, "not by digest", ""},
		{"scanned", "scan.sh", []string{image}, 0, "no known vulnerability", "az acr login --name contoso"},
		{"vulnerable", "scan.sh", []string{image, "TRIVY=3", "FOUND=CVE-1"}, 1, "CVE-1", "--ignore-unfixed"},
		{"scanner that fails", "scan.sh", []string{image, "TRIVY=1"}, 1, "exit code 1", ""},
		{"no scan", "scan.sh", []string{image, "SERIN_SCAN=none"}, 0, "no scan and no bill of materials", ""},
		{"program that is there", "setup.sh", nil, 0, "", "serin version"},
		{"program of unknown origin", "setup.sh", []string{"SERIN_PROGRAM=nowhere", "SERIN_URL=file:///dev/null"}, 2, "SERIN_SHA256", ""},
		{"no program", "setup.sh", []string{"SERIN_PROGRAM=nowhere"}, 2, "SERIN_URL", ""},
		{"wrong checksum", "setup.sh", []string{"SERIN_PROGRAM=nowhere", "SERIN_URL=file:///dev/null", "SERIN_SHA256=" + strings.Repeat("0", 64)}, 1, "not the checksum", ""},
		{"approver without a token", "approver.sh", nil, 0, "is not known", ""},
		{"approver, asked with a token that is no longer good", "approver.sh", []string{"SYSTEM_ACCESSTOKEN=t", "SYSTEM_COLLECTIONURI=https://x/", "SYSTEM_TEAMPROJECTID=p", "BUILD_BUILDID=1", "SYSTEM_STAGENAME=S", "ANSWER=<html>sign in"}, 0, "is not known", "timeline"},
		{"revert, when signing in fails at first", "revert.sh", []string{"SERIN_AKS=aks", "SERIN_RESOURCE_GROUP=g", "SERIN_VERSION=1", "SERIN_SETTLE=0", "BLIP=1"}, 0, "this run began no rollout", "kubelogin convert-kubeconfig -l azurecli"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, said, calls := script(t, c.script, c.env...)
			if code != c.code || !strings.Contains(said, c.said) || !strings.Contains(calls, c.called) {
				t.Errorf("%s: exit code %d, want %d; want %q in:\n%s\nand %q in the calls:\n%s", c.script, code, c.code, c.said, said, c.called, calls)
			}
		})
	}
}

// TestTokenIsNoArgument: other processes can read a program's arguments.
func TestTokenIsNoArgument(t *testing.T) {
	_, said, calls := script(t, "image.sh", "SERIN_REGISTRY=contoso.azurecr.io", "SERIN_REPOSITORY=driver", "SERIN_VERSION=1", "SERIN_MODEL=m.txt")
	if !strings.Contains(calls, "00000000-0000-0000-0000-000000000000:the-token") {
		t.Fatalf("the token did not reach serin: %s\n%s", said, calls)
	}
	for _, call := range strings.Split(calls, "\n") {
		name, arguments, _ := strings.Cut(call, " ")
		if _, program := standIns[name]; program && (strings.Contains(arguments, "the-token") || strings.Contains(arguments, base64.StdEncoding.EncodeToString([]byte("00000000-")))) {
			t.Errorf("an argument holds the token: %s", call)
		}
	}
}

// TestRevertWithoutRequests: which routes are in force is seen by requests. Where none comes, a revert does not wait for it;
// where some come by the candidate's routes, it waits, and says that it was in vain.
func TestRevertWithoutRequests(t *testing.T) {
	for _, c := range []struct {
		planned, perSecond, degraded string
		code                         int
		says                         string
	}{
		{"0", "0", "False", 0, "no request has come for 1 s"},
		{"0", "12.5", "False", 1, "the routes still give the candidate requests"},
		{"100", "0", "False", 1, "the routes still give the candidate requests"},
		{"0", "0", "True", 1, "the routes still give the candidate requests"},
	} {
		status := `{"rollout": {"id": "r-1", "to": "7", "outcome": "Aborted"}, "weights": {"plannedBP": ` + c.planned + `, "inForceBP": 100, "shadowBP": 0}, "traffic": {"requestsPerSecond": ` + c.perSecond + `}, "conditions": [{"type": "Ready", "status": "True"}, {"type": "Degraded", "status": "` + c.degraded + `"}]}`
		code, said, _ := script(t, "revert.sh", "SERIN_VERSION=7", "SERIN_ROLLOUT=r-1", "SERIN_SETTLE=1", "SERIN_REVERT_PATIENCE=3", "STATUS="+status)
		if code != c.code || !strings.Contains(said, c.says) {
			t.Errorf("%+v: exit code %d; it said:\n%s", c, code, said)
		}
	}
}

// TestSetupDownloads: a program with the right checksum is put on the path.
func TestSetupDownloads(t *testing.T) {
	text := []byte("#!/bin/sh\necho downloaded\n")
	file := filepath.Join(t.TempDir(), "serin")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	code, said, _ := script(t, "setup.sh", "SERIN_PROGRAM=nowhere", "SERIN_URL=file://"+file, "SERIN_SHA256="+hex.EncodeToString(sum[:]))
	if code != 0 || !strings.Contains(said, "downloaded") || !strings.Contains(said, "##vso[task.prependpath]") {
		t.Errorf("exit code %d: %s", code, said)
	}
}

// TestPeopleGiveNoOrders: what people wrote, in a reason or a version, is no command to the agent.
func TestPeopleGiveNoOrders(t *testing.T) {
	for _, c := range []struct {
		script string
		env    []string
		code   int
		says   string
	}{
		{"step.sh", []string{"SERIN_ROLLOUT=r-1", "SERIN_VERSION=1", "SERIN_STEP=10%"}, 3, "reverted at step 10%: why # #vso[task"},
		{"start.sh", []string{"SERIN_VERSION=1", "SERIN_DOCUMENT=d"}, 6, "(version # #vso[task"},
		{"scan.sh", []string{"SERIN_IMAGE=registry.example/m@sha256:1", "TRIVY=3", "FOUND=##vso[task.setvariable variable=evil]4"}, 1, "# #vso[task.setvariable variable=evil]4"},
	} {
		code, said, _ := script(t, c.script, c.env...)
		if code != c.code || !strings.Contains(said, c.says) || strings.Contains(said, "##vso[task.setvariable variable=evil") {
			t.Errorf("%s: exit code %d, want %d, and %q in:\n%s", c.script, code, c.code, c.says, said)
		}
	}
}
