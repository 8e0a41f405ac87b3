#!/usr/bin/env python3
"""Trains a benchmark model: 500 trees of 60 leaves on 57 seeded, synthetic columns.

    make_model.py safe-driver FOLDER    # columns like those of the safe-driver data: numbers, flags, codes
    make_model.py uniform FOLDER        # uniform numbers, target of many interactions: deep, even trees, no luck for anyone

Writes FOLDER/model.txt, rows.f64 (2,000 rows of 57 little-endian doubles) and expected.f64 (LightGBM's answers).
"""
import pathlib
import sys

import lightgbm as lgb
import numpy as np

TREES, LEAVES, FEATURES, ROWS = 500, 60, 57, 2000


def table(rng, n):
    x = np.empty((n, FEATURES))
    for f in range(FEATURES):
        if f % 3 == 0:                                     # 19 continuous columns, rounded as the real ones are
            x[:, f] = np.round(rng.gamma(2, 0.4, n), 4)
        elif f % 3 == 1:                                   # 19 flags
            x[:, f] = rng.random(n) < 0.05 + 0.8 * (f / FEATURES)
        else:                                              # 19 codes
            x[:, f] = rng.integers(0, 3 + f // 2, n)
    for f in (3, 20, 33):                                  # -1 is the code for missing
        x[rng.random(n) < 0.2, f] = -1
    return x


def safe_driver(rng, n):
    x = table(rng, n)
    score = x @ (rng.normal(size=FEATURES) * (rng.random(FEATURES) < 0.4)) / 12 + np.sin(3 * x[:, 0]) * (x[:, 4] > 0) * 0.4
    return x, rng.random(n) < 1 / (1 + np.exp(-(score - np.quantile(score, 0.9))))


def uniform(rng, n):
    x = rng.random((n, FEATURES))
    score = sum(np.sin(9 * x[:, f] + 7 * x[:, (f * 7 + 3) % FEATURES]) for f in range(FEATURES))
    return x, rng.random(n) < 1 / (1 + np.exp(-score))


def levels(booster, x):
    """The mean number of splits that a row passes in a tree."""
    reached, total = booster.predict(x, pred_leaf=True), 0
    for i, t in enumerate(booster.dump_model()["tree_info"]):
        depth, todo = {}, [(t["tree_structure"], 0)]
        while todo:
            n, d = todo.pop()
            if "leaf_index" in n:
                depth[n["leaf_index"]] = d
            elif "left_child" in n:
                todo += [(n["left_child"], d + 1), (n["right_child"], d + 1)]
        total += np.mean([depth[leaf] for leaf in reached[:, i]])
    return total / booster.num_trees()


def main(kind, folder):
    rng = np.random.default_rng(20170929)
    x, y = {"safe-driver": safe_driver, "uniform": uniform}[kind](rng, 60_000)
    parameters = {"learning_rate": 0.02, "objective": "binary", "metric": "auc", "feature_fraction": 0.7, "num_leaves": LEAVES,
                  "min_data_in_leaf": 100, "min_sum_hessian_in_leaf": 1, "verbose": -1, "num_threads": 2, "seed": 1}
    booster = lgb.train(parameters, lgb.Dataset(x, y), num_boost_round=TREES)
    folder.mkdir(parents=True, exist_ok=True)
    booster.save_model(folder / "model.txt")
    x[:ROWS].astype("<f8").tofile(folder / "rows.f64")
    booster.predict(x[:ROWS]).astype("<f8").tofile(folder / "expected.f64")
    print(f"{kind}: {booster.num_trees()} trees, {levels(booster, x[:ROWS]):.1f} levels from root to leaf on average")


main(sys.argv[1], pathlib.Path(sys.argv[2]))
