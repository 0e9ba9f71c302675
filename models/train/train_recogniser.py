#!/usr/bin/env python3
"""Fine-tunes a small face recogniser so that a child's photo matches the same person's photo as an adult.

Inputs are the folders that `homeward embed MANIFEST --out FOLDER` writes: chips.npy (faces, 112, 112, 3; RGB) and
faces.csv (path,subject,age,side,looks,looks_sd,quality). See README.md for the data and the recipe.
"""
import argparse
import concurrent.futures
import csv
import io
import math
import pathlib
import time

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn as nn
import torch.nn.functional as F
from onnx import helper, numpy_helper
from PIL import Image, ImageFilter


# How each network wants its input: colour, and (x - mean) / scale.
NORM = {"fr_feature": ("BGR", 127.0, 128.0), "mobilefacenet": ("RGB", 127.5, 128.0)}


def plain_graph(path):
    """Read a recogniser as Conv, PRelu, Add and a last Reshape only.

    A converter from TensorFlow Lite spells PReLU as relu(x) + a * (x - |x|) and ends with a Transpose of a 1x1 map:
    one PRelu node of slope 2a is the same function, and faster to train (but slower to run: export keeps the spelling)."""
    model = onnx.load(path)
    graph = model.graph
    const = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    made = {out: node for node in graph.node for out in node.output}
    nodes, slopes, renamed = [], [], {}
    for node in graph.node:
        sides = [made[name] for name in node.input if name in made] if node.op_type == "Add" else []
        kinds = {side.op_type: side for side in sides}
        if {"Relu", "Mul"} <= set(kinds):
            slope = next(made[name].input[0] for name in kinds["Mul"].input if made[name].op_type == "Reshape")
            name = node.output[0] + "_slope"
            slopes.append(numpy_helper.from_array(2 * const[slope].reshape(-1, 1, 1), name))
            nodes.append(helper.make_node("PRelu", [kinds["Relu"].input[0], name], node.output))
        elif node.op_type == "Transpose":
            renamed[node.output[0]] = node.input[0]
        elif node.op_type in ("Conv", "PRelu", "Add", "Reshape"):
            if node.op_type == "Reshape" and node.output[0] != graph.output[0].name:
                continue
            nodes.append(node)
    nodes = [helper.make_node(n.op_type, [renamed.get(i, i) for i in n.input], n.output,
                              **{a.name: helper.get_attribute_value(a) for a in n.attribute}) for n in nodes]
    used = {name for node in nodes for name in node.input}
    kept = [i for i in list(graph.initializer) + slopes if i.name in used]
    plain = helper.make_graph(nodes, "recogniser", graph.input[:1], graph.output[:1], kept)
    out = helper.make_model(plain, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)
    onnx.checker.check_model(out)
    return out


class PRelu(torch.autograd.Function):
    """PReLU with fixed slopes: half the time of PyTorch's, whose gradient of the slopes is slow on a CPU."""

    @staticmethod
    def forward(ctx, x, slope):
        ctx.save_for_backward(x, slope)
        return F.prelu(x, slope)

    @staticmethod
    def backward(ctx, grad):
        x, slope = ctx.saved_tensors
        slope = slope.view(1, -1, 1, 1)
        return torch.addcmul(grad * slope, torch.ops.aten.threshold_backward(grad, x, 0), 1 - slope), None


