"""Conversions of model weights, as the cards in models/ name them (File.Convert).

Usage: convert.py SOURCE TARGET CONVERSION...

Each takes the model the one before it left. The result depends on nothing but the source and the versions pinned in
requirements.txt, byte for byte: the card holds its sha256.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

# Weights smaller than this are zero for every purpose, but they or their products are denormal numbers, which
# processors handle many times slower.
TINY = 1e-20


def tflite_to_onnx(source):
    """Translates a TFLite model; its layout becomes NCHW."""
    # Here and not above: it is slow to load, and only one model needs it.
    import tflite2onnx

    with tempfile.TemporaryDirectory() as folder:
        # The translator tells the format by the file's ending.
        tflite, target = Path(folder, "model.tflite"), Path(folder, "model.onnx")
        tflite.write_bytes(Path(source).read_bytes())
        tflite2onnx.convert(str(tflite), str(target))
        model = onnx.load(target)
    return model


def dynamic_batch(model):
    """Lets the model take any number of pictures at once."""
    for value in [*model.graph.input, *model.graph.output]:
        dimension(value, 0, "N")
    return reshapes_keep_batch(model)


def dynamic_size(model):
    """Lets a fully convolutional model take pictures of any size: only its declared shapes stand in the way."""
    for value in model.graph.input:
        dimension(value, 2, "height")
        dimension(value, 3, "width")
    for value in model.graph.output:
        # The outputs are a fixed fraction of the input, which ONNX cannot say: each name of a size must be its own.
        dimension(value, 2, "rows")
        dimension(value, 3, "columns")
    return model


def constant_weights(model):
    """Declares weights as constants. As inputs that a caller may replace they keep the runtime from folding them."""
    weights = {w.name for w in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model


def zero_tiny_weights(model):
    """Makes every weight below TINY zero."""
    for w in model.graph.initializer:
        if w.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(w)
        tiny = (np.abs(values) < TINY) & (values != 0)
        if tiny.any():
            w.CopyFrom(numpy_helper.from_array(np.where(tiny, np.float32(0), values), w.name))
    return model


def fuse_prelu(model):
    """Joins relu(x) + (alpha/2)·(x − |x|), as TensorFlow writes it, into PRelu(x, alpha): the same numbers, sooner."""
    graph = model.graph
    maker = {output: node for node in graph.node for output in node.output}
    weights = {w.name: w for w in graph.initializer}
    users = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)

    def made_by(name, op):
        node = maker.get(name)
        return node if node is not None and node.op_type == op else None

    def match(add):
        """The parts of the pattern that ends in this addition: x, the constant alpha/2 and the nodes to drop."""
        for positive, negative in (add.input, reversed(add.input)):
            relu, scaled = made_by(positive, "Relu"), made_by(negative, "Mul")
            if relu is None or scaled is None:
                continue
            x = relu.input[0]
            for constant, difference in (scaled.input, reversed(scaled.input)):
                reshape, sub = made_by(constant, "Reshape"), made_by(difference, "Sub")
                if reshape is None or sub is None or reshape.input[0] not in weights or sub.input[0] != x:
                    continue
                magnitude = made_by(sub.input[1], "Abs")
                if magnitude is None or magnitude.input[0] != x:
                    continue
                inner = [relu, scaled, reshape, sub, magnitude]
                if all(len(users[n.output[0]]) == 1 for n in inner):
                    return x, weights[reshape.input[0]], inner
        return None

    nodes, dropped = [], set()
    for node in graph.node:
        found = match(node) if node.op_type == "Add" else None
        if found is None:
            nodes.append(node)
            continue
        x, half, inner = found
        slope = (2 * numpy_helper.to_array(half)).reshape(-1, 1, 1)
        name = node.output[0] + "/slope"
        graph.initializer.append(numpy_helper.from_array(slope, name))
        dropped.update(n.output[0] for n in inner)
        nodes.append(onnx.helper.make_node("PRelu", [x, name], list(node.output), name=node.name))
    nodes = [n for n in nodes if n.output[0] not in dropped]
    if len(nodes) == len(graph.node):
        raise ValueError("the model has no activation to join")
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def dimension(value, axis, name):
    value.type.tensor_type.shape.dim[axis].dim_param = name


def reshapes_keep_batch(model):
    """Makes reshapes of pictures into vectors keep however many pictures there are."""
    weights = {w.name: w for w in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Reshape" or node.input[0] in weights:
            continue
        shape = numpy_helper.to_array(weights[node.input[1]])
        if len(shape) != 2:
            raise ValueError(f"{node.name or node.output[0]} reshapes to {shape.tolist()}, not to a vector a picture")
        # 0 is ONNX for "as it was".
        weights[node.input[1]].CopyFrom(numpy_helper.from_array(np.array([0, -1], dtype=np.int64), node.input[1]))
    return model


def canonical(model):
    """Drops what is not used or only restates the graph, and puts the rest in an order that no run changes."""
    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    weights = sorted((w for w in graph.initializer if w.name in used), key=lambda w: w.name)
    weights = [onnx.TensorProto.FromString(w.SerializeToString(deterministic=True)) for w in weights]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


CONVERSIONS = {
    f.__name__: f
    for f in (tflite_to_onnx, dynamic_batch, dynamic_size, constant_weights, zero_tiny_weights, fuse_prelu)
}


def main(source, target, *names):
    unknown = [n for n in names if n not in CONVERSIONS]
    if unknown or not names:
        sys.exit(f"convert: unknown conversion {', '.join(unknown) or '(none given)'}; known: {', '.join(CONVERSIONS)}")
    model = source if names[0] == tflite_to_onnx.__name__ else onnx.load(source)
    for name in names:
        model = CONVERSIONS[name](model)
    Path(target).write_bytes(canonical(model).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
