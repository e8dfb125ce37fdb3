#!/usr/bin/env python3
"""Records the PyTorch traces that test/test_traces.c compares Adze with (test/traces/*.txt).

Run it with a Python that has PyTorch and NumPy (Debian: apt install python3-torch, then /usr/bin/python3 scripts/make_traces.py test/traces).
Nothing is stored that can be computed: weights, images and labels come from named streams of Philox4x32-10, which is written again here
(adze_rng_make, adze_rng_uniform in src/base/rng.c). A trace holds, in f64: the loss of each of ten training steps, and for every weight tensor, at
the start and after each step, its norm and four random projections. Tensors are in Adze's layout (NHWC, HWIO, flatten in the order H, W, C).

Lines:  loss STEP VALUE  |  tensor STEP NAME NORM P0 P1 P2 P3     (STEP 0 of a tensor: before training)
"""
import sys

import numpy as np
import torch
import torch.nn.functional as F

SEED = 20240607
STEPS = 10
PROJECTIONS = 4
STREAM_DATA, STREAM_LABEL, STREAM_PROJECTION = 1000, 2000, 3000


def philox(key, ctr):
    """key: two words; ctr: (n, 4) words; returns (n, 4) words."""
    mask = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    c0, c1, c2, c3 = (ctr[:, i].astype(np.uint64) for i in range(4))
    for _ in range(10):
        a = np.uint64(0xD2511F53) * c0
        b = np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (b >> shift) ^ c1 ^ k0, b & mask, (a >> shift) ^ c3 ^ k1, a & mask
        k0 = (k0 + np.uint64(0x9E3779B9)) & mask
        k1 = (k1 + np.uint64(0xBB67AE85)) & mask
    return np.stack([c0, c1, c2, c3], axis=1)


def uniform(stream, n):
    """The first n values of adze_rng_uniform on adze_rng_make(SEED, stream): [0, 1) with 53 bits, two words each."""
    blocks = (n + 1) // 2
    ctr = np.zeros((blocks, 4), dtype=np.uint64)
    ctr[:, 0] = np.arange(blocks, dtype=np.uint64)
    ctr[:, 2] = stream & 0xFFFFFFFF
    ctr[:, 3] = stream >> 32
    words = philox((SEED & 0xFFFFFFFF, SEED >> 32), ctr).reshape(-1, 2)
    u64 = words[:, 0] | (words[:, 1] << np.uint64(32))
    return ((u64 >> np.uint64(11)).astype(np.float64) * 2.0**-53)[:n]


def images(step, shape):
    return uniform(STREAM_DATA + step, int(np.prod(shape))).reshape(shape)


def labels(step, n):
    return np.floor(uniform(STREAM_LABEL + step, n) * 10).astype(np.int64)


class Net:
    """A net whose tensors are kept in Adze's layout; forward permutes them, so that gradients and norms are Adze's too."""

    def __init__(self, sizes):
        self.names, self.tensors = [], []
        for stream, (name, shape, fan_in, base) in enumerate(sizes):
            bound = 1 / np.sqrt(fan_in)
            v = base + (2 * uniform(stream, int(np.prod(shape))) - 1) * bound
            self.names.append(name)
            self.tensors.append(torch.tensor(v.reshape(shape), dtype=torch.float64, requires_grad=True))

    def __getitem__(self, name):
        return self.tensors[self.names.index(name)]

    def conv(self, x, name, **how):
        bias = self[name + ":b"] if name + ":b" in self.names else None
        return F.conv2d(x, self[name + ":w"].permute(3, 2, 0, 1), bias, **how)

    def dense(self, x, name):
        return x @ self[name + ":w"] + self[name + ":b"]

    def batchnorm(self, x, name):
        return F.batch_norm(x, None, None, self[name + ":scale"], self[name + ":shift"], training=True, eps=1e-5)


class LeNet(Net):
    image = (16, 28, 28, 1)

    def __init__(self):
        super().__init__([
            ("conv1:w", (5, 5, 1, 20), 25, 0), ("conv1:b", (20,), 25, 0), ("conv2:w", (5, 5, 20, 50), 500, 0), ("conv2:b", (50,), 500, 0),
            ("fc1:w", (800, 500), 800, 0), ("fc1:b", (500,), 800, 0), ("fc2:w", (500, 10), 500, 0), ("fc2:b", (10,), 500, 0)])

    def forward(self, x):
        x = F.max_pool2d(self.conv(x, "conv1"), 2)
        x = F.max_pool2d(self.conv(x, "conv2"), 2)
        x = x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)
        return self.dense(F.relu(self.dense(x, "fc1")), "fc2")


class SmallNet(Net):
    """No bias before a batchnorm: its gradient is zero but for rounding, which Adam would blow up."""

    image = (8, 12, 10, 3)

    def __init__(self):
        super().__init__([
            ("conv1:w", (3, 3, 3, 8), 27, 0), ("bn1:scale", (8,), 4, 1), ("bn1:shift", (8,), 4, 0),
            ("conv2:w", (3, 3, 8, 16), 72, 0), ("bn2:scale", (16,), 4, 1), ("bn2:shift", (16,), 4, 0),
            ("fc:w", (16, 10), 16, 0), ("fc:b", (10,), 16, 0)])

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.batchnorm(self.conv(x, "conv1", padding=1), "bn1")), 2)
        x = F.relu(self.batchnorm(self.conv(x, "conv2", padding=1, stride=2), "bn2"))
        return self.dense(x.mean(dim=(2, 3)), "fc")


def record(path, net, optimizer):
    projections = []
    for i, t in enumerate(net.tensors):
        projections.append([2 * uniform(STREAM_PROJECTION + i * PROJECTIONS + j, t.numel()) - 1 for j in range(PROJECTIONS)])

    def tensors(step, out):
        for name, t, ps in zip(net.names, net.tensors, projections):
            v = t.detach().numpy().reshape(-1)
            out.write(" ".join(["tensor", str(step), name, repr(float(np.linalg.norm(v)))] + [repr(float(v @ p)) for p in ps]) + "\n")

    with open(path, "w", encoding="ascii") as out:
        out.write("# made by scripts/make_traces.py with PyTorch %s, f64, seed %d\n" % (torch.__version__.split("+")[0], SEED))
        tensors(0, out)
        for step in range(1, STEPS + 1):
            x = torch.tensor(images(step, net.image)).permute(0, 3, 1, 2)
            loss = F.cross_entropy(net.forward(x), torch.tensor(labels(step, net.image[0])))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            out.write("loss %d %r\n" % (step, float(loss)))
            tensors(step, out)


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "test/traces"
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # Known answer of the generator's authors (Random123, kat_vectors): philox4x32-10, all zeros.
    assert [hex(int(v)) for v in philox((0, 0), np.zeros((1, 4)))[0]] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]
    for name, make, optimizer in [("lenet_sgd", LeNet, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
                                  ("small_sgd", SmallNet, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
                                  ("small_adam", SmallNet, lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.9, 0.999), eps=1e-8))]:
        net = make()
        record("%s/%s.txt" % (folder, name), net, optimizer(net.tensors))


if __name__ == "__main__":
    main()
