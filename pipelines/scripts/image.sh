#!/usr/bin/env bash
# Makes the scoring image SERIN_REGISTRY/SERIN_REPOSITORY:SERIN_VERSION, and says image=REFERENCE by digest.
# Of a LightGBM text model (SERIN_MODEL) serin packs it, without Docker; with SERIN_DOCKERFILE (a folder) the registry builds it;
# SERIN_IMAGE, by digest, is one that was built elsewhere. SERIN_SCORER_FLAGS go to the packed scorer.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

by_digest() {
	[[ $1 =~ @sha256:[0-9a-f]{64}$ ]] || die 2 "image $1: not by digest, so what was tested need not be what runs; name it REGISTRY/NAME@sha256:…"
	say "image $1"
	output image "$1"
	exit 0
}

# sign_in writes a token for the registry into a file of its own, which goes with this script.
sign_in() {
	[[ $SERIN_REGISTRY == *.azurecr.io ]] || return 0 # others: docker login, before this
	local token
	token=$(az acr login --name "${SERIN_REGISTRY%%.*}" --expose-token --query accessToken --output tsv --only-show-errors)
	if [[ -n ${TF_BUILD:-} ]]; then say "##vso[task.setsecret]$token"; fi
	export DOCKER_CONFIG=$work/docker
	mkdir -m 700 "$DOCKER_CONFIG"
	trap 'rm -rf "$work"' EXIT
	(umask 077 && jq -n --arg registry "$SERIN_REGISTRY" --arg auth "$(printf '00000000-0000-0000-0000-000000000000:%s' "$token" | base64 -w0)" '{auths: {($registry): {auth: $auth}}}' >"$DOCKER_CONFIG/config.json")
}

if given "${SERIN_IMAGE:-}"; then by_digest "$SERIN_IMAGE"; fi
tag=$SERIN_REPOSITORY:$SERIN_VERSION
if given "${SERIN_DOCKERFILE:-}"; then
	az acr build --registry "${SERIN_REGISTRY%%.*}" --image "$tag" "$SERIN_DOCKERFILE" --only-show-errors
	by_digest "$SERIN_REGISTRY/$SERIN_REPOSITORY@$(az acr repository show --name "${SERIN_REGISTRY%%.*}" --image "$tag" --query digest --output tsv --only-show-errors)"
fi
sign_in
flags=(--model "$SERIN_MODEL" --tag "$SERIN_REGISTRY/$tag" --label "dev.serin.run=$(run_link)" --label "dev.serin.source=${SERIN_SOURCE:-}")
if [[ ${SERIN_REGISTRY_INSECURE:-} == true ]]; then flags+=(--insecure); fi
read -ra more <<<"${SERIN_SCORER_FLAGS:-}"
if [[ ${#more[@]} -gt 0 ]] && given "${more[0]}"; then flags+=(-- "${more[@]}"); fi
began=$SECONDS
image=$("${SERIN_PROGRAM:-serin}" image "${flags[@]}")
say "packed and pushed in $((SECONDS - began)) s"
by_digest "$image"
