"""Entry script for Azure ML's inference server: the OpenHack's score.py, with the model as LightGBM text instead of a pickle."""
import json
import os

import lightgbm
import numpy


def init():
    global booster
    booster = lightgbm.Booster(model_file=os.path.join(os.environ["AZUREML_MODEL_DIR"], os.environ["MODEL_NAME"]))


def run(raw_data, request_headers):
    data = numpy.array(json.loads(raw_data)["data"])
    result = booster.predict(data)
    print(json.dumps({
        "RequestId": request_headers.get("X-Ms-Request-Id", ""), "TraceParent": request_headers.get("Traceparent", ""), "NumberOfPredictions": len(result),
    }))
    return {"result": result.tolist()}
