#!/usr/bin/env bash
# Puts serin on the PATH, unless it is there: downloads SERIN_URL, which must have the checksum SERIN_SHA256.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

command -v jq >/dev/null || die 2 "jq is not there: the scripts read serin's JSON with it; install it on the agent"
if command -v "${SERIN_PROGRAM:-serin}" >/dev/null; then
	"${SERIN_PROGRAM:-serin}" version
	exit 0
fi
given "${SERIN_URL:-}" || die 2 "serin is not there: install it on the agent, or set SERIN_URL and SERIN_SHA256"
given "${SERIN_SHA256:-}" || die 2 "SERIN_SHA256: needed with SERIN_URL: a program that moves production traffic is not taken unchecked"
folder=${AGENT_TOOLSDIRECTORY:-${RUNNER_TOOL_CACHE:-$HOME/.local}}/serin/${SERIN_SHA256:0:12}
mkdir -p "$folder"
part=$(mktemp "$folder/serin.XXXXXX") # agents may share the folder
curl --fail --silent --show-error --location --retry 3 --output "$part" "$SERIN_URL"
printf '%s  %s\n' "$SERIN_SHA256" "$part" | sha256sum --check --quiet - || {
	rm -f "$part"
	die 1 "$SERIN_URL: not the checksum SERIN_SHA256"
}
chmod 755 "$part"
mv "$part" "$folder/serin"
if [[ -n ${TF_BUILD:-} ]]; then
	say "##vso[task.prependpath]$folder"
elif [[ -n ${GITHUB_PATH:-} ]]; then
	say "$folder" >>"$GITHUB_PATH"
fi
"$folder/serin" version
