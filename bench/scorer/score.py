"""The entry script of the other side: the OpenHack's score.py, with the model as LightGBM text instead of a pickle."""
import json
import os

import lightgbm
import numpy


def init():
    global booster
    booster = lightgbm.Booster(model_file=os.environ["MODEL_PATH"])


def run(raw_data, request_headers):
    data = numpy.array(json.loads(raw_data)["data"])
    result = booster.predict(data, num_threads=int(os.environ["PREDICT_THREADS"]))  # 0: LightGBM's default, as in the original
    print(json.dumps({
        "RequestId": request_headers.get("X-Ms-Request-Id", ""), "TraceParent": request_headers.get("Traceparent", ""), "NumberOfPredictions": len(result),
    }))
    return {"result": result.tolist()}
