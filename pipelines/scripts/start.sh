#!/usr/bin/env bash
# Asks for this run's version: applies SERIN_DOCUMENT with SERIN_IMAGE and SERIN_VERSION filled in. With SERIN_GATES (the
# steps that the pipeline lets in, by commas) a document is refused that would let one in by itself.
# Says: rollout=ID.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
connect

# alone refuses while another run's rollout is under way: applying now would end it. It does not wait for that: a stage that
# waits holds the environment's lock, which the other run needs to go on.
alone() {
	local code=0 other
	ask status -o json >"$work/status.json" || code=$?
	[[ $code != 5 ]] || return 0 # there is no endpoint yet
	[[ $code == 0 ]] || exit "$code"
	other=$(jq -r --arg version "$SERIN_VERSION" 'select(.rollout and (.rollout.outcome // "") == "" and .rollout.to != $version) | .rollout.id' "$work/status.json")
	if [[ -n $other ]]; then other+=" ($(words '"version \(.rollout.to), step \(.rollout.stepName)"' "$work/status.json"))"; fi
	[[ -z $other ]] || die 6 "rollout $other of another run is under way: let it be finished or aborted, then run this stage again; SERIN_IN_FLIGHT=supersede would end it"
}

if [[ ${SERIN_IN_FLIGHT:-refuse} != supersede ]]; then alone; fi

flags=(--file "$SERIN_DOCUMENT" --version "$SERIN_VERSION")
if given "${SERIN_IMAGE:-}"; then flags+=(--image "$SERIN_IMAGE"); fi
if given "${SERIN_GATES:-}"; then flags+=(--gates "$SERIN_GATES"); fi
code=0
ask apply "${flags[@]}" -o json >"$answer" || code=$?
[[ $code == 0 ]] || die "$code" "applying $SERIN_DOCUMENT for version $SERIN_VERSION: $(words '.held // "see above"')"
say "$(words .message)"
rollout=$(jq -r '.rollout // empty' "$answer")
[[ -n $rollout ]] || rollout=$(found) # in production already: this stage ran before
[[ -n $rollout ]] || die 1 "no rollout brings version $SERIN_VERSION; serin status says why"
output rollout "$rollout"