class Recogniser(nn.Module):
    """The network of a plain graph; its weights can be written back into the graph."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.weights = nn.ParameterDict()
        self.keys = {}
        for init in model.graph.initializer:
            value = numpy_helper.to_array(init)
            if value.dtype == np.float32:
                self.keys[init.name] = f"w{len(self.keys)}"
                self.weights[self.keys[init.name]] = nn.Parameter(torch.tensor(value))
        slopes = [node.input[1] for node in model.graph.node if node.op_type == "PRelu"]
        for name in slopes:
            self.weights[self.keys[name]].requires_grad_(False)
        self.ops = []
        for node in model.graph.node:
            attr = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            self.ops.append((node.op_type, list(node.input), node.output[0], attr))

    def forward(self, x):
        values = {self.model.graph.input[0].name: x}
        w = lambda name: self.weights[self.keys[name]]
        for kind, inputs, out, attr in self.ops:
            v = values[inputs[0]]
            if kind == "Conv":
                top, left, bottom, right = attr["pads"]
                pad = (top, left)
                if (top, left) != (bottom, right):
                    v, pad = F.pad(v, (left, right, top, bottom)), 0
                v = F.conv2d(v, w(inputs[1]), w(inputs[2]), attr["strides"], pad, groups=attr["group"])
            elif kind == "PRelu":
                v = PRelu.apply(v, w(inputs[1]).flatten())
            elif kind == "Add":
                v = v + values[inputs[1]]
            else:
                v = v.flatten(1)
            values[out] = v
        return v


class Faces:
    """A folder of chips, and who is on them."""

    def __init__(self, folder, min_quality=0.0):
        folder = pathlib.Path(folder)
        self.chips = np.load(folder / "chips.npy", mmap_mode="r")
        with open(folder / "faces.csv", newline="") as f:
            rows = list(csv.DictReader(f))
        self.subject = np.array([r["subject"] for r in rows])
        self.side = np.array([r["side"] for r in rows])
        self.looks = np.array([float(r["looks"] or "nan") for r in rows])
        self.age = np.array([float(r["age"] or "nan") for r in rows])
        quality = np.array([float(r["quality"] or "nan") for r in rows])
        self.good = ~(quality < min_quality)

    def by_subject(self, rows):
        found = {}
        for row in rows:
            found.setdefault(self.subject[row], []).append(row)
        return found


def held_out(subjects, fold, folds=5):
    """The subjects of one fold: the same split for every recogniser and every run."""
    unique = np.unique(subjects)
    order = np.random.RandomState(2026).permutation(len(unique))
    return set(unique[order[np.arange(len(unique)) % folds == fold]])


class Pairs:
    """Draws batches: the two ages of some people, relatives of one another, and strange children."""

    def __init__(self, args, rng):
        self.args, self.rng = args, rng
        self.lag = Faces(args.lag)
        out = held_out(self.lag.subject, args.hold_out) if args.hold_out is not None else set()
        rows = [i for i in range(len(self.lag.subject)) if self.lag.subject[i] not in out]
        young = self.lag.by_subject(i for i in rows if self.lag.side[i] == "young")
        old = self.lag.by_subject(i for i in rows if self.lag.side[i] == "old")
        self.people = [(young[s], old[s]) for s in sorted(set(young) & set(old))]
        self.turn = []
        self.families = []
        if args.fiw:
            self.fiw = Faces(args.fiw, args.min_quality)
            family = {}
            for s, photos in self.fiw.by_subject(np.flatnonzero(self.fiw.good)).items():
                if len(photos) > 1:
                    family.setdefault(s.split("-")[0], []).append(photos)
            self.families = [family[f] for f in sorted(family)]
        self.children = []
        if args.children:
            self.strangers = Faces(args.children, args.min_quality)
            self.children = np.flatnonzero(self.strangers.good & (self.strangers.age <= 13))
        print(f"{len(self.people)} people with two ages, {len(self.families)} families, {len(self.children)} strange children",
              flush=True)

    def draw(self):
        """Chips, a label per chip (the same person: the same label; -1: nobody else's) and its side (0, 1)."""
        rng, args = self.rng, self.args
        chips, label, side = [], [], []
        for _ in range(args.people):
            if not self.turn:
                self.turn = list(rng.permutation(len(self.people)))
            person = self.turn.pop()
            for s, photos in enumerate(self.people[person]):
                chips.append(self.lag.chips[rng.choice(photos)])
                label.append(person)
                side.append(s)
        if self.families:
            for f in rng.choice(len(self.families), args.families, replace=False):
                members = self.families[f]
                # Two relatives of one family: each is the other's hard negative.
                for m in rng.choice(len(members), min(2, len(members)), replace=False):
                    for s, photo in enumerate(rng.choice(members[m], 2, replace=False)):
                        chips.append(self.fiw.chips[photo])
                        label.append(100000 + 1000 * f + m)
                        side.append(s)
        if len(self.children):
            for c in rng.choice(self.children, args.strangers, replace=False):
                chips.append(self.strangers.chips[c])
                label.append(-1)
                side.append(0)
        return np.stack(chips), torch.tensor(label), torch.tensor(side)


def augment(chips, rng):
    """What happens to photos in albums: turned, faded, grey, small, blurred, pressed."""
    out = np.empty((len(chips), 112, 112, 3), np.float32)
    for i, chip in enumerate(chips):
        image = Image.fromarray(chip)
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        # The landmarks are never quite right: turn, scale and shift a little about the centre.
        turn, scale = rng.normal(0, 0.04), math.exp(rng.normal(0, 0.03))
        dx, dy = rng.uniform(-3, 3, 2)
        c, s = math.cos(turn) / scale, math.sin(turn) / scale
        image = image.transform((112, 112), Image.Transform.AFFINE,
                                (c, -s, 56 + dx - 56 * c + 56 * s, s, c, 56 + dy - 56 * s - 56 * c), Image.Resampling.BILINEAR)
        if rng.random() < 0.25:
            small = int(rng.uniform(32, 90))
            image = image.resize((small, small), Image.Resampling.BOX).resize((112, 112), Image.Resampling.BICUBIC)
        if rng.random() < 0.15:
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.5)))
        if rng.random() < 0.2:
            pressed = io.BytesIO()
            image.save(pressed, "JPEG", quality=int(rng.uniform(15, 70)))
            image = Image.open(pressed)
        x = np.asarray(image, np.float32)
        if rng.random() < 0.2:
            x = np.repeat(x @ np.float32([[0.299], [0.587], [0.114]]), 3, axis=2)
        if rng.random() < 0.3:
            x = x * rng.uniform(0.85, 1.15, 3).astype(np.float32)
        if rng.random() < 0.6:
            x = (x - x.mean()) * np.float32(rng.uniform(0.7, 1.25)) + x.mean() * np.float32(rng.uniform(0.75, 1.25))
        if rng.random() < 0.1:
            x = x + rng.normal(0, rng.uniform(2, 8), x.shape).astype(np.float32)
        out[i] = np.clip(x, 0, 255)
    return out


