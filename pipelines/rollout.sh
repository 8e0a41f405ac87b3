#!/usr/bin/env bash
# The whole pipeline as a plain script, for any CI that has no templates here, and for a terminal:
#
#   rollout.sh all            image, then each step behind SERIN_GATE, then production; back to stable if it does not get there
#   rollout.sh image          packs and pushes; prints image=REFERENCE
#   rollout.sh step STEP      lets the rollout enter STEP and waits for the next gate; the first step begins the rollout
#   rollout.sh revert         back to stable, unless this run's version is in production
#
# A CI with gates of its own calls `image`, then `step` once behind each gate, and `revert` at the end whatever happened.
# What one call hands to the next stands in the file SERIN_OUTPUT. Settings: SERIN_DOCUMENT, SERIN_VERSION (this run's own, which
# no other run has), SERIN_GATES (the steps of the plan, by commas), SERIN_NAMESPACE, SERIN_ENDPOINT, SERIN_REGISTRY,
# SERIN_REPOSITORY, SERIN_MODEL, or SERIN_IMAGE instead of the last three (without either the document names what runs);
# SERIN_APPROVER, SERIN_TIMEOUT.
# SERIN_GATE: a command that ends with 0 to let the step in SERIN_STEP in; without it `all` asks on the terminal.
set -euo pipefail
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/scripts
export SERIN_OUTPUT=${SERIN_OUTPUT:-$PWD/serin-$SERIN_VERSION.env}
touch "$SERIN_OUTPUT"

# attend runs a script in a group of its own, and ends with it. A signal to this program ends the whole group at once: bash would
# let the script come to its end first, which may be hours later.
child=""
attend() {
	set -m
	"$@" &
	child=$!
	set +m
	local code=0
	wait "$child" || code=$?
	child=""
	return "$code"
}
stop() {
	if [[ -n $child ]]; then kill -TERM -- "-$child" || true; fi
	exit 130
}
trap stop INT TERM HUP

# told prints the last value that an earlier call has handed on.
told() { sed -n "s/^$1=//p" "$SERIN_OUTPUT" | tail -1; }

image() {
	attend "$scripts/image.sh"
	SERIN_IMAGE=$(told image)
	export SERIN_IMAGE
}

# step begins the rollout where none was begun by this run.
step() {
	export SERIN_STEP=$1
	SERIN_ROLLOUT=$(told rollout) SERIN_EVIDENCE=$(told evidence)
	if [[ -z $SERIN_ROLLOUT ]]; then
		if [[ -z ${SERIN_IMAGE:-} ]]; then SERIN_IMAGE=$(told image); fi
		SERIN_IMAGE=$SERIN_IMAGE attend "$scripts/start.sh"
		SERIN_ROLLOUT=$(told rollout)
	fi
	export SERIN_ROLLOUT SERIN_EVIDENCE
	attend "$scripts/step.sh"
}

revert() {
	if [[ $(told "done") == true ]]; then
		echo "version $SERIN_VERSION is in production: nothing to revert"
		return
	fi
	SERIN_ROLLOUT=$(told rollout) "$scripts/revert.sh"
}

# gate asks whether the step may be entered.
gate() {
	export SERIN_STEP=$1
	if [[ -n ${SERIN_GATE:-} ]]; then
		bash -c "$SERIN_GATE"
		return
	fi
	local answer
	read -rp "Enter step $SERIN_STEP? [yes/no] " answer </dev/tty
	[[ $answer == yes ]]
}

# leave reverts what did not get to production, however the script ends.
leave() {
	local code=$?
	trap - EXIT
	trap '' INT TERM HUP # asked twice: the way back is short, and is gone to its end
	revert || code=$?
	exit "$code"
}

all() {
	trap leave EXIT
	if [[ -z ${SERIN_IMAGE:-} && -n ${SERIN_REGISTRY:-} ]]; then image; fi
	local steps name
	IFS=, read -ra steps <<<"${SERIN_GATES:?the steps of the plan, by commas}"
	for name in "${steps[@]}"; do
		gate "$name" || { echo "step $name was refused" && exit 6; }
		step "$name"
		if [[ $(told "done") == true ]]; then break; fi
	done
}

case ${1:-} in
all | image | revert) "$1" ;;
step) step "${2:?which step?}" ;;
*)
	sed -n '2,/^set/{/^#/p}' "${BASH_SOURCE[0]}" >&2
	exit 2
	;;
esac
