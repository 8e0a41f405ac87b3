#!/usr/bin/env bash
# Sends all requests back to stable when a run did not end with its version in production: aborts the rollout of this run,
# and no other. Nothing to revert is no failure. Exit code 0 means that this run's version gets no requests.
# SERIN_PROMOTED: what became of the job that enters the last step (Failed, Canceled, …). A version that it promoted before
# it failed is rolled back, while the version before is kept (rollout.keepOld).
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

patience=${SERIN_REVERT_PATIENCE:-300} # seconds, for an API that is away
settle=${SERIN_SETTLE:-10}             # seconds, for a rollout that was asked for just before the run was cancelled, and for a request that shows the routes
deadline=$((SECONDS + patience))

# insist calls a command until it answers: a revert does not give up because of a blip. The exit codes that say something
# of the rollout are answers.
insist() {
	local code=0
	while true; do
		code=0
		"$@" || code=$?
		case $code in
		1 | 7) ;;
		*) return "$code" ;;
		esac
		((SECONDS < deadline)) || return "$code"
		say "no answer; asking again" >&2
		sleep 2
	done
}

nothing() {
	say "nothing to revert: $*"
	exit 0
}

# search finds this run's rollout; one that was asked for a moment ago may not have begun yet.
search() {
	local code=0 until=$((SECONDS + settle))
	while true; do
		code=0
		rollout=$(insist found) || code=$?
		[[ $code != 5 ]] || nothing "there is no endpoint"
		[[ $code == 0 ]] || die "$code" "whether a rollout of this run is under way is not known: look with serin status, end it with serin abort"
		if [[ -n $rollout ]]; then return; fi
		((SECONDS < until)) || nothing "this run began no rollout (version $SERIN_VERSION)"
		sleep 1
	done
}

# shellcheck disable=SC2317 # called by insist
status() { ask status -o json >"$work/status.json"; }

# roll_back undoes a promotion, where this run's last stage made it and failed afterwards.
roll_back() {
	case ${SERIN_PROMOTED:-} in
	Failed | Canceled) ;;
	*) nothing "version $SERIN_VERSION was promoted, not by this run's last stage; serin rollback undoes it" ;;
	esac
	[[ -n $(jq -r '.rollout.from // empty' "$work/status.json") ]] || nothing "version $SERIN_VERSION is the first one: there is none to go back to"
	local code=0
	insist ask rollback --rollout "$rollout" --reason "the last stage failed after the promotion: $(run_link)" || code=$?
	[[ $code == 0 ]] || die "$code" "version $SERIN_VERSION was promoted, its stage failed, and it could not be rolled back: apply the earlier document"
	conclude "The last stage failed after the promotion: the version before serves again."
}

# conclude waits until the routes are as they should be. Which ones are in force is seen by the requests that take them: where
# none comes, those that were asked for count, unless something is known to be wrong with them.
conclude() {
	local quiet=$SECONDS # since when no request came
	while true; do
		insist status || die $? "the weights in force are not known"
		if [[ $(jq -r '.weights.plannedBP + .weights.inForceBP + .weights.shadowBP' "$work/status.json") == 0 ]]; then break; fi
		if [[ $(jq -r '.rollout.id' "$work/status.json") != "$rollout" ]]; then break; fi # another's
		jq -e '.weights.plannedBP + .weights.shadowBP == 0 and .traffic.requestsPerSecond == 0 and
			([.conditions[]? | select(.status == "True" and (.type | IN("Degraded", "WeightsOverwritten", "RouteNotInForce", "EvidenceLimited")))] == [])' \
			"$work/status.json" >/dev/null || quiet=$SECONDS
		if ((SECONDS - quiet >= settle)); then
			say "no request has come for $settle s that would show the routes in force"
			break
		fi
		((SECONDS < deadline)) || die 1 "the routes still give the candidate requests: serin status says why"
		sleep 1
	done
	show reverted "$1"
	say "$1"
	exit 0
}

insist connect || die $? "signing in to cluster $SERIN_AKS: see above; serin abort ends the rollout of version $SERIN_VERSION by hand"
search
output rollout "$rollout"
insist status || die $? "the state of rollout $rollout is not known"
[[ $(jq -r '.rollout.id // empty' "$work/status.json") == "$rollout" ]] || nothing "rollout $rollout has ended, and another one is the present one"
case $(jq -r '.rollout.outcome // empty' "$work/status.json") in
Promoted) roll_back ;;
"") ;;
*) conclude "Rollout $rollout had ended already: $(words .rollout.outcome "$work/status.json")." ;;
esac
code=0
insist ask abort --rollout "$rollout" --if-running --reason "not finished: $(run_link)" || code=$?
[[ $code == 0 ]] || die "$code" "aborting rollout $rollout: see above; serin abort --rollout $rollout tries again"
insist ask wait --rollout "$rollout" --timeout 60s -o json >"$answer" || true
conclude "Rollout $rollout is reverted: all requests go to stable."
