#!/usr/bin/env python3
"""Records what the losses and their gradients must be, by PyTorch in f64. Usage: make_losses.py > test/reference/losses.inc"""
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
N, C, DELTA, GAMMA = 6, 4, 0.7, 2.0
torch.manual_seed(5)
y = torch.randn(N, C) * 2
y[3] = torch.tensor([1e4, -1e4, 0.0, 3.0])
y[4] = torch.tensor([1e4, -1e4, 0.0, 3.0])
y[5] = torch.tensor([-1e4, 1e4, 1e4 - 1, -9e3])
label = torch.tensor([0, 3, 1, 0, 1, 2])
p = F.one_hot(label, C).double()
s = 2 * p - 1
soft = torch.softmax(torch.randn(N, C), 1)
soft[1] = p[1]
numbers = torch.randn(N, C)
halved = torch.randn(N, C // 2)
counts = torch.tensor([[0, 1, 2, 5.0]] * N)
small = y.clamp(-80, 80)  # exp overflows f32 beyond 88


def crammer_singer(y):  # term by term, by the definition
    out = []
    for i in range(N):
        t = int(label[i])
        worst = max((y[i, j] for j in range(C) if j != t), key=lambda v: v.item())
        out.append(torch.clamp(1 + worst - y[i, t], min=0))
    return torch.stack(out)


def focal(y):
    q = torch.softmax(y, 1).gather(1, label[:, None])[:, 0]
    others = torch.stack([torch.cat([y[i, :label[i]], y[i, label[i] + 1:]]) for i in range(N)])
    one_minus = torch.exp(torch.logsumexp(others, 1) - torch.logsumexp(y, 1))
    assert torch.allclose(one_minus, 1 - q)
    return one_minus**GAMMA * F.cross_entropy(y, label, reduction="none")


def smooth_hinge(y):
    z = s * y
    return torch.where(z >= 1, 0 * z, torch.where(z > 0, (1 - z)**2 / 2, 0.5 - z)).mean(1)


def gaussian(y):
    var = torch.exp(y[:, C // 2:].clamp(-20, 20))
    return F.gaussian_nll_loss(y[:, :C // 2], halved, var, eps=0, reduction="none").mean(1)


cases = {
    "softmax_xent": (y, soft, lambda y: F.cross_entropy(y, soft, reduction="none")),
    "mse": (y, numbers, lambda y: F.mse_loss(y, numbers, reduction="none").mean(1)),
    "huber": (y, numbers, lambda y: F.huber_loss(y, numbers, reduction="none", delta=DELTA).mean(1)),
    "mae": (y, numbers, lambda y: F.l1_loss(y, numbers, reduction="none").mean(1)),
    "sigmoid_xent": (y, soft, lambda y: F.binary_cross_entropy_with_logits(y, soft, reduction="none").mean(1)),
    "hinge": (y, p, crammer_singer),
    "squared_hinge": (y, p, lambda y: crammer_singer(y)**2),
    "hinge_ovr": (y, p, lambda y: torch.clamp(1 - s * y, min=0).mean(1)),
    "squared_hinge_ovr": (y, p, lambda y: (torch.clamp(1 - s * y, min=0)**2).mean(1)),
    "smooth_hinge": (y, p, smooth_hinge),
    "kl": (y, soft, lambda y: F.kl_div(torch.log_softmax(y, 1), soft, reduction="none").sum(1)),
    "nll": (y, p, lambda y: F.nll_loss(y, label, reduction="none")),
    "gaussian": (y, halved, gaussian),
    "poisson": (small, counts, lambda y: F.poisson_nll_loss(y, counts, log_input=True, reduction="none").mean(1)),
    "focal": (y, p, focal),
}


def row(v):
    return "{" + ", ".join(repr(float(x)) for x in v.flatten()) + "}"


print("/* clang-format off */")
print(f"/* By make_losses.py with PyTorch {torch.__version__.split('+')[0]} in f64: outputs, targets, losses, gradients. */")
print(f"enum {{ LN = {N}, LC = {C} }};\nstatic const double DELTA = {DELTA}, GAMMA = {GAMMA};")
print("static const struct {\n    const char *loss;\n    int targets;\n    double y[LN * LC], p[LN * LC], want[LN], grad[LN * LC];\n} LOSSES[] = {")
for name, (out, target, f) in cases.items():
    x = out.clone().requires_grad_()
    v = f(x)
    v.sum().backward()
    print(f'    {{"{name}", {target.shape[1]}, {row(out)},\n     {row(target)},\n     {row(v.detach())},\n     {row(x.grad)}}},')
print("};")
