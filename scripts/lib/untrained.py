"""Builds the networks whose trained weights no package registry has, with weights made up. They take the time that the
trained ones take, since a convolution's time does not depend on its numbers; what they say about a face means nothing.

Usage: untrained.py NETWORK FILE
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Network:
    def __init__(self, name, shape):
        self.name, self.nodes, self.weights = name, [], []
        self.rng = np.random.default_rng(1)
        self.input = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)

    def weight(self, values):
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.float32), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def node(self, operation, inputs, **attributes):
        self.nodes.append(helper.make_node(operation, inputs, [f"n{len(self.nodes)}"], **attributes))
        return self.nodes[-1].output[0]

    def normal(self, shape, fan_in):
        return self.weight(self.rng.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(2 / fan_in)))

    def conv(self, x, channels, out, size, stride=1, pad=None):
        w = self.normal((out, channels, size, size), channels * size * size)
        pads = [size // 2 if pad is None else pad] * 4
        return self.node(
            "Conv", [x, w, self.weight(np.zeros(out))], kernel_shape=[size] * 2, strides=[stride] * 2, pads=pads
        )

    def norm(self, x, channels):
        ones, zeros = np.ones(channels), np.zeros(channels)
        return self.node("BatchNormalization", [x, *map(self.weight, (ones, zeros, zeros, ones))])

    def prelu(self, x, channels):
        return self.node("PRelu", [x, self.weight(np.full((channels, 1, 1), 0.25))])

    def save(self, path, x, size):
        output = helper.make_tensor_value_info(x, TensorProto.FLOAT, ["N", size])
        graph = helper.make_graph(self.nodes, self.name, [self.input], [output], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, path)


def iresnet50(path):
    """The recogniser of InsightFace's packs buffalo_l and buffalo_m (w600k_r50): arcface_torch's iresnet50, where what
    follows a convolution at once is folded into it, as in InsightFace's own files."""
    n = Network("iresnet50", ["N", 3, 112, 112])
    x, channels = n.prelu(n.conv("input", 3, 64, 3), 64), 64
    for out, blocks in ((64, 3), (128, 4), (256, 14), (512, 3)):
        for i in range(blocks):
            stride = 2 if i == 0 else 1
            side = n.conv(x, channels, out, 1, stride) if i == 0 else x
            y = n.prelu(n.conv(n.norm(x, channels), channels, out, 3), out)
            x, channels = n.node("Add", [n.conv(y, out, out, 3, stride), side]), out
    x = n.node("Flatten", [n.norm(x, channels)])
    x = n.node("Gemm", [x, n.normal((512 * 7 * 7, 512), 512 * 49), n.weight(np.zeros(512))])
    n.save(path, x, 512)


def vgg_face(path):
    """DeepFace's default recogniser, VGG-Face (Parkhi et al. 2015), without its classifier, as DeepFace uses it."""
    n = Network("vgg_face", ["N", 224, 224, 3])
    x, channels = n.node("Transpose", ["input"], perm=[0, 3, 1, 2]), 3
    for out, convs in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convs):
            x, channels = n.node("Relu", [n.conv(x, channels, out, 3)]), out
        x = n.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = n.node("Relu", [n.conv(x, 512, 4096, 7, pad=0)])
    x = n.node("Flatten", [n.conv(x, 4096, 4096, 1)])
    n.save(path, x, 4096)


if __name__ == "__main__":
    {"iresnet50": iresnet50, "vgg_face": vgg_face}[sys.argv[1]](sys.argv[2])
