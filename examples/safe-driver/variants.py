"""Make the broken versions that real teams ship from models/v2.txt, and print how far each model is from v1.

    go run ./examples/safe-driver/generate -rows 60000 -seed 2 > heldout.csv
    python examples/safe-driver/variants.py --csv heldout.csv
"""
import argparse
import math
import pathlib
import re

import lightgbm
import numpy

from train import read

MODELS = pathlib.Path(__file__).parent / "models"
SWAPPED = ("ps_ind_15", "ps_ind_17_bin")
FILLED = "ps_car_13"
BASE_RATE = 0.037


def swap(text, a, b):
    """Two columns changed places on the way to the model: every split on one looks at the other."""
    other = {str(a): str(b), str(b): str(a)}

    def line(m):
        return "split_feature=" + " ".join(other.get(f, f) for f in m.group(1).split())
    return re.sub(r"(?m)^split_feature=(.*)$", line, text)


def fill_with_zero(text, feature):
    """A feature is no longer delivered and something fills in 0.

    Every split on it is made to send every value where 0 goes: left with the threshold out of reach above, right with
    it out of reach below. So the answers are those of the good model on rows with a 0 in that column.
    """
    out, features = [], []
    for row in text.split("\n"):
        if row.startswith("split_feature="):
            features = row.removeprefix("split_feature=").split()
        if row.startswith("threshold="):
            values = row.removeprefix("threshold=").split()
            values = [(("1e300" if float(v) >= 0 else "-1e300") if f == str(feature) else v) for f, v in zip(features, values)]
            row = "threshold=" + " ".join(values)
        out.append(row)
    return "\n".join(out)


def constant(text):
    """A bug in training leaves one leaf: every row gets the base rate, so the mean looks right."""
    header = text[: text.index("\nTree=0")]
    header = re.sub(r"(?m)^feature_infos=.*$", "feature_infos=" + " ".join(["none"] * 57), header)
    tree = {
        "num_leaves": 1, "num_cat": 0, "split_feature": "", "split_gain": "", "threshold": "", "decision_type": "",
        "left_child": "", "right_child": "", "leaf_value": repr(math.log(BASE_RATE / (1 - BASE_RATE))), "leaf_weight": "",
        "leaf_count": "", "internal_value": "", "internal_weight": "", "internal_count": "", "is_linear": 0, "shrinkage": 1,
    }
    return header.rstrip() + "\n\nTree=0\n" + "".join(f"{k}={v}\n" for k, v in tree.items()) + "\n\nend of trees\n"


def without_sizes(text):
    """tree_sizes is only a hint for loading in parallel, and is wrong after an edit: LightGBM reads the trees without it."""
    return re.sub(r"(?m)^tree_sizes=.*\n", "", text)


def auc(scores, claims):
    """Chance that a row with a claim scores above one without, ties counting half."""
    values, counts = numpy.unique(scores, return_counts=True)
    middle = numpy.cumsum(counts) - (counts - 1) / 2
    ranks = middle[numpy.searchsorted(values, scores)]
    n = claims.sum()
    return (ranks[claims].sum() - n * (n + 1) / 2) / (n * (len(claims) - n))


def main():
    p = argparse.ArgumentParser(description="Make the broken models and compare all with v1.")
    p.add_argument("--csv", required=True, help="rows that no model was trained on")
    a = p.parse_args()
    names, x, y = read(a.csv)
    v2 = (MODELS / "v2.txt").read_text()
    broken = {
        "swapped": (swap(v2, *map(names.index, SWAPPED)), lambda x: swap_columns(x, *map(names.index, SWAPPED))),
        "zero-filled": (fill_with_zero(v2, names.index(FILLED)), lambda x: zero_column(x, names.index(FILLED))),
        "constant": (constant(v2), None),
    }
    good = lightgbm.Booster(model_str=v2)
    for name, (text, same) in broken.items():
        path = MODELS / f"{name}.txt"
        path.write_text(without_sizes(text))
        if same is not None:  # the edited text on good rows must answer as the good text on spoilt rows
            got, want = lightgbm.Booster(model_file=str(path)).predict(x), good.predict(same(x))
            if not numpy.array_equal(got, want):
                raise SystemExit(f"{name}: the edited model differs from v2 on spoilt rows by up to {numpy.abs(got - want).max()}")
    report(x, y == 1)


def swap_columns(x, i, j):
    x = x.copy()
    x[:, [i, j]] = x[:, [j, i]]
    return x


def zero_column(x, i):
    x = x.copy()
    x[:, i] = 0
    return x


def report(x, claims):
    base = lightgbm.Booster(model_file=str(MODELS / "v1.txt")).predict(x)
    print("| model | trees | AUC | within 0.01 of v1 | within 0.02 of v1 | mean score / v1's |\n|---|---|---|---|---|---|")
    for name in ["v1", "v2", "swapped", "zero-filled", "constant"]:
        booster = lightgbm.Booster(model_file=str(MODELS / f"{name}.txt"))
        s = booster.predict(x)
        d = numpy.abs(s - base)
        print(f"| `{name}.txt` | {booster.num_trees()} | {auc(s, claims):.4f} | {(d <= .01).mean():.1%} | {(d <= .02).mean():.1%} | {s.mean() / base.mean():.3f} |")


if __name__ == "__main__":
    main()
