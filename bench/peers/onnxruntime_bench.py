#!/usr/bin/env python3
"""ONNX Runtime's side of the speed comparison: one JSON line per model.

usage: onnxruntime_bench.py [--threads N] [--runs N] MODEL.onnx[:BATCH] ...
       onnxruntime_bench.py --paced MODEL.onnx[:BATCH]      for each line "INDEX STEPS" on stdin the mean seconds of that many runs; at the end of
                                                            input the peak memory above import, in bytes

Runs each model on random f32 input; a symbolic first dimension takes BATCH (default 1). Needs onnxruntime and numpy;
torch_bench.py --export makes models.
A line: {"work", "batch", "items_per_s", "seconds", "runs", "onnxruntime"}; seconds is the median run.
"""
import argparse, json, pathlib, resource, statistics, sys, time
import numpy as np
import onnxruntime as ort


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


BASE = peak_bytes()


def prepare(spec, threads):
    """A function that runs the model once, and how many items that are."""
    path, _, batch = spec.partition(":")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {}
    for i in session.get_inputs():
        shape = [d if isinstance(d, int) else int(batch or 1) for d in i.shape]
        feeds[i.name] = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    run = lambda: session.run(None, feeds)
    for _ in range(3):
        run()
    return run, next(iter(feeds.values())).shape[0], pathlib.Path(path).stem


def paced(run):
    """Alternates with another program: some runs for each line of stdin."""
    print("ready", flush=True)
    for line in sys.stdin:
        steps = int((line.split()[1:] or ["1"])[0])
        start = time.perf_counter()
        for _ in range(steps):
            run()
        print(f"{(time.perf_counter() - start) / steps:.9f}", flush=True)
    print(peak_bytes() - BASE, flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--runs", type=int, default=15)
    p.add_argument("--paced", action="store_true")
    p.add_argument("model", nargs="+")
    a = p.parse_args()
    if a.paced:
        return paced(prepare(a.model[0], a.threads)[0])
    for spec in a.model:
        run, items, name = prepare(spec, a.threads)
        times = []
        for _ in range(a.runs):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        seconds = statistics.median(times)
        print(json.dumps(dict(work=name, batch=items, items_per_s=round(items / seconds, 2), seconds=round(seconds, 6), runs=a.runs,
                              onnxruntime=ort.__version__)), flush=True)


if __name__ == "__main__":
    main()
