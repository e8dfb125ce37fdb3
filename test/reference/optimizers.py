"""Trajectories of PyTorch's optimisers for test/test_optimizer.c: python3 optimizers.py > ../test_optimizer_torch.inc"""
import math

import torch

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)  # NAdam keeps a product in the default dtype
o = torch.optim


def muon(**settings):  # vectors by AdamW; its products, made in bfloat16, are made in double precision here
    def make(groups):
        w, b = groups
        return [o.Muon([w], lr=settings["lr"], momentum=settings["momentum"], weight_decay=w["weight_decay"], adjust_lr_fn=settings["scale"]),
                o.AdamW([b], lr=settings["lr"], betas=(0.9, 0.95), eps=1e-7)]
    return make


CASES = {  # the names are those of the test's cases
    "sgd": lambda p: o.SGD(p, lr=0.05),
    "momentum": lambda p: o.SGD(p, lr=0.02, momentum=0.9),
    "nesterov": lambda p: o.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    "adam": lambda p: o.Adam(p, lr=0.03, betas=(0.9, 0.99), eps=1e-8),
    "adamw": lambda p: o.AdamW(p, lr=0.01, betas=(0.9, 0.99), eps=1e-8),
    "adagrad": lambda p: o.Adagrad(p, lr=0.1, eps=1e-7),
    "adadelta": lambda p: o.Adadelta(p, lr=1.0, rho=0.95, eps=1e-6),
    "rmsprop": lambda p: o.RMSprop(p, lr=0.02, alpha=0.9, eps=1e-6),
    "rmsprop centered": lambda p: o.RMSprop(p, lr=0.02, alpha=0.9, eps=0.1, centered=True, momentum=0.5),
    "amsgrad": lambda p: o.Adam(p, lr=0.03, betas=(0.9, 0.9), eps=1e-8, amsgrad=True),
    "adamax": lambda p: o.Adamax(p, lr=0.03, betas=(0.9, 0.99), eps=1e-8),
    "nadam": lambda p: o.NAdam(p, lr=0.01, betas=(0.9, 0.99), eps=1e-3),
    "radam": lambda p: o.RAdam(p, lr=0.03, betas=(0.9, 0.99), eps=1e-8),
    "rprop": lambda p: o.Rprop(p, lr=0.01),
    "muon": muon(lr=0.002, momentum=0.95, scale="match_rms_adamw"),
    "muon original": muon(lr=0.001, momentum=0.9, scale="original"),
}
DECAY = {"momentum": 0.1, "adam": 0.1, "adamw": 0.1, "muon": 0.1, "muon original": 0}
torch.bfloat16 = torch.float64


W, POINTS, MARKS = 9, 20, (20, 100, 500)


def quadratic(w):  # 1/2 sum c_i (w_i - t_i)^2 + 1/20 sum (w_i - w_i+1)^2
    return [(0.5 + 0.7 * i) * (w[i] - (-1) ** i * (1 + 0.1 * i)) + 0.1 * (2 * w[i] - w[i - 1] - w[(i + 1) % W]) for i in range(W)]


def logistic(w):  # mean of ln(1 + exp(-y x.w)) + 1/40 |w|^2, x from a sine, y from another
    g = [0.05 * v for v in w]
    for k in range(POINTS):
        x = [2 * math.sin(1 + 3 * k + k * i + i * i) for i in range(W)]
        y = 1 if math.sin(5 * k) > 0 else -1
        p = 1 / (1 + math.exp(y * sum(a * b for a, b in zip(x, w))))
        g = [g[i] - p * y * x[i] / POINTS for i in range(W)]
    return g


def run(name, gradient):
    start = [0.2 * i - 0.7 for i in range(9)]
    turn = (lambda x: x.T.contiguous()) if name.startswith("muon") else (lambda x: x)  # its weights are (outputs, inputs)
    w = turn(torch.tensor(start[:6], dtype=torch.float64).reshape(2, 3)).requires_grad_()
    b = torch.tensor(start[6:], dtype=torch.float64).requires_grad_()
    opt = CASES[name]([{"params": [w], "weight_decay": DECAY.get(name, 0)} if name in DECAY else {"params": [w]},
                       {"params": [b], "weight_decay": 0} if name in DECAY else {"params": [b]}])
    opts = opt if isinstance(opt, list) else [opt]
    marks = []
    for t in range(1, MARKS[-1] + 1):
        flat = turn(w.detach()).reshape(-1).tolist() + b.detach().tolist()
        g = torch.tensor(gradient(flat), dtype=torch.float64)
        w.grad, b.grad = turn(g[:6].reshape(2, 3).clone()), g[6:].clone()
        for one in opts:
            one.step()
        if t in MARKS:
            marks.append(turn(w.detach()).reshape(-1).tolist() + b.detach().tolist())
    return marks


print("/* Weights of PyTorch's optimisers after 20, 100 and 500 steps on a quadratic and on a logistic regression, made by reference/optimizers.py. */")
print("static const struct {\n    const char *name;\n    double after[2][3][9];\n} torch_says[] = {")
for name in CASES:
    rows = [",\n       ".join("{" + ", ".join(f"{v:.15g}" for v in m) + "}" for m in run(name, g)) for g in (quadratic, logistic)]
    print(f'    {{"{name}",\n     {{{{{rows[0]}}},\n      {{{rows[1]}}}}}}},')
print("};")
