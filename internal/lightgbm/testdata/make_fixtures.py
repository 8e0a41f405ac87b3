#!/usr/bin/env python3
"""Trains one small LightGBM model of every kind and writes it beside LightGBM's own answers.

    python -m pip install lightgbm==4.6.0 numpy==2.4.6
    python make_fixtures.py            # writes *.txt and *.json into this folder

Each NAME.json holds rows (NaN as null, infinities as strings), LightGBM's predict and its raw scores, all with
repr's full precision. The models are v4, as LightGBM 4 writes them. The v2 and v3 fixtures are derived: the same trees
under an older header (LightGBM 2 and 3 wrote the same fields; v2 and v3 before 3.2 had no is_linear line, and early v2
had no end mark); LightGBM 4.6.0 itself reads the derived text, and the answers are its answers to that text.
"""
import json
import math
import pathlib
import re

import lightgbm as lgb
import numpy as np

HERE = pathlib.Path(__file__).parent
ROWS = 24
COMMON = {"verbose": -1, "num_threads": 1, "seed": 7, "deterministic": True, "num_leaves": 15,
          "min_data_in_leaf": 5, "learning_rate": 0.1}


def table(rng, n, features=6):
    x = np.round(rng.normal(size=(n, features)), 3)
    x[:, 1] = rng.integers(0, 4, n)             # few values, many zeros
    x[rng.random(n) < 0.5, 2] = 0.0             # sparse
    x[:, 3] = rng.integers(0, 70, n)            # used as category where asked
    x[:, 4] = np.exp(2 * x[:, 4])               # skewed
    return x


def signal(x):
    x = np.nan_to_num(x)
    return x[:, 0] + 0.5 * (x[:, 1] == 2) - 0.7 * (x[:, 2] > 0.3) + np.sin(x[:, 3]) + 0.2 * np.tanh(x[:, 4])


def edge_rows(rng, booster, x):
    """Rows that sit on and beside thresholds, and every odd value that a client can send."""
    rows = x[:ROWS].copy()
    thresholds = []
    for t in booster.dump_model()["tree_info"]:
        todo = [t["tree_structure"]]
        while todo:
            n = todo.pop()
            if "threshold" in n:
                todo += [n["left_child"], n["right_child"]]
                if n["decision_type"] == "<=":
                    thresholds.append((n["split_feature"], float(n["threshold"])))
    if thresholds:
        for i in range(6, ROWS):
            for _ in range(3):
                f, t = thresholds[rng.integers(len(thresholds))]
                rows[i, f] = [t, np.nextafter(t, np.inf), np.nextafter(t, -np.inf)][rng.integers(3)]
    odd = [math.nan, 0.0, -0.0, math.inf, -math.inf, 1e-36, -1e-36, 1e-35, 2e-35, -2e-35, 1e300, -1e300, -1.0, -0.5,
           0.99, 69.0, 69.9, 70.0, 1e9, 2147483647.0, 2147483648.0, 1e10, -1e10]
    extra = [np.full(x.shape[1], v) for v in odd]
    for v in odd:
        r = x[rng.integers(len(x))].copy()
        r[rng.integers(x.shape[1])] = v
        r[3] = v
        extra.append(r)
    return np.vstack([rows, extra])


def number(v):
    v = float(v)
    if math.isnan(v):
        return None
    return repr(v) if math.isinf(v) else v


def listing(a):
    a = np.asarray(a, dtype=np.float64)
    return [[number(v) for v in r] for r in a.reshape(len(a), -1)]


def write(name, text, rng, x):
    text = re.sub(r"\nparameters:.*?end of parameters\n", "\n", text, flags=re.S)
    text = re.sub(r"\npandas_categorical:.*", "\n", text)
    booster = lgb.Booster(model_str=text)
    rows = edge_rows(rng, booster, x)
    record = {"lightgbm": lgb.__version__, "rows": listing(rows),
              "predict": listing(booster.predict(rows, num_threads=1)),
              "raw": listing(booster.predict(rows, raw_score=True, num_threads=1))}
    (HERE / f"{name}.txt").write_text(text)
    body = json.dumps(record, allow_nan=False).replace("]], ", "]],\n").replace("], [", "],\n[")
    (HERE / f"{name}.json").write_text(body + "\n")


def train(name, params, label, rounds=12, missing=0.0, fobj=None, categorical="auto", seed=1, n=600, group=None):
    rng = np.random.default_rng(seed)
    x = table(rng, n)
    if missing:
        x[rng.random(x.shape) < missing] = np.nan
    y = label(rng, signal(x))
    data = lgb.Dataset(x, y, categorical_feature=categorical, group=group, free_raw_data=False)
    p = {**COMMON, **params}
    if fobj is not None:
        p["objective"] = fobj
    text = lgb.train(p, data, rounds).model_to_string()
    write(name, text, rng, x)
    return text, rng, x


