#!/usr/bin/env bash
# Lets this run's rollout enter SERIN_STEP, and waits until the next step lacks nothing but its own approval; in the last
# step until the rollout ends. The stage that calls this was let in by a person: the approval is in that person's name
# (SERIN_APPROVER, else approver.sh asks Azure DevOps), on the evidence that the stage before showed (SERIN_EVIDENCE).
# Says: rollout=ID, evidence=DIGEST for the next gate, done=true once the version is in production.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
connect

rollout=$(found)
[[ -n $rollout ]] || die 5 "this run's rollout (version $SERIN_VERSION) is not there; the stage that begins it must come first"
output rollout "$rollout"

# leave ends a stage whose rollout went another way than it should.
leave() {
	local message
	message=$(words .message)
	show "$SERIN_STEP stopped" "The stage for step **$SERIN_STEP** stopped."
	case $code in
	3) complain "reverted at step $SERIN_STEP: $message" ;;
	4) complain "held at step $SERIN_STEP, nothing moves by itself: $message" ;;
	7) complain "not enough evidence within ${SERIN_TIMEOUT:-2h}: $message" ;;
	*) complain "waiting for rollout $rollout ended with exit code $code" ;;
	esac
	exit "$code"
}

# in_production ends the stage when there is nothing left to let in.
in_production() {
	[[ $code == 0 && $result == Promoted ]] || return 0
	output "done" true
	show "$SERIN_STEP in production" "Version **$SERIN_VERSION** is in production."
	exit 0
}

# approve lets the rollout in. After a restart the controller knows no more what it showed before: then what is there now
# counts, and the audit says so.
approve() {
	local code=0 who=${SERIN_APPROVER:-} flags=(--rollout "$rollout" --step "$SERIN_STEP" -o json)
	given "$who" || who=$("$(dirname "${BASH_SOURCE[0]}")/approver.sh")
	if given "$who"; then flags+=(--on-behalf-of "$who"); fi
	local seen=()
	if given "${SERIN_EVIDENCE:-}"; then seen=(--evidence "$SERIN_EVIDENCE"); fi
	ask approve "${flags[@]}" "${seen[@]}" --reason "approved in $(run_link)" >"$answer" || code=$?
	if [[ $code == 6 && $(jq -r '.reason // empty' "$answer") == EvidenceNotShown ]]; then
		code=0
		say "evidence $SERIN_EVIDENCE is not known any more (the controller was restarted); approving on what is there now"
		ask approve "${flags[@]}" --reason "approved in $(run_link) on evidence $SERIN_EVIDENCE, shown before a restart" >"$answer" || code=$?
	fi
	if [[ $code == 6 ]]; then # it may have ended in this very moment: then that is what is to be said
		if [[ $(jq -r '.reason // empty' "$answer") == NothingRuns ]]; then waits; else waits --step "$SERIN_STEP"; fi
		in_production
		[[ $code == 0 ]] || leave
		code=6
	fi
	[[ $code == 0 ]] || die "$code" "approving step $SERIN_STEP: see above"
	say "$(words .message)"
}

waits --step "$SERIN_STEP"
in_production
[[ $code == 0 ]] || leave
# shellcheck disable=SC2016
next=$(jq -r --arg step "$SERIN_STEP" '[.status.rollout.steps[].name] as $all | ($all | map(ascii_downcase) | index($step | ascii_downcase)) as $i | $all[$i + 1] // empty' "$answer")
approve
if [[ -n $next ]]; then
	waits --step "$next"
else
	waits
fi
in_production
[[ $code == 0 ]] || leave
evidence=$(jq -r '.status.rollout.evidence.digest' "$answer")
output evidence "$evidence"
show "$SERIN_STEP" "**Next gate: step $next.** Whoever approves it lets the rollout enter step $next, on evidence \`$evidence\`. Rejecting it, or waiting for too long, sends all requests back to stable. Run: $(run_link)"
