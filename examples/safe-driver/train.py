"""Train a safe-driver model in the manner of the challenge's notebook.

    go run ./examples/safe-driver/generate -rows 150000 -seed 1 > train.csv
    python examples/safe-driver/train.py --csv train.csv --out model.txt

Works with your own CSV too: a header, a column `target` of 0 and 1, perhaps `id`, and numbers everywhere else.
"""
import argparse
import sys

import lightgbm
import numpy

# Of the original notebook; what it calls sub_feature, min_data and min_hessian are LightGBM's feature_fraction,
# min_data_in_leaf and min_sum_hessian_in_leaf. The last three make a run repeatable on the same machine.
PARAMETERS = {
    "learning_rate": 0.02, "boosting_type": "gbdt", "objective": "binary", "metric": "auc",
    "sub_feature": 0.7, "num_leaves": 60, "min_data": 100, "min_hessian": 1, "verbose": -1,
    "seed": 0, "deterministic": True, "force_row_wise": True,
}


def read(path):
    """Feature names, features and target of a CSV file with a header."""
    with open(path) as f:
        names = [n.strip().strip('"') for n in f.readline().split(",")]
        if "target" not in names:
            sys.exit(f"{path}: the header has no column \"target\" (0 = no claim, 1 = claim); it has {', '.join(names[:5])}, ...")
        table = numpy.loadtxt(f, delimiter=",", ndmin=2)
    keep = [i for i, n in enumerate(names) if n not in ("id", "target")]
    return [names[i] for i in keep], table[:, keep], table[:, names.index("target")]


def split(n):
    """Row numbers for training and validation: those of train_test_split(test_size=0.2, random_state=0)."""
    order = numpy.random.RandomState(0).permutation(n)
    cut = -(-n // 5)
    return order[cut:], order[:cut]


def train(names, x, y, rounds, leaves):
    fit, held = split(len(y))
    data = lightgbm.Dataset(x[fit], label=y[fit], feature_name=names)
    # lightgbm.train has had no early_stopping_rounds argument since version 4: it is a callback.
    return lightgbm.train(
        PARAMETERS | {"num_leaves": leaves}, data, num_boost_round=rounds,
        valid_sets=[lightgbm.Dataset(x[held], label=y[held], reference=data)],
        callbacks=[lightgbm.early_stopping(20, verbose=False)],
    )


def main():
    p = argparse.ArgumentParser(description="Train a safe-driver model.")
    p.add_argument("--csv", required=True, help="training data with a header")
    p.add_argument("--out", required=True, help="where the model text goes")
    p.add_argument("--rounds", type=int, default=500, help="trees at most; early stopping after 20 without gain")
    p.add_argument("--leaves", type=int, default=PARAMETERS["num_leaves"], help="leaves of a tree at most")
    p.add_argument("--rows", type=int, default=0, help="use only the first rows (0: all)")
    a = p.parse_args()
    names, x, y = read(a.csv)
    if a.rows:
        x, y = x[: a.rows], y[: a.rows]
    booster = train(names, x, y, a.rounds, a.leaves)
    booster.save_model(a.out, num_iteration=booster.best_iteration)
    print(f"{a.out}: {len(y)} rows, {booster.best_iteration} trees, validation AUC {booster.best_score['valid_0']['auc']:.4f}")


if __name__ == "__main__":
    main()