def tensor(chips, kind):
    """Chips as the recogniser wants them; see NORM."""
    colour, mean, scale = NORM[kind]
    x = np.asarray(chips, np.float32)
    if colour == "BGR":
        x = x[..., ::-1]
    x = torch.from_numpy(np.ascontiguousarray((x - mean) / scale))
    return x.permute(0, 3, 1, 2)  # channels last in memory: the faster layout on a CPU


def contrast(e, label, side, tau):
    """InfoNCE both ways between the two sides of each person; everyone else in the batch is a negative."""
    logits = e @ e.T / tau
    same = (label[:, None] == label[None]) & (label[:, None] >= 0)
    positive = same & (side[:, None] != side[None])
    negatives = torch.logsumexp(logits.masked_fill(same | torch.eye(len(e), dtype=torch.bool), -1e9), 1)
    pull = (logits * positive).sum(1) / positive.sum(1).clamp(min=1)
    return F.softplus(negatives - pull)[positive.any(1)].mean()


def export(net, base, path):
    """Write the network's weights into the graph it came from. Slopes are not tuned, so their spelling can stay."""
    state = {name: net.weights[key].detach().numpy() for name, key in net.keys.items() if net.weights[key].requires_grad}
    model = onnx.load(base)
    for init in model.graph.initializer:
        if init.name in state:
            w = np.ascontiguousarray(state[init.name]).copy()
            w[np.abs(w) < 1e-20] = 0  # denormal numbers are slow
            init.CopyFrom(numpy_helper.from_array(w, init.name))
    onnx.checker.check_model(model)
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def embed(path, chips, kind):
    """Unit embeddings, chip and mirror image summed, by ONNX Runtime as the engine does it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    out = []
    for start in range(0, len(chips), 32):
        x = tensor(chips[start:start + 32], kind).contiguous().numpy()
        both = session.run(None, {session.get_inputs()[0].name: np.concatenate([x, x[..., ::-1]])})[0]
        out.append(both[:len(x)] + both[len(x):])
    out = np.concatenate(out)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def figures(scores, probe, gallery, looks):
    """Rank 1 and 10 of young photos in the gallery of old ones, and the share of mated pairs found at a false-match rate."""
    names = np.unique(gallery)
    best = np.stack([scores[:, gallery == n].max(1) for n in names], 1)
    own = best[np.arange(len(probe)), np.searchsorted(names, probe)]
    rank = (best > own[:, None]).sum(1)
    mated = probe[:, None] == gallery[None]
    out = {"rank1": (rank < 1).mean(), "rank10": (rank < 10).mean()}
    for far in (1e-3, 1e-2):
        out[f"tar@{far:g}"] = (scores[mated] > np.quantile(scores[~mated], 1 - far)).mean()
    small = looks < 6
    out["rank1<6"], out["rank10<6"] = (rank[small] < 1).mean(), (rank[small] < 10).mean()
    return out


def evaluate(lag, fold, recognisers):
    """Figures on the held-out fold of each (name, path, kind), and of their summed cosines."""
    out = held_out(lag.subject, fold)
    both = {s for s in out if {"young", "old"} <= set(lag.side[lag.subject == s])}
    rows = np.flatnonzero([s in both for s in lag.subject])
    young = lag.side[rows] == "young"
    probe, gallery, looks = lag.subject[rows][young], lag.subject[rows][~young], lag.looks[rows][young]
    total = 0
    for name, path, kind in recognisers:
        e = embed(path, lag.chips[rows], kind)
        scores = e[young] @ e[~young].T
        total = total + scores
        print(f"{name:32}", " ".join(f"{k} {v:.3f}" for k, v in figures(scores, probe, gallery, looks).items()), flush=True)
    if len(recognisers) > 1:
        print(f"{'sum':32}", " ".join(f"{k} {v:.3f}" for k, v in figures(total, probe, gallery, looks).items()), flush=True)


def train(args):
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    pairs = Pairs(args, rng)
    model = plain_graph(args.base)
    net = Recogniser(model).to(memory_format=torch.channels_last)
    ema = {k: v.detach().clone() for k, v in net.weights.items()}
    params = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(params, lr=args.lr, betas=(0.9, 0.99), weight_decay=0)
    # Two workers of one thread each: on a shared machine far faster than one of two threads, which wait for each other.
    workers = concurrent.futures.ThreadPoolExecutor(2)
    loader = concurrent.futures.ThreadPoolExecutor(1)

    def load():
        chips, label, side = pairs.draw()
        return tensor(augment(chips, rng), args.kind), label, side

    def forward(parts):
        torch.set_num_threads(1)
        return [net(part) for part in parts]

    def backward(outs, grads):
        return torch.autograd.grad(outs, params, grads)

    began, mean = time.time(), None
    coming = loader.submit(load)
    for step in range(args.steps):
        x, label, side = coming.result()
        coming = loader.submit(load)
        for group in optimiser.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / args.warmup) * (0.5 + 0.5 * math.cos(math.pi * step / args.steps))
        parts = list(x.split(min(14, (len(x) + 1) // 2)))
        half = (len(parts) + 1) // 2
        outs = list(workers.map(forward, [parts[:half], parts[half:]]))
        leaf = torch.cat([o.detach() for some in outs for o in some]).requires_grad_()
        loss = contrast(F.normalize(leaf), label, side, args.tau)
        loss.backward()
        grads = list(leaf.grad.split([len(p) for p in parts]))
        got = list(workers.map(backward, outs, [grads[:half], grads[half:]]))
        for p, a, b in zip(params, *got):
            p.grad = a + b
        optimiser.step()
        keep = min(args.ema, (step + 1) / (step + 10))
        for k, v in net.weights.items():
            ema[k].lerp_(v.detach(), 1 - keep)
        mean = loss.item() if mean is None else 0.95 * mean + 0.05 * loss.item()
        if step < 3 or step % 10 == 0 or step == args.steps - 1:
            print(f"step {step} loss {loss.item():.3f} mean {mean:.3f} {time.time() - began:.0f} s, norm {sum(p.grad.square().sum().item() for p in params) ** 0.5:.1f}", flush=True)
        if args.save_every and step % args.save_every == args.save_every - 1:
            save(net, ema, args.base, args.out)
    save(net, ema, args.base, args.out)


def save(net, ema, base, path):
    """Write the averaged weights, and see that ONNX Runtime makes of them what PyTorch does."""
    copy = Recogniser(net.model)
    with torch.no_grad():
        for k, v in copy.weights.items():
            v.copy_(ema[k])
    export(copy, base, path)
    x = torch.rand(2, 3, 112, 112) * 2 - 1
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    got = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    with torch.no_grad():
        want = copy(x).numpy()
    worst = np.abs(got - want).max() / np.abs(want).max()
    if worst > 1e-4:
        raise SystemExit(f"{path}: ONNX Runtime and PyTorch differ by {worst:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", required=True, help="ONNX file to start from")
    parser.add_argument("--kind", required=True, choices=sorted(NORM), help="how the network wants its input")
    parser.add_argument("--lag", required=True, help="folder of LAG: people young and old")
    parser.add_argument("--fiw", help="folder of FIW: relatives; the family is the subject up to '-'")
    parser.add_argument("--children", help="folder of UTKFace: strange children, by age")
    parser.add_argument("--out", required=True, help="ONNX file to write")
    parser.add_argument("--hold-out", type=int, help="fold of LAG subjects to keep out and to evaluate on")
    parser.add_argument("--steps", type=int, default=110)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--tau", type=float, default=0.07)
    parser.add_argument("--people", type=int, default=48, help="people per step, each young and old")
    parser.add_argument("--families", type=int, default=4, help="families per step, two relatives with two photos each")
    parser.add_argument("--strangers", type=int, default=16, help="strange children per step")
    parser.add_argument("--ema", type=float, default=0.95, help="the weights written are a moving average: the share kept at each step")
    parser.add_argument("--min-quality", type=float, default=0.3)
    parser.add_argument("--save-every", type=int, default=0, help="also write the weights so far every so many steps")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    train(args)
    if args.hold_out is not None:
        lag = Faces(args.lag)
        evaluate(lag, args.hold_out, [("before", args.base, args.kind), ("after", args.out, args.kind)])


if __name__ == "__main__":
    main()
