#!/usr/bin/env python3
"""Records PyTorch's losses and gradients of recurrent layers, in f64, that test/test_rnn.c compares Adze with (test/traces/rnn.txt).

Run it as scripts/make_traces.py. Nothing is stored that can be computed: values come from named streams of Philox. Value i of case c is uniform
within a bound, from stream 100 c + i; the numbers of the batch below are those of the test. A trace holds for every case the loss, and for every
value that has a gradient its norm and four projections.

Lines:  loss CASE VALUE  |  grad CASE NAME NORM P0 P1 P2 P3
"""
import sys

import numpy as np
import torch
import torch.nn.functional as F

from make_traces import PROJECTIONS, STREAM_PROJECTION, uniform

N, T, I, H = 3, 6, 5, 7
CHARS = (2, 64, 128, 256, 65)  # batch, steps, inputs, units, characters


class Case:
    def __init__(self, number, name, out):
        self.number, self.name, self.out, self.values = number, name, out, []

    def value(self, name, shape, bound=1.0, grad=True):
        stream = 100 * self.number + len(self.values)
        v = bound * (2 * uniform(stream, int(np.prod(shape))) - 1)
        t = torch.tensor(v.reshape(shape), dtype=torch.float64, requires_grad=grad)
        self.values.append((name, t, grad))
        return t

    def finish(self, loss):
        loss.backward()
        self.out.write("loss %s %r\n" % (self.name, float(loss.detach())))
        for i, (name, t, grad) in enumerate(self.values):
            if not grad:
                continue
            g = t.grad.numpy().reshape(-1)
            ps = [float(g @ (2 * uniform(STREAM_PROJECTION + i * PROJECTIONS + j, g.size) - 1)) for j in range(PROJECTIONS)]
            self.out.write(" ".join(["grad", self.name, name, repr(float(np.linalg.norm(g)))] + [repr(p) for p in ps]) + "\n")


def layer(cell, units, x, wx, wh, b, state, bn=None):
    """torch's layer with our parameters in place of its own, so that gradients reach ours."""
    make = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(cell)
    net = make(x.shape[2], units, batch_first=True) if make else torch.nn.RNN(x.shape[2], units, batch_first=True, nonlinearity=cell)
    zeros = torch.zeros_like(b)
    inner = zeros if bn is None else torch.cat([torch.zeros(2 * units, dtype=torch.float64), bn])
    weights = {"weight_ih_l0": wx.T, "weight_hh_l0": wh.T, "bias_ih_l0": b, "bias_hh_l0": inner}
    return torch.func.functional_call(net.double(), weights, (x, state))


def small(number, cell, out):
    c, gates = Case(number, cell, out), {"lstm": 4, "gru": 3}.get(cell, 1)
    x, wx, wh = c.value("x", (N, T, I)), c.value("wx", (I, gates * H), 0.5), c.value("wh", (H, gates * H), 0.5)
    b, h0 = c.value("b", (gates * H,), 0.5), c.value("h0", (1, N, H))
    last = c.value("c0", (1, N, H)) if cell == "lstm" else c.value("bn", (H,)) if cell == "gru" else None
    y, end = layer(cell, H, x, wx, wh, b, (h0, last) if cell == "lstm" else h0, last if cell == "gru" else None)
    loss = (y * c.value("u", (N, T, H), grad=False)).sum()
    ends = end if cell == "lstm" else (end,)
    for name, e in zip(("v", "w"), ends):
        loss = loss + (e * c.value(name, (1, N, H), grad=False)).sum()
    c.finish(loss)


def charlstm(number, out):
    c = Case(number, "charlstm", out)
    n, t, i, h, k = CHARS
    x = c.value("x", (n, t, i), grad=False)
    wx, wh, b = c.value("lstm:wx", (i, 4 * h), h**-0.5), c.value("lstm:wh", (h, 4 * h), h**-0.5), c.value("lstm:b", (4 * h,), h**-0.5)
    w, d = c.value("out:w", (h, k), h**-0.5), c.value("out:b", (k,), h**-0.5)
    label = torch.tensor(np.floor(uniform(100 * number + 50, n * t) * k).astype(np.int64))
    zeros = torch.zeros((1, n, h), dtype=torch.float64)
    y = layer("lstm", h, x, wx, wh, b, (zeros, zeros))[0] @ w + d
    c.finish(F.cross_entropy(y.reshape(n * t, k), label))


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "test/traces"
    torch.set_num_threads(1)
    with open(folder + "/rnn.txt", "w", encoding="ascii") as out:
        out.write("# made by scripts/make_rnn_traces.py with PyTorch %s, f64\n" % torch.__version__.split("+")[0])
        for number, cell in enumerate(("tanh", "relu", "lstm", "gru")):
            small(number, cell, out)
        charlstm(4, out)


if __name__ == "__main__":
    main()
