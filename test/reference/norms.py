#!/usr/bin/env python3
"""Records what normalising layers must give, by PyTorch in f64: outputs, gradients, and the gradient of v . dx. Inputs follow a formula that the
test repeats. Usage: norms.py > test/reference/norms.inc"""
import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def fill(seed, *shape):
    n = math.prod(shape)
    return torch.tensor([1.5 * math.sin(12.9898 * (i + 1) + 78.233 * seed) + 0.1 for i in range(n)]).reshape(shape)


def first(x):  # channels from last to second
    return x.movedim(-1, 1)


def last(x):
    return x.movedim(1, -1)


def weight(v, g):  # by unit, the last axis of v
    return g * v / v.pow(2).sum(tuple(range(v.dim() - 1)), keepdim=True).sqrt()


def torch_weight(v, g):  # PyTorch's own
    return torch._weight_norm(v, g.reshape([1] * (v.dim() - 1) + [-1]), v.dim() - 1)


def conv(x, w, b):
    return last(F.conv2d(first(x), w.permute(3, 2, 0, 1), b))


C = 8
CASES = [
    ("type: layernorm", (4, C), {"scale": (C,), "shift": (C,)}, lambda x, s, t: F.layer_norm(x, (C,), s, t)),
    ("type: groupnorm, groups: 4", (2, 2, 3, C), {"scale": (C,), "shift": (C,)}, lambda x, s, t: last(F.group_norm(first(x), 4, s, t))),
    ("type: groupnorm, groups: 1, eps: 0.01", (2, 2, 3, C), {"scale": (C,), "shift": (C,)}, lambda x, s, t: last(F.group_norm(first(x), 1, s, t, 0.01))),
    ("type: groupnorm, groups: 2", (3, C), {"scale": (C,), "shift": (C,)}, lambda x, s, t: F.group_norm(x, 2, s, t)),
    ("type: groupnorm, groups: 2, affine: false, activation: softplus", (2, 5, C), {}, lambda x: F.softplus(last(F.group_norm(first(x), 2)))),
    ("type: instancenorm", (2, 3, 2, C), {"scale": (C,), "shift": (C,)}, lambda x, s, t: last(F.instance_norm(first(x), weight=s, bias=t))),
    ("type: instancenorm, affine: false", (2, 7, 3), {}, lambda x: last(F.instance_norm(first(x)))),
    ("type: rmsnorm", (2, 3, C), {"scale": (C,)}, lambda x, s: F.rms_norm(x, (C,), s, 1e-5)),
    ("type: rmsnorm, affine: false, eps: 0.5", (4, 5), {}, lambda x: F.rms_norm(x, (5,), None, 0.5)),
    ("type: lrn, mean: true, alpha: 0.3, k: 1", (2, 2, 2, C), {}, lambda x: last(F.local_response_norm(first(x), 5, 0.3, 0.75, 1.0))),
    ("type: lrn, size: 4, mean: true, alpha: 2, beta: 0.6, k: 0.5", (2, 3, C), {}, lambda x: last(F.local_response_norm(first(x), 4, 2.0, 0.6, 0.5))),
    ("type: lrn", (2, 2, C), {}, lambda x: last(F.local_response_norm(first(x), 5, 5e-4, 0.75, 2.0))),
    ("type: dense, units: 3, weight_norm: true", (4, C), {"v": (C, 3), "g": (3,), "b": (3,)}, lambda x, v, g, b: x @ torch_weight(v, g) + b),
    ("type: conv, filters: 4, kernel: 2, weight_norm: true", (2, 3, 3, 2), {"v": (2, 2, 2, 4), "g": (4,), "b": (4,)},
     lambda x, v, g, b: conv(x, torch_weight(v, g), b)),
]


def numbers(t):
    return "{" + ", ".join(repr(v) for v in t.flatten().tolist()) + "}"


print("/* clang-format off */")
print(f"/* By norms.py with PyTorch {torch.__version__.split('+')[0]} in f64: outputs; gradients in x and the slots; the gradient of v . dx in x. */")
print("static const struct {\n    const char *layer;\n    int rank;\n    int64_t dims[4];\n    const char *slots[3];")
print("    double y[96], dx[96], ddx[96], dslot[3][32];\n} NORMS[] = {")
for layer, dims, slots, f in CASES:
    x = fill(1, *dims).requires_grad_()
    p = [fill(4 + i, *shape).requires_grad_() for i, shape in enumerate(slots.values())]
    if "weight_norm" in layer:
        assert torch.allclose(torch_weight(p[0], p[1]), weight(p[0], p[1]), rtol=1e-12)
    y = f(x, *p)
    dx, *dp = torch.autograd.grad((y * fill(2, *y.shape)).sum(), [x] + p, create_graph=True)
    (ddx,) = torch.autograd.grad((dx * fill(3, *dims)).sum(), [x], allow_unused=True)
    ddx = torch.zeros_like(x) if ddx is None else ddx
    names = ", ".join(f'"{n}"' for n in slots) or "NULL"
    print(f'    {{"{layer}", {len(dims)}, {{{", ".join(map(str, dims))}}}, {{{names}}},')
    print(f"     {numbers(y)},\n     {numbers(dx)},\n     {numbers(ddx)},")
    print("     {" + ", ".join(numbers(d) for d in dp) + "}}," if dp else "     {{0}}},")
print("};")
