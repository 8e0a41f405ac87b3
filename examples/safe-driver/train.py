"""Train a safe-driver model in the manner of the challenge's notebook.

    go run ./examples/safe-driver/generate -rows 80000 -seed 1 > train.csv
    python examples/safe-driver/train.py --csv train.csv --out models/v2.txt

Works with your own CSV too: columns id, target and the features, with a header.
"""
import argparse

import lightgbm
import numpy

PARAMETERS = {
    "learning_rate": 0.02, "boosting_type": "gbdt", "objective": "binary", "metric": "auc",
    "sub_feature": 0.7, "num_leaves": 60, "min_data": 100, "min_hessian": 1, "verbose": 0,
    "seed": 0, "deterministic": True, "force_row_wise": True,
}


def read(path):
    with open(path) as f:
        names = f.readline().strip().split(",")
        table = numpy.loadtxt(f, delimiter=",")
    keep = [i for i, n in enumerate(names) if n not in ("id", "target")]
    return [names[i] for i in keep], table[:, keep], table[:, names.index("target")]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--csv", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--rounds", type=int, default=500)
    p.add_argument("--leaves", type=int, default=60)
    p.add_argument("--rows", type=int, default=0, help="use only the first rows (0: all)")
    p.add_argument("--rate", type=float, default=0.02)
    a = p.parse_args()
    names, x, y = read(a.csv)
    if a.rows:
        x, y = x[: a.rows], y[: a.rows]
    order = numpy.random.RandomState(0).permutation(len(y))  # train_test_split(test_size=0.2, random_state=0) in spirit
    cut = len(y) // 5
    valid, train = order[:cut], order[cut:]
    data = lightgbm.Dataset(x[train], label=y[train], feature_name=names)
    booster = lightgbm.train(
        PARAMETERS | {"num_leaves": a.leaves, "learning_rate": a.rate}, data, num_boost_round=a.rounds,
        valid_sets=lightgbm.Dataset(x[valid], label=y[valid], reference=data),
        callbacks=[lightgbm.early_stopping(20, verbose=False)],
    )
    booster.save_model(a.out, num_iteration=booster.best_iteration)
    print(f"{a.out}: {booster.best_iteration} trees, AUC {booster.best_score['valid_0']['auc']:.4f} on {cut} rows")


if __name__ == "__main__":
    main()
