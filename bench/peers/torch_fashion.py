#!/usr/bin/env python3
"""PyTorch's side of `make demo`: LeNet-5 (20-50-500) on Fashion-MNIST from its files, 55,000 examples to train on in a new order each epoch, 5,000 to
validate on after each, SGD 0.02 with momentum 0.9, batches of 64. Prints the seconds from the opening of the files to the end of the last validation
(importing torch is left out) and the validation accuracy. The whole set stays in memory, and a batch is one gather: no loader is in the way.

usage: torch_fashion.py [--threads N] [--epochs N] [--mode eager|channels_last] FOLDER
"""
import argparse, gzip, pathlib, time
import torch, torch.nn.functional as F
from torch_bench import LeNet5


def idx(path, head):
    with gzip.open(path) as f:
        return torch.frombuffer(bytearray(f.read()[head:]), dtype=torch.uint8)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--epochs", type=int, default=1)
    p.add_argument("--mode", default="eager", choices=("eager", "channels_last"))
    p.add_argument("folder", type=pathlib.Path)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    start = time.perf_counter()
    x = idx(a.folder / "train-images-idx3-ubyte.gz", 16).view(-1, 1, 28, 28).float().div_(255)
    y = idx(a.folder / "train-labels-idx1-ubyte.gz", 8).long()
    train, judge = range(0, 55000), slice(55000, 60000)
    model = LeNet5()
    if a.mode == "channels_last":
        model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for _ in range(a.epochs):
        for batch in torch.randperm(len(train)).split(64):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
        with torch.inference_mode():
            right = sum((model(xs).argmax(1) == ys).sum().item() for xs, ys in zip(x[judge].split(500), y[judge].split(500)))
    print(f"{time.perf_counter() - start:.6f} {right / 5000:.4f}")


if __name__ == "__main__":
    main()
