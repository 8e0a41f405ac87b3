"""Turn a pickled LightGBM model into LightGBM's text, which `serin image` packs and `serin scorer` serves.

    pip install lightgbm numpy joblib
    python convert.py driver_model.pkl --out driver.txt

Takes a Booster, or a scikit-learn style LGBMModel (LGBMClassifier and the like), saved by pickle or joblib. Before the text
is written it is read back and must give the same predictions, bit for bit, on made-up rows.

A pickle is a program: reading one runs it. Convert only files of your own.
"""
import argparse
import os
import pickle
import sys

import lightgbm
import numpy

ROWS = 1000


def load(path):
    """The object in a file, as joblib or pickle wrote it."""
    try:
        import joblib
    except ImportError:
        joblib = None
    try:
        if joblib:
            return joblib.load(path)
        with open(path, "rb") as f:
            return pickle.load(f)
    except FileNotFoundError:
        sys.exit(f"{path}: there is no such file")
    except Exception as e:  # whatever the pickle does
        more = "" if joblib else "; if joblib wrote it: pip install joblib"
        sys.exit(f"{path}: cannot be read as a pickle ({type(e).__name__}: {e}){more}")


def booster_of(thing, path):
    """The Booster of what was pickled."""
    if isinstance(thing, lightgbm.Booster):
        return thing
    if isinstance(thing, lightgbm.LGBMModel):
        try:
            return thing.booster_
        except Exception as e:
            sys.exit(f"{path}: the {type(thing).__name__} in it was never fitted ({e})")
    sys.exit(f"{path}: holds a {type(thing).__module__}.{type(thing).__name__}, not a LightGBM Booster or LGBMModel; of a pipeline, pickle its LightGBM step alone")


def text_of(booster, trees):
    """The model's text, after it gave the same predictions as the model."""
    text = booster.model_to_string(num_iteration=trees)
    rng = numpy.random.default_rng(0)
    x = rng.normal(scale=10, size=(ROWS, booster.num_feature())).round(1)
    x[rng.random(x.shape) < 0.1] = numpy.nan
    x[rng.random(x.shape) < 0.1] = -1
    want = booster.predict(x, num_iteration=trees)
    got = lightgbm.Booster(model_str=text).predict(x)
    if not numpy.array_equal(want, got):
        sys.exit(f"the text gives other predictions than the model (by up to {numpy.abs(want - got).max():g}): nothing was written")
    return text


def main():
    p = argparse.ArgumentParser(description="Turn a pickled LightGBM model into LightGBM's text.")
    p.add_argument("pickle", help="the pickled model")
    p.add_argument("--out", required=True, help="where the text goes")
    p.add_argument("--all-trees", action="store_true", help="keep the trees after the best iteration (default: up to it, as predict does)")
    a = p.parse_args()
    booster = booster_of(load(a.pickle), a.pickle)
    trees = -1 if a.all_trees or booster.best_iteration <= 0 else booster.best_iteration
    text = text_of(booster, trees)
    part = a.out + ".part"
    with open(part, "w") as f:
        f.write(text)
    os.replace(part, a.out)
    count = trees if trees > 0 else booster.num_trees()
    print(f"{a.out}: {count} iterations, {booster.num_feature()} features")


if __name__ == "__main__":
    main()
