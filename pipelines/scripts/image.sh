#!/usr/bin/env bash
# Makes the scoring image SERIN_REGISTRY/SERIN_REPOSITORY:SERIN_VERSION, and says image=REFERENCE by digest.
# Of a LightGBM text model (SERIN_MODEL) serin packs it, without Docker; or, with SERIN_SCORING_SCRIPT and SERIN_REQUIREMENTS, Azure
# ML's inference server with that script. With SERIN_DOCKERFILE (a folder) the registry builds it; SERIN_IMAGE, by digest, is one
# that was built elsewhere. SERIN_SCORER_FLAGS go to the packed scorer.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

by_digest() {
	[[ $1 =~ @sha256:[0-9a-f]{64}$ ]] || die 2 "image $1: not by digest, so what was tested need not be what runs; name it REGISTRY/NAME@sha256:…"
	say "image $1"
	output image "$1"
	exit 0
}

if given "${SERIN_IMAGE:-}"; then by_digest "$SERIN_IMAGE"; fi
tag=$SERIN_REPOSITORY:$SERIN_VERSION
if given "${SERIN_DOCKERFILE:-}"; then
	az acr build --registry "${SERIN_REGISTRY%%.*}" --image "$tag" "$SERIN_DOCKERFILE" --only-show-errors
	by_digest "$SERIN_REGISTRY/$SERIN_REPOSITORY@$(az acr repository show --name "${SERIN_REGISTRY%%.*}" --image "$tag" --query digest --output tsv --only-show-errors)"
fi
sign_in "$SERIN_REGISTRY"
flags=(--model "$SERIN_MODEL" --tag "$SERIN_REGISTRY/$tag" --label "dev.serin.source=${SERIN_SOURCE:-}" --label "dev.serin.pipeline=$(run_link)")
if given "${SERIN_TRAINING_RUN:-}"; then flags+=(--label "dev.serin.run=$SERIN_TRAINING_RUN"); fi
if given "${SERIN_SCORING_SCRIPT:-}"; then
	flags+=(--scoring-script "$SERIN_SCORING_SCRIPT" --requirements "${SERIN_REQUIREMENTS:-requirements.txt}" --env "MODEL_NAME=$(basename "$SERIN_MODEL")")
	if given "${SERIN_CODE:-}"; then flags+=(--code "$SERIN_CODE"); fi
fi
if [[ ${SERIN_REGISTRY_INSECURE:-} == true ]]; then flags+=(--insecure); fi
read -ra more <<<"${SERIN_SCORER_FLAGS:-}"
if [[ ${#more[@]} -gt 0 ]] && given "${more[0]}"; then flags+=(-- "${more[@]}"); fi
began=$SECONDS
image=$("${SERIN_PROGRAM:-serin}" image "${flags[@]}")
say "packed and pushed in $((SECONDS - began)) s"
by_digest "$image"
