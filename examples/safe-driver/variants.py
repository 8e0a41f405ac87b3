"""Make the broken versions that real teams ship from models/v2.txt, and say how far each is from v1.

    python examples/safe-driver/variants.py --csv heldout.csv
"""
import argparse
import pathlib
import re

import lightgbm
import numpy

from train import read

HERE = pathlib.Path(__file__).parent / "models"


def swap(text, a, b):
    """Two columns swapped in the training pipeline: the trees look at the wrong ones."""
    def line(m):
        names = {str(a): str(b), str(b): str(a)}
        return "split_feature=" + " ".join(names.get(f, f) for f in m.group(1).split())
    return re.sub(r"(?m)^split_feature=(.*)$", line, text)


def zero(text, feature):
    """A missing feature filled with 0: every split on it goes the way that 0 goes."""
    out, features = [], []
    for row in text.split("\n"):
        if row.startswith("split_feature="):
            features = row.removeprefix("split_feature=").split()
        if row.startswith("threshold="):
            values = row.removeprefix("threshold=").split()
            values = ["1e300" if f == str(feature) and float(v) >= 0 else v for f, v in zip(features, values)]
            row = "threshold=" + " ".join(values)
        out.append(row)
    return "\n".join(out)


def constant(text):
    """A threshold bug: every leaf answers the same."""
    return re.sub(r"(?m)^leaf_value=(.*)$", lambda m: "leaf_value=" + " ".join(["0"] * len(m.group(1).split())), text)


def fix_sizes(text):
    """tree_sizes is only a hint for parallel loading; dropping it is allowed."""
    return re.sub(r"(?m)^tree_sizes=.*\n", "", text)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--csv", required=True)
    a = p.parse_args()
    names, x, y = read(a.csv)
    v2 = (HERE / "v2.txt").read_text()
    i, j, k = names.index("ps_car_13"), names.index("ps_car_12"), names.index("ps_car_13")
    for name, text in {"swapped": swap(v2, i, j), "zero-filled": zero(v2, k), "constant": constant(v2)}.items():
        (HERE / f"{name}.txt").write_text(fix_sizes(text))
    base = lightgbm.Booster(model_file=str(HERE / "v1.txt")).predict(x)
    print("| model | AUC | mean / v1 | within 0.01 of v1 | within 0.02 |\n|---|---|---|---|---|")
    for name in ["v1", "v2", "swapped", "zero-filled", "constant"]:
        s = lightgbm.Booster(model_file=str(HERE / f"{name}.txt")).predict(x)
        order = numpy.argsort(s, kind="stable")
        rank = numpy.empty(len(s)); rank[order] = numpy.arange(len(s))
        pos = y == 1
        auc = (rank[pos].mean() - (pos.sum() - 1) / 2) / (~pos).sum() if len(set(s)) > 1 else 0.5
        d = numpy.abs(s - base)
        print(f"| {name} | {auc:.4f} | {s.mean()/base.mean():.3f} | {(d <= .01).mean():.1%} | {(d <= .02).mean():.1%} |")


if __name__ == "__main__":
    main()
