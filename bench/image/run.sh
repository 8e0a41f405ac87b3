#!/usr/bin/env bash
# Packs the safe-driver model by `serin image`, and Azure ML's inference server for the same model: size and time of each.
set -euo pipefail
cd "$(dirname "$0")/../.."
make --no-print-directory build
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
TIMEFORMAT='%R s, of the processor %U + %S s'
for n in 1 2 3; do
	time ./bin/serin image -o json --model examples/safe-driver/models/v1.txt --tag bench.example/safe-driver:1 --archive "$out/serin.tar" | grep bytes
done
stat -c '%n: %s bytes' bin/serin examples/safe-driver/models/v1.txt
for n in first second; do
	echo "scoring script, $n time"
	time XDG_CACHE_HOME="$out/cache" ./bin/serin image -o json --scoring-script examples/azureml/score.py --requirements examples/azureml/requirements.txt \
		--model examples/safe-driver/models/v1.txt --env MODEL_NAME=v1.txt --tag bench.example/azureml:1 --archive "$out/azureml.tar" | grep bytes
done
