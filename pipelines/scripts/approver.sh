#!/usr/bin/env bash
# Prints who let this stage in: asks Azure DevOps for the approvals of this run's stage (with the job's own token,
# SYSTEM_ACCESSTOKEN). Prints nothing where that cannot be known, and says why on stderr: the approval is then in the
# pipeline's name only. On other CIs set SERIN_APPROVER.
set -euo pipefail

unknown() {
	echo "who approved is not known ($*): the audit names the pipeline only" >&2
	exit 0
}

[[ -n ${SYSTEM_ACCESSTOKEN:-} && -n ${SYSTEM_COLLECTIONURI:-} ]] || unknown "no SYSTEM_ACCESSTOKEN"
api=$SYSTEM_COLLECTIONURI$SYSTEM_TEAMPROJECTID/_apis

# fetch keeps the token off the command line, where other processes could read it.
fetch() {
	printf 'header = "Authorization: Bearer %s"\n' "$SYSTEM_ACCESSTOKEN" | curl --config - --silent --show-error --fail --max-time 20 --retry 2 "$1"
}

timeline=$(fetch "$api/build/builds/$BUILD_BUILDID/timeline?api-version=7.1") || unknown "the run's timeline could not be read"
# A stage's record has a checkpoint, which has an approval; the approval's record has the approval's id.
approvals=$(jq -r --arg stage "$SYSTEM_STAGENAME" '
	(.records | map(select(.type == "Stage" and .identifier == $stage) | .id)) as $stages
	| (.records | map(select(.type == "Checkpoint" and (.parentId as $p | $stages | index($p))) | .id)) as $checkpoints
	| [.records[] | select(.type == "Checkpoint.Approval" and (.parentId as $p | $checkpoints | index($p))) | .id] | join(",")' <<<"$timeline") || unknown "the run's timeline is not what it should be"
[[ -n $approvals ]] || unknown "stage $SYSTEM_STAGENAME has no approval"
found=$(fetch "$api/pipelines/approvals?approvalIds=$approvals&\$expand=steps&api-version=7.1") || unknown "the approvals could not be read"
jq -r '[.value[].steps[]? | select(.status == "approved") | (.actualApprover // .assignedApprover) | .uniqueName // .displayName] | unique | join(", ")' <<<"$found" || unknown "the approvals are not what they should be"
