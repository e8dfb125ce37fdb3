#!/usr/bin/env python3
"""Records what PyTorch computes with the zoo's networks, for test/test_zoo.c to compare (test/traces/zoo.txt).

Run it with a Python that has PyTorch, torchvision and NumPy: python3 scripts/make_zoo_golden.py test/traces/zoo.txt
No weight is stored: slot number i of a network (in the order of Adze's layers: w, b, or scale, shift, mean, var) comes from Philox stream i, written
again in make_traces.py. The file holds, from f64: the loss, the norm of the logits and of every gradient, and one random projection of each.
In training a batchnorm's new running statistics follow: PyTorch's, 0.9 of the old kept. Tensors are in Adze's layout (NHWC, HWIO).

Lines:  net NAME MODE BATCH HEIGHT WIDTH UNITS  |  loss VALUE  |  logits NORM PROJECTION  |  slot NUMBER NORM PROJECTION
MODE: use (running statistics, no dropout; gradients, too), train (batch statistics), or full (logits alone, at the published size).
UNITS is the width of AlexNet's and VGG's hidden dense layers, 4096 in the real ones.
"""
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision

from make_traces import uniform

STREAM_DATA, STREAM_LABEL, STREAM_PROJECTION, STREAM_LOGITS = 1000, 2000, 3000, 4000
KEPT = 0.9

CASES = [
    ("resnet20", "use", 2, 32, 24, 0), ("resnet20", "train", 4, 32, 32, 0), ("resnet56", "use", 1, 32, 32, 0), ("resnet56", "train", 4, 32, 32, 0),
    ("resnet50", "train", 4, 64, 96, 0), ("alexnet", "use", 2, 64, 96, 256), ("vgg16", "use", 1, 32, 64, 256),
    ("squeezenet1.0", "use", 1, 64, 80, 0),
    ("resnet50", "full", 1, 224, 224, 0), ("alexnet", "full", 1, 224, 224, 4096), ("vgg16", "full", 1, 224, 224, 4096),
    ("squeezenet1.0", "full", 1, 224, 224, 0),
]


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters."""

    def __init__(self, wide, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(wide, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.stride, self.more = stride, out - wide

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        skip = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return F.relu(y + skip)


def small_resnet(blocks):
    layers, wide = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
    for out in (16, 32, 64):
        for k in range(blocks):
            layers.append(Block(wide, out, 2 if k == 0 and out > 16 else 1))
            wide = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def make(name, height, width, units):
    """The network, and the (channels, height, width) that its flatten sees; None where there is none."""
    if name in ("resnet20", "resnet56"):
        return small_resnet({"resnet20": 3, "resnet56": 9}[name]), None
    net = getattr(torchvision.models, {"squeezenet1.0": "squeezenet1_0"}.get(name, name))()
    if not units:
        return net, None
    net.avgpool = nn.Identity()  # does nothing at the published size, and Adze's files have none
    with torch.no_grad():
        seen = net.features(torch.zeros(1, 3, height, width)).shape[1:]
    sizes = [int(np.prod(seen)), units, units, 1000]
    dense = [i for i, layer in enumerate(net.classifier) if isinstance(layer, nn.Linear)]
    for k, i in enumerate(dense):
        net.classifier[i] = nn.Linear(sizes[k], sizes[k + 1])
    return net, tuple(seen)


class Slot:
    """A tensor of the network and how it lies in Adze."""

    def __init__(self, role, tensor, seen=None):
        self.role, self.tensor, self.seen = role, tensor, seen

    def to_adze(self, t):
        if t.dim() == 4:
            return t.permute(2, 3, 1, 0)
        if t.dim() == 2:
            if self.seen:  # rows in the order of (C, H, W) become (H, W, C)
                t = t.reshape(-1, *self.seen).permute(0, 2, 3, 1).reshape(t.shape[0], -1)
            return t.t()
        return t

    def fill(self, stream):
        t = self.tensor
        u = torch.tensor(2 * uniform(stream, t.numel()) - 1)
        if self.role == "w":
            fan_in = t.numel() // t.shape[0]
            u = u * np.sqrt(6 / fan_in)
        else:
            base, spread = {"b": (0, 0.1), "scale": (0.6, 0.2), "shift": (0, 0.1), "mean": (0, 0.1), "var": (1, 0.5)}[self.role]
            u = base + spread * u
        if t.dim() == 4:
            o, i, h, w = t.shape
            u = u.reshape(h, w, i, o).permute(3, 2, 0, 1)
        elif t.dim() == 2:
            u = u.reshape(t.shape[1], t.shape[0]).t()
            if self.seen:
                c, h, w = self.seen
                u = u.reshape(-1, h, w, c).permute(0, 3, 1, 2).reshape(t.shape)
        t.copy_(u)


def slots_of(net, seen):
    slots = []
    for m in net.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            slots.append(Slot("w", m.weight, seen if isinstance(m, nn.Linear) else None))
            seen = None if isinstance(m, nn.Linear) else seen
            if m.bias is not None:
                slots.append(Slot("b", m.bias))
        elif isinstance(m, nn.BatchNorm2d):
            slots += [Slot("scale", m.weight), Slot("shift", m.bias), Slot("mean", m.running_mean), Slot("var", m.running_var)]
    return slots


def note_statistics(net, found):
    """Keeps the mean and the unbiased variance that every batchnorm saw."""

    def hook(module, inputs, _):
        x = inputs[0].detach()
        found[module.running_mean.data_ptr()] = x.mean(dim=(0, 2, 3))
        found[module.running_var.data_ptr()] = x.var(dim=(0, 2, 3), unbiased=True)

    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = 0.0  # torch's own are left alone
            m.register_forward_hook(hook)


def line(out, what, t, stream):
    v = t.detach().contiguous().numpy().reshape(-1)
    p = 2 * uniform(stream, v.size) - 1
    out.write("%s %.12g %.12g\n" % (what, np.linalg.norm(v), v @ p))


def record(out, name, mode, batch, height, width, units):
    net, seen = make(name, height, width, units)
    net = net.double()
    net.train(mode == "train")
    slots, found = slots_of(net, seen), {}
    with torch.no_grad():
        for i, s in enumerate(slots):
            s.fill(i)
    note_statistics(net, found)
    x = 2 * uniform(STREAM_DATA, batch * height * width * 3).reshape(batch, height, width, 3) - 1
    y = net(torch.tensor(x).permute(0, 3, 1, 2))
    label = torch.tensor(np.floor(uniform(STREAM_LABEL, batch) * y.shape[1]).astype(np.int64))
    loss = F.cross_entropy(y, label)
    out.write("net %s %s %d %d %d %d\n" % (name, mode, batch, height, width, units))
    out.write("loss %.12g\n" % loss.item())
    line(out, "logits", y, STREAM_LOGITS)
    if mode == "full":
        return
    loss.backward()
    for i, s in enumerate(slots):
        if s.role not in ("mean", "var"):
            line(out, "slot %d" % i, s.to_adze(s.tensor.grad), STREAM_PROJECTION + i)
        elif mode == "train":
            line(out, "slot %d" % i, KEPT * s.tensor + (1 - KEPT) * found[s.tensor.data_ptr()], STREAM_PROJECTION + i)


def main():
    torch.set_num_threads(2)
    with open(sys.argv[1] if len(sys.argv) > 1 else "test/traces/zoo.txt", "w", encoding="ascii") as out:
        out.write("# made by scripts/make_zoo_golden.py with PyTorch %s, f64\n" % torch.__version__.split("+")[0])
        for case in CASES:
            record(out, *case)


if __name__ == "__main__":
    main()