def main():
    real = lambda rng, s: s + 0.1 * rng.normal(size=len(s))
    positive = lambda rng, s: np.exp(0.5 * s) + 0.01
    counts = lambda rng, s: rng.poisson(np.exp(0.5 * s)).astype(float)
    coin = lambda rng, s: (rng.random(len(s)) < 1 / (1 + np.exp(-s))).astype(float)
    share = lambda rng, s: 1 / (1 + np.exp(-s))
    classes = lambda rng, s: np.digitize(s, [-0.5, 0.7]).astype(float)
    big = lambda rng, s: 1e3 * s - 200
    grades = lambda rng, s: np.digitize(s, [-1, 0, 1]).astype(float)

    v4, rng, x = train("binary", {"objective": "binary"}, coin)
    v3 = v4.replace("version=v4", "version=v3")
    write("binary_v3", v3, rng, x)
    v2 = v4.replace("version=v4", "version=v2").replace("is_linear=0\n", "").replace("end of trees\n", "")
    v2 = re.sub(r"tree_sizes=.*\n", "", v2)
    v2 = re.sub(r"leaf_weight=.*\n|internal_weight=.*\n", "", v2).replace("feature_importances:", "feature importances:")
    write("binary_v2", v2, rng, x)
    train("binary_sigmoid", {"objective": "binary", "sigmoid": 2.5}, coin)
    train("binary_nan", {"objective": "binary"}, coin, missing=0.15)
    train("binary_zero", {"objective": "binary", "zero_as_missing": True}, coin, missing=0.1)
    train("binary_none", {"objective": "binary", "use_missing": False}, coin, missing=0.1)
    train("binary_category", {"objective": "binary", "cat_smooth": 1, "min_data_per_group": 5}, coin, categorical=[1, 3])
    train("binary_category_nan", {"objective": "binary", "cat_smooth": 1, "min_data_per_group": 5}, coin,
          categorical=[1, 3], missing=0.1)
    train("binary_onehot", {"objective": "binary", "max_cat_to_onehot": 100, "min_data_per_group": 5}, coin, categorical=[1, 3],
          missing=0.1)
    train("binary_deep", {"objective": "binary", "num_leaves": 64, "min_data_in_leaf": 1}, coin, rounds=6, n=900)
    train("binary_wide", {"objective": "binary", "num_leaves": 100, "min_data_in_leaf": 1}, coin, rounds=5, n=900)
    train("binary_stump", {"objective": "binary", "num_leaves": 2}, coin, rounds=9)
    train("binary_constant", {"objective": "binary", "min_data_in_leaf": 1000}, coin, rounds=3)
    train("rf", {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}, coin)
    train("dart", {"objective": "binary", "boosting": "dart", "drop_rate": 0.5}, coin)
    train("regression", {"objective": "regression"}, real)
    train("regression_sqrt", {"objective": "regression", "reg_sqrt": True}, big)
    train("regression_l1", {"objective": "regression_l1"}, real, rounds=6)
    train("huber", {"objective": "huber"}, real, rounds=6)
    train("fair", {"objective": "fair"}, real, rounds=6)
    train("quantile", {"objective": "quantile", "alpha": 0.3}, real, rounds=6)
    train("mape", {"objective": "mape"}, positive, rounds=6)
    train("poisson", {"objective": "poisson"}, counts, rounds=8)
    train("gamma", {"objective": "gamma"}, positive, rounds=8)
    train("tweedie", {"objective": "tweedie", "tweedie_variance_power": 1.3}, counts, rounds=8)
    train("cross_entropy", {"objective": "cross_entropy"}, share, rounds=8)
    train("cross_entropy_lambda", {"objective": "cross_entropy_lambda"}, share, rounds=8)
    train("multiclass", {"objective": "multiclass", "num_class": 3}, classes, rounds=5)
    train("multiclassova", {"objective": "multiclassova", "num_class": 3, "sigmoid": 1.5}, classes, rounds=5, missing=0.1)
    train("multiclass_rf", {"objective": "multiclass", "num_class": 3, "boosting": "rf", "bagging_freq": 1,
                            "bagging_fraction": 0.6}, classes, rounds=4)
    train("lambdarank", {"objective": "lambdarank"}, grades, rounds=6, group=[20] * 30)
    train("rank_xendcg", {"objective": "rank_xendcg"}, grades, rounds=6, group=[20] * 30)
    train("custom", {}, real, rounds=4, fobj=lambda p, d: (p - d.get_label(), np.ones_like(p)))

    # A linear tree, to be refused.
    rng = np.random.default_rng(3)
    x = table(rng, 300)
    linear = lgb.train({**COMMON, "objective": "regression", "linear_tree": True}, lgb.Dataset(x, signal(x)), 2)
    (HERE / "refused_linear.txt").write_text(re.sub(r"\nparameters:.*?end of parameters\n", "\n", linear.model_to_string(), flags=re.S))


if __name__ == "__main__":
    main()
