#!/usr/bin/env bash
# Writes the bill of materials of SERIN_IMAGE (CycloneDX) into SERIN_SBOM, and fails when a part has a known vulnerability of a
# severity in SERIN_SEVERITY for which there is a remedy. Needs trivy on the PATH; SERIN_SCAN=none leaves it out, and says so.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [[ ${SERIN_SCAN:-trivy} == none ]]; then
	say "no scan and no bill of materials: SERIN_SCAN=none" | tee /dev/stderr | summary scan
	exit 0
fi
command -v trivy >/dev/null || die 2 "trivy is not there: install it in an earlier step, or set SERIN_SCAN=none to do without a scan"
sign_in "${SERIN_IMAGE%%/*}"
sbom=${SERIN_SBOM:-sbom.cdx.json}
mkdir -p "$(dirname "$sbom")"
trivy image --quiet --format cyclonedx --output "$sbom" "$SERIN_IMAGE"
code=0
trivy sbom --quiet --severity "${SERIN_SEVERITY:-HIGH,CRITICAL}" --ignore-unfixed --exit-code 3 "$sbom" >"$work/found.txt" || code=$?
harmless <"$work/found.txt" >"$work/scan.txt"
{
	say "### $SERIN_IMAGE"
	say "$(jq '.components | length' "$sbom") parts in the bill of materials; vulnerabilities (${SERIN_SEVERITY:-HIGH,CRITICAL}, with a remedy):"
	sed 's/^/    /' "$work/scan.txt"
} | summary scan
cat "$work/scan.txt"
case $code in
0) say "no known vulnerability of severity ${SERIN_SEVERITY:-HIGH,CRITICAL} that has a remedy" ;;
3) die 1 "$SERIN_IMAGE has known vulnerabilities, see above" ;;
*) die 1 "scanning $SERIN_IMAGE: trivy ended with exit code $code" ;;
esac
