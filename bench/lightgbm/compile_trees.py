#!/usr/bin/env python3
"""compile_trees.py FOLDER: writes FOLDER/tl2cgen/*.c and FOLDER/lleaves.o from FOLDER/model.txt (takes a minute)."""
import sys

import lleaves
import tl2cgen
import treelite

folder = sys.argv[1]
model = treelite.frontend.load_lightgbm_model(f"{folder}/model.txt")
tl2cgen.generate_c_code(model, dirpath=f"{folder}/tl2cgen", params={"parallel_comp": 8})
lleaves.Model(model_file=f"{folder}/model.txt").compile(cache=f"{folder}/lleaves.o")
