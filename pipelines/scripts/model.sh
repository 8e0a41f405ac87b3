#!/usr/bin/env bash
# Gets the model: SERIN_MODEL is a file of the repository, or SERIN_MODEL_NAME (with SERIN_MODEL_VERSION, default the latest)
# is a model that is registered in the Azure ML workspace SERIN_WORKSPACE of SERIN_RESOURCE_GROUP; SERIN_MODEL_FILE says which
# file of it where there are several. Says: model=FILE, source=where it came from, run=the training run that made it.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! given "${SERIN_MODEL_NAME:-}"; then
	given "${SERIN_MODEL:-}" || die 2 "which model? set SERIN_MODEL (a file) or SERIN_MODEL_NAME (a registered model)"
	[[ -f $SERIN_MODEL ]] || die 2 "SERIN_MODEL: there is no file $SERIN_MODEL"
	output model "$SERIN_MODEL"
	output source "${BUILD_REPOSITORY_NAME:-${GITHUB_REPOSITORY:-repository}}@${BUILD_SOURCEVERSION:-${GITHUB_SHA:-unknown}}"
	output run "${SERIN_TRAINING_RUN:-}"
	exit 0
fi

where=(--resource-group "$SERIN_RESOURCE_GROUP" --workspace-name "$SERIN_WORKSPACE" --only-show-errors)
version=${SERIN_MODEL_VERSION:-}
if ! given "$version" || [[ $version == latest ]]; then
	version=$(az ml model show --name "$SERIN_MODEL_NAME" --label latest --query version --output tsv "${where[@]}")
fi
# A folder of its own: an agent may still have the model of an earlier run.
folder=${SERIN_DOWNLOADS:-$(mktemp -d "$temporary/model.XXXXXX")}
run=$(az ml model show --name "$SERIN_MODEL_NAME" --version "$version" --query job_name --output tsv "${where[@]}")
mkdir -p "$folder"
az ml model download --name "$SERIN_MODEL_NAME" --version "$version" --download-path "$folder" "${where[@]}"
mapfile -t files < <(find "$folder" -type f -name "${SERIN_MODEL_FILE:-*.txt}" | sort)
[[ ${#files[@]} == 1 ]] || die 2 "model $SERIN_MODEL_NAME:$version holds ${#files[@]} files named ${SERIN_MODEL_FILE:-*.txt} (${files[*]}): say which one with SERIN_MODEL_FILE"
say "model $SERIN_MODEL_NAME:$version: ${files[0]}"
output model "${files[0]}"
output source "azureml:$SERIN_MODEL_NAME:$version"
output run "$run"
