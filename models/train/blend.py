#!/usr/bin/env python3
"""Blends the weights of a tuned recogniser with those it was tuned from: (1 - share) * base + share * tuned.

Half way keeps the gain across age and gives back most of what tuning costs elsewhere (Wortsman et al. 2022, WiSE-FT). Both
files must hold the same network. The result has the base's graph; what only the base has is kept: how it spells its PReLUs,
whose slopes tuning leaves alone. Usage: blend.py BASE TUNED OUT [SHARE]
"""
import sys

import numpy as np
import onnx
from onnx import numpy_helper


def main(base, tuned, out, share=0.5):
    new = {i.name: numpy_helper.to_array(i) for i in onnx.load(tuned).graph.initializer}
    model = onnx.load(base)
    blended = 0
    for weight in model.graph.initializer:
        was = numpy_helper.to_array(weight)
        now = new.get(weight.name)
        if now is None or was.dtype != np.float32:
            continue
        if was.size != now.size:
            sys.exit(f"{weight.name} has {was.size} numbers in {base} and {now.size} in {tuned}: these are two networks")
        mixed = ((1 - share) * was + share * now.reshape(was.shape)).astype(np.float32)
        mixed[np.abs(mixed) < 1e-20] = 0
        weight.CopyFrom(numpy_helper.from_array(mixed, weight.name))
        blended += 1
    if blended == 0:
        sys.exit("the two files have no weights in common")
    onnx.checker.check_model(model)
    onnx.save(model, out)
    print(f"{out}: {blended} of {len(model.graph.initializer)} weights blended")


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(*sys.argv[1:4], *map(float, sys.argv[4:]))
