#!/bin/sh
# Times one-row predictions of Serin, LightGBM, leaves, tl2cgen and lleaves on two models, in turn.
#   bench/lightgbm/run.sh [ROUNDS]      needs go, gcc, python3 and PyPI (first run only); about 5 minutes, then 1
set -eu
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
venv=$root/.cache/lightgbm
rounds=${1:-10}

if [ ! -x "$venv/bin/python" ]; then
	python3 -m venv "$venv"
fi
"$venv/bin/python" -m pip install -q --disable-pip-version-check \
	lightgbm==4.6.0 numpy==2.4.6 scipy==1.17.1 tl2cgen==1.0.0 treelite==4.8.1 lleaves==1.3.0 llvmlite==0.44.0
export LIB_LIGHTGBM=$("$venv/bin/python" -c 'import lightgbm, pathlib; print(pathlib.Path(lightgbm.__file__).parent / "lib" / "lib_lightgbm.so")')

for kind in safe-driver uniform; do
	data=$root/.cache/bench-lightgbm/$kind
	mkdir -p "$data"
	if [ ! -f "$data/expected.f64" ]; then
		"$venv/bin/python" make_model.py "$kind" "$data" | tee "$data/about.txt"
	fi
	if [ ! -f "$data/lleaves.o" ]; then
		"$venv/bin/python" compile_trees.py "$data"
	fi
	if [ ! -x "$data/driver" ] || [ native/driver.c -nt "$data/driver" ]; then
		for unit in "$data"/tl2cgen/*.c; do
			gcc -O3 -c -o "${unit%.c}.o" "$unit"
		done
		gcc -O2 -o "$data/driver" native/driver.c "$data"/tl2cgen/*.o "$data/lleaves.o" -ldl -lm
	fi
	(cd "$root/bench" && go test -c -o "$data/go.test" ./lightgbm)
	echo
	cat "$data/about.txt"
	"$venv/bin/python" table.py "$data" "$rounds"
done
