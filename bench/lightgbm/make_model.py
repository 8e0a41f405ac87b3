#!/usr/bin/env python3
"""Trains the benchmark's model: 500 trees of 60 leaves on 57 columns like those of the safe-driver data (seeded, synthetic).

    make_model.py FOLDER    # writes FOLDER/model.txt and FOLDER/rows.f64 (2,000 rows of 57 little-endian doubles)
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


def main(folder):
    rng = np.random.default_rng(20170929)
    x = table(rng, 60_000)
    score = x @ (rng.normal(size=FEATURES) * (rng.random(FEATURES) < 0.4)) / 12 + np.sin(3 * x[:, 0]) * (x[:, 4] > 0) * 0.4
    y = rng.random(len(x)) < 1 / (1 + np.exp(-(score - np.quantile(score, 0.9))))
    parameters = {"learning_rate": 0.02, "objective": "binary", "metric": "auc", "feature_fraction": 0.7, "num_leaves": LEAVES,
                  "min_data_in_leaf": 100, "min_sum_hessian_in_leaf": 1, "verbose": -1, "num_threads": 2, "seed": 1}
    booster = lgb.train(parameters, lgb.Dataset(x, y), num_boost_round=TREES)
    folder.mkdir(parents=True, exist_ok=True)
    booster.save_model(folder / "model.txt")
    x[:ROWS].astype("<f8").tofile(folder / "rows.f64")
    leaves = [t["num_leaves"] for t in booster.dump_model()["tree_info"]]
    print(f"{len(leaves)} trees, {np.mean(leaves):.1f} leaves on average")


main(pathlib.Path(sys.argv[1]))
