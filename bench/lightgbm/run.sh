#!/bin/sh
# Times one-row predictions of Serin, LightGBM, leaves, tl2cgen and lleaves on one model in one run, in turn.
#   bench/lightgbm/run.sh [ROUNDS]      needs go, gcc, python3 and PyPI (first run only); about 3 minutes, then 30 seconds
set -eu
cd "$(dirname "$0")"
here=$(pwd)
root=$(cd ../.. && pwd)
venv=$root/.cache/lightgbm
data=$root/.cache/bench-lightgbm
rounds=${1:-10}
mkdir -p "$data"

if [ ! -x "$venv/bin/python" ]; then
	python3 -m venv "$venv"
fi
"$venv/bin/python" -m pip install -q --disable-pip-version-check \
	lightgbm==4.6.0 numpy==2.4.6 scipy==1.17.1 tl2cgen==1.0.0 treelite==4.8.1 lleaves==1.3.0 llvmlite==0.44.0
export LIB_LIGHTGBM=$("$venv/bin/python" -c 'import lightgbm, pathlib; print(pathlib.Path(lightgbm.__file__).parent / "lib" / "lib_lightgbm.so")')

if [ ! -f "$data/rows.f64" ]; then
	"$venv/bin/python" make_model.py "$data"
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
cd "$here"
exec "$venv/bin/python" table.py "$data" "$rounds"
