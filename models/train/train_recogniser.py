import numpy as np, onnx, torch
from onnx import helper, numpy_helper
import torch.nn as nn, torch.nn.functional as F


def plain_graph(path):
    """Read a recogniser and write its PReLUs, however a converter spelt them, as PRelu nodes: faster to run and to train.

    TensorFlow Lite spells PReLU as relu(x) + reshape(a) * (x - |x|)."""
    model = onnx.load(path)
    graph = model.graph
    made = {out: node for node in graph.node for out in node.output}
    const = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    nodes, new = [], []
    for node in graph.node:
        if node.op_type == "Add":
            sides = [made.get(name) for name in node.input]
            relu = next((s for s in sides if s is not None and s.op_type == "Relu"), None)
            mul = next((s for s in sides if s is not None and s.op_type == "Mul"), None)
            if relu is not None and mul is not None:
                sub = next(made[n] for n in mul.input if n in made and made[n].op_type == "Sub")
                other = next(n for n in mul.input if n != sub.output[0])
                print(mul.input, [made[n].op_type if n in made else const[n].shape for n in mul.input])
                return
    return model

if __name__=="__main__":
    m=onnx.load("/work/main/models/weights/mobilefacenet.onnx")
    const = {i.name: numpy_helper.to_array(i) for i in m.graph.initializer}
    for n in m.graph.node[:24]: print(n.op_type,n.name, [ (i, const[i].shape if i in const else None) for i in n.input], list(n.output))
    for k,v in const.items():
        if v.size<5: print(k,v)
    for n in m.graph.node:
        if n.op_type=="Conv": print({a.name: helper.get_attribute_value(a) for a in n.attribute}, const[n.input[1]].shape)
    m=onnx.load("/work/main/models/weights/fr_feature.onnx")
    const = {i.name: numpy_helper.to_array(i) for i in m.graph.initializer}
    for n in m.graph.node:
        if n.op_type=="Conv": print({a.name: helper.get_attribute_value(a) for a in n.attribute}, const[n.input[1]].shape)
    print([const[n.input[1]].shape for n in m.graph.node if n.op_type=="PRelu"][:3], m.graph.node[-1], const[m.graph.node[-1].input[1]])
