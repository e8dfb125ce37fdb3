#!/usr/bin/env python3
"""PyTorch's side of the speed comparison: one JSON line per workload and mode.

usage: torch_bench.py [--threads N] [--modes eager,channels_last,compile] [--dtypes f32,bf16] [--runs N] [WORKLOAD ...]
       torch_bench.py --paced --dtypes f32 --modes eager WORKLOAD     for each line "INDEX STEPS" on stdin the mean seconds of that many steps
                                                                      (INDEX is there for programs with several workloads); at the end of
                                                                      input the peak memory above import, in bytes
       torch_bench.py --export FILE.onnx WORKLOAD                     the network with weights of seed 0, for other programs

Workloads are complete training steps (zero gradients, forward, softmax cross-entropy, backward, SGD with momentum 0.9) on random data, or
'infer-' forwards. A line: {"work", "dtype", "mode", "items_per_s", "seconds", "runs", "torch"}; seconds is the median step.
Needs torch; torchvision only for alexnet, vgg16, resnet50, squeezenet.
"""
import argparse, json, os, resource, statistics, sys, time
import torch, torch.nn as nn, torch.nn.functional as F


class LeNet5(nn.Module):
    """Caffe's LeNet-5: 20 and 50 maps of 5x5, 500 hidden units; 431,080 parameters."""
    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.f1, self.f2 = nn.Linear(800, 500), nn.Linear(500, 10)

    def forward(self, x):
        x = F.max_pool2d(self.c2(F.max_pool2d(self.c1(x), 2)), 2)
        return self.f2(F.relu(self.f1(x.flatten(1))))


class Block(nn.Module):
    """Basic residual block with the parameter-free shortcut of the CIFAR nets (He et al. 2015, option A)."""
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout)
        self.c2, self.b2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout)
        self.stride, self.pad = stride, cout - cin

    def forward(self, x):
        y = self.b2(self.c2(F.relu(self.b1(self.c1(x)))))
        if self.stride > 1 or self.pad:
            x = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, 0, self.pad))
        return F.relu(x + y)


def resnet_cifar(n):
    layers, width = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
    for out, stride in ((16, 1), (32, 2), (64, 2)):
        for k in range(n):
            layers.append(Block(width, out, stride if k == 0 else 1))
            width = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))


class CharLSTM(nn.Module):
    """128 -> LSTM 256 -> 65 over 64 steps: a character model's step."""
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(128, 256, batch_first=True), nn.Linear(256, 65)

    def forward(self, x):
        return self.out(self.lstm(x)[0]).flatten(0, 1)


def vision(name):
    import torchvision
    return getattr(torchvision.models, name)()


#            model                          input             classes  items per step
WORK = {
    "mlp-b64":       (mlp,                  (64, 1, 28, 28),   10, 64),
    "mlp-b256":      (mlp,                  (256, 1, 28, 28),  10, 256),
    "lenet5-b64":    (LeNet5,               (64, 1, 28, 28),   10, 64),
    "lenet5-b256":   (LeNet5,               (256, 1, 28, 28),  10, 256),
    "resnet20-b128": (lambda: resnet_cifar(3), (128, 3, 32, 32), 10, 128),
    "lstm-b64-t64":  (CharLSTM,             (64, 64, 128),     65, 64 * 64),
    "alexnet-b8":    (lambda: vision("alexnet"),  (8, 3, 224, 224), 1000, 8),
    "vgg16-b8":      (lambda: vision("vgg16"),    (8, 3, 224, 224), 1000, 8),
    "resnet50-b8":   (lambda: vision("resnet50"), (8, 3, 224, 224), 1000, 8),
    "resnet20-b1":   (lambda: resnet_cifar(3), (1, 3, 32, 32), 10, 1),
    "lenet5-b1":     (LeNet5,               (1, 1, 28, 28),    10, 1),
    "vgg16-b1":      (lambda: vision("vgg16"),    (1, 3, 224, 224), 1000, 1),
    "resnet50-b1":   (lambda: vision("resnet50"), (1, 3, 224, 224), 1000, 1),
    "squeezenet-b1": (lambda: vision("squeezenet1_0"), (1, 3, 224, 224), 1000, 1),
}


def median_seconds(step, runs, warm=3):
    for _ in range(warm):
        step()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


BASE = peak_bytes()


def paced(step, warm=3):
    """Alternates with another program: some steps for each line of stdin."""
    for _ in range(warm):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        steps = int((line.split()[1:] or ["1"])[0])
        start = time.perf_counter()
        for _ in range(steps):
            step()
        print(f"{(time.perf_counter() - start) / steps:.9f}", flush=True)
    print(peak_bytes() - BASE, flush=True)


def export(name, path):
    """Writes the network as ONNX: the exporter that needs torch alone, then another name for the file, so that nobody reads half of one."""
    make, shape, _, _ = WORK[name.removeprefix("infer-")]
    torch.manual_seed(0)
    model = make().eval()
    torch.onnx.export(model, (torch.randn(*shape),), path + ".part", dynamo=False, input_names=["x"], output_names=["y"])
    os.replace(path + ".part", path)


def prepare(name, dtype, mode):
    """The step function of a workload and how many items it processes; None where the mode does not apply."""
    infer = name.startswith("infer-")
    make, shape, classes, items = WORK[name.removeprefix("infer-")]
    model, x = make(), torch.randn(*shape)
    y = torch.randint(0, classes, (items,))
    if mode == "channels_last":
        if x.dim() != 4:
            return None
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    model.train(not infer)
    run = torch.compile(model) if mode == "compile" else model
    cast = lambda: torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def train_step():
        optimizer.zero_grad(set_to_none=True)
        with cast():
            loss = F.cross_entropy(run(x), y)
        loss.backward()
        optimizer.step()

    def infer_step():
        with torch.inference_mode(), cast():
            run(x)

    return (infer_step if infer else train_step), items


def measure(name, dtype, mode, runs):
    prepared = prepare(name, dtype, mode)
    if not prepared:
        return None
    step, items = prepared
    seconds = median_seconds(step, runs)
    return dict(work=name, dtype=dtype, mode=mode, items_per_s=round(items / seconds, 2), seconds=round(seconds, 6),
                runs=runs, torch=torch.__version__, peak_bytes_above_import=peak_bytes() - BASE)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--modes", default="eager,channels_last")
    p.add_argument("--dtypes", default="f32,bf16")
    p.add_argument("--runs", type=int, default=7)
    p.add_argument("--paced", action="store_true")
    p.add_argument("--export", metavar="FILE.onnx")
    p.add_argument("work", nargs="*", default=["mlp-b256", "lenet5-b256", "resnet20-b128", "lstm-b64-t64"])
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    if a.export:
        return export(a.work[0], a.export)
    if a.paced:
        prepared = prepare(a.work[0], a.dtypes, a.modes)
        return paced(prepared[0]) if prepared else sys.exit(f"mode {a.modes} does not apply to {a.work[0]}")
    for name in a.work:
        for dtype in a.dtypes.split(","):
            for mode in a.modes.split(","):
                try:
                    row = measure(name, dtype, mode, a.runs)
                except Exception as e:
                    row = dict(work=name, dtype=dtype, mode=mode, error=f"{type(e).__name__}: {e}"[:200])
                if row:
                    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
