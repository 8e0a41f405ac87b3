# shellcheck shell=bash
# What the scripts share. Sourced, never run. They need bash, jq and serin; settings come by environment variables, which
# docs/pipelines.md lists. The same scripts serve Azure DevOps (TF_BUILD), GitHub Actions (GITHUB_ACTIONS) and plain shells.
set -euo pipefail

temporary=${AGENT_TEMPDIRECTORY:-${RUNNER_TEMP:-${TMPDIR:-/tmp}}}
work=$(mktemp -d "$temporary/serin.XXXXXX")
answer=$work/answer.json
# An agent of Azure DevOps empties its folder itself, after it took the summaries that lie there.
if [[ -z ${TF_BUILD:-} ]]; then trap 'rm -rf "$work"' EXIT; fi

say() { printf '%s\n' "$*"; }

# given tells whether a setting has a value; Azure DevOps leaves $(NAME) where there is none.
# shellcheck disable=SC2016
given() { [[ -n ${1:-} && $1 != '$('* ]]; }

# complain marks a line of the log as what went wrong.
complain() {
	if [[ -n ${TF_BUILD:-} ]]; then
		say "##vso[task.logissue type=error]$*"
	elif [[ -n ${GITHUB_ACTIONS:-} ]]; then
		say "::error::$*"
	else
		say "error: $*" >&2
	fi
}

# words FILTER [FILE] prints a text that people wrote, on one line, so that it gives no orders to the log of a CI.
words() {
	jq -r "$1 // empty | tostring | gsub(\"[[:cntrl:]]\"; \" \") | gsub(\"##\"; \"# #\") | gsub(\"::\"; \": :\")" "${2:-$answer}"
}

# harmless takes orders to a CI out of the text on stdin, which others wrote.
harmless() { sed 's/##/# #/g; s/::/: :/g'; }

die() {
	local code=$1
	shift
	complain "$*"
	exit "$code"
}

# output NAME VALUE hands a value to later stages.
output() {
	if [[ -n ${TF_BUILD:-} ]]; then
		say "##vso[task.setvariable variable=$1;isOutput=true]$2"
	elif [[ -n ${GITHUB_OUTPUT:-} ]]; then
		printf '%s=%s\n' "$1" "$2" >>"$GITHUB_OUTPUT"
	elif [[ -n ${SERIN_OUTPUT:-} ]]; then
		printf '%s=%s\n' "$1" "$2" >>"$SERIN_OUTPUT"
	fi
}

# summary TITLE shows what comes on stdin on the run's summary page.
summary() {
	local file="$work/${1//%/ percent}.md" # in a logging command a percent sign begins an escape
	cat >"$file"
	if [[ -n ${TF_BUILD:-} ]]; then
		say "##vso[task.uploadsummary]$file"
	elif [[ -n ${GITHUB_STEP_SUMMARY:-} ]]; then
		cat "$file" >>"$GITHUB_STEP_SUMMARY"
	else
		cat "$file"
	fi
}

# ask VERB [FLAGS] speaks to the endpoint: of a cluster with SERIN_NAMESPACE, else of serin serve here.
ask() {
	local verb=$1 where=()
	shift
	if given "${SERIN_NAMESPACE:-}"; then where+=(--namespace "$SERIN_NAMESPACE"); fi
	if given "${SERIN_CONTEXT:-}"; then where+=(--context "$SERIN_CONTEXT"); fi
	if given "${SERIN_ENDPOINT:-}"; then where+=(--endpoint "$SERIN_ENDPOINT"); fi
	"${SERIN_PROGRAM:-serin}" "$verb" "${where[@]}" "$@"
}

# connect signs in to the AKS cluster that SERIN_AKS names, as the service connection; else KUBECONFIG counts.
connect() {
	given "${SERIN_AKS:-}" || return 0
	export KUBECONFIG=$work/kubeconfig
	az aks get-credentials --resource-group "$SERIN_RESOURCE_GROUP" --name "$SERIN_AKS" --file "$KUBECONFIG" --overwrite-existing --only-show-errors &&
		kubelogin convert-kubeconfig -l azurecli
}

