#!/usr/bin/env python3
"""table.py FOLDER ROUNDS: runs every contender once a round, in turn, and prints the best and the median round."""
import math
import os
import re
import statistics
import struct
import subprocess
import sys

folder, rounds = sys.argv[1], int(sys.argv[2])
with open(f"{folder}/expected.f64", "rb") as f:
    expected = math.fsum(x for (x,) in struct.iter_unpack("<d", f.read()))


def go(name):
    text = subprocess.run([f"{folder}/go.test", "-test.run=^$", f"-test.bench=^Benchmark{name}$", "-test.benchtime=0.4s", "-test.cpu=1"],
                          check=True, capture_output=True, text=True, env={**os.environ, "SERIN_BENCH_DATA": folder}).stdout
    return float(re.search(r"([\d.]+) best-ns/row", text)[1])  # the benchmark compares every answer with LightGBM's


def native(kind):
    text = subprocess.run([f"{folder}/driver", kind, folder, "0.4"], check=True, capture_output=True, text=True).stdout
    best, total = map(float, text.split())
    if not abs(total - expected) <= 1e-9 * expected:
        sys.exit(f"{kind} answers differently: its predictions add up to {total}, LightGBM's to {expected}")
    return best


contenders = {
    "LightGBM 4.6.0, C API, SingleRowFast": lambda: native("lightgbm"),
    "leaves 25d19a787328": lambda: go("Leaves"),
    "tl2cgen 1.0.0, gcc -O3": lambda: native("tl2cgen"),
    "lleaves 1.3.0": lambda: native("lleaves"),
    "Serin": lambda: go("Serin"),
}
times = {name: [] for name in contenders}
for _ in range(rounds):
    for name, run in contenders.items():
        times[name].append(run())
reference = min(times["LightGBM 4.6.0, C API, SingleRowFast"])
print("| one row, one thread | best, µs | median, µs | best ÷ LightGBM's |")
print("|---|---|---|---|")
for name, t in times.items():
    print(f"| {name} | {min(t) / 1e3:.2f} | {statistics.median(t) / 1e3:.2f} | {min(t) / reference:.3f} |")