# sign_in REGISTRY writes a token for an Azure registry into a file that goes with this script. Others: docker login before.
# The token is no argument of a program: those can be read by other processes.
sign_in() {
	[[ $1 == *.azurecr.io ]] || return 0
	local token
	token=$(az acr login --name "${1%%.*}" --expose-token --query accessToken --output tsv --only-show-errors)
	if [[ -n ${TF_BUILD:-} ]]; then
		say "##vso[task.setsecret]$token"
	elif [[ -n ${GITHUB_ACTIONS:-} ]]; then
		say "::add-mask::$token"
	fi
	export DOCKER_CONFIG=$work/docker
	mkdir -m 700 "$DOCKER_CONFIG"
	if [[ -n ${TF_BUILD:-} ]]; then trap 'rm -rf "$DOCKER_CONFIG"' EXIT; fi
	printf '00000000-0000-0000-0000-000000000000:%s' "$token" | (umask 077 && jq -Rs --arg registry "$1" '{auths: {($registry): {auth: @base64}}}' >"$DOCKER_CONFIG/config.json")
}

# found prints the id of the rollout that brings this run's version, if it is the present one. The version is the run's
# own (its number), so this finds it even where the step that began it was cancelled before it could say so.
found() {
	if given "${SERIN_ROLLOUT:-}"; then
		say "$SERIN_ROLLOUT"
		return
	fi
	local code=0
	ask status -o json >"$work/status.json" || code=$?
	[[ $code == 0 ]] || return "$code"
	jq -r --arg version "$SERIN_VERSION" 'select(.rollout.to == $version) | .rollout.id' "$work/status.json"
}

rollout=""
# waits [FLAGS] waits for this run's rollout ($rollout); afterwards $code, $result and $answer say what came of it.
waits() {
	code=0
	ask wait --rollout "$rollout" --timeout "${SERIN_TIMEOUT:-2h}" -o json "$@" >"$answer" || code=$?
	# shellcheck disable=SC2034 # read by who sources this
	result=$(jq -r '.result // empty' "$answer")
}

# run_link is where a person finds this run.
run_link() {
	if [[ -n ${TF_BUILD:-} ]]; then
		say "${SYSTEM_COLLECTIONURI:-}${SYSTEM_TEAMPROJECT:-}/_build/results?buildId=${BUILD_BUILDID:-}"
	elif [[ -n ${GITHUB_ACTIONS:-} ]]; then
		say "${GITHUB_SERVER_URL:-}/${GITHUB_REPOSITORY:-}/actions/runs/${GITHUB_RUN_ID:-}"
	else
		say "${SERIN_RUN:-this run}"
	fi
}

# debugging says how to look at a version that failed: it is kept, and only a header reaches it.
debugging() {
	cat <<-TEXT

		### Debugging
		All requests are answered by stable. The candidate stays for \`rollout.keepFailed\`, and only this header reaches it:

		    curl -H '${SERIN_HEADER:-x-api-version: blue}' -d @request.json ADDRESS
	TEXT
	if given "${SERIN_NAMESPACE:-}"; then
		jq -r --arg n "$SERIN_NAMESPACE" 'select(.candidate) | "    kubectl -n \($n) logs deploy/\(.candidate.name) --all-containers\n    kubectl -n \($n) describe pods -l serin.dev/revision=\(.candidate.name)"' "$work/status.json"
	fi
	say "    serin history --audit"
}

# show TITLE [TEXT] puts on the summary page what an approver needs, on one screen, and on a page of its own the whole report.
show() {
	local title=$1 text=${2:-}
	ask status -o json >"$work/status.json" || return 0 # nothing to show is no failure of its own
	{
		ask report --gate -o markdown --rollout "$rollout" || true
		if [[ -n $text ]]; then printf '\n%s\n' "$text"; fi
		if jq -e --arg id "$rollout" '.rollout.id == $id and (.rollout.outcome as $o | ["Reverted", "Rejected", "Aborted"] | index($o))' "$work/status.json" >/dev/null; then debugging; fi
	} | summary "$title"
	if ask report --rollout "$rollout" >"$work/report"; then summary "$title report" <"$work/report"; fi
}
