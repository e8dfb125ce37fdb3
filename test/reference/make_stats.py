#!/usr/bin/env python3
"""Records statistics and metrics by SciPy and scikit-learn. Usage: make_stats.py > test/reference/stats.inc"""
import math

import numpy as np
import scipy
import sklearn
from scipy import stats
from sklearn import metrics

rng = np.random.default_rng(11)


def arr(v):
    return "{" + ", ".join(repr(float(x)) if not isinstance(x, (bool, np.bool_)) else str(int(x)) for x in np.ravel(v)) + "}"


def ints(v):
    return "{" + ", ".join(str(int(x)) for x in np.ravel(v)) + "}"


print("/* clang-format off */")
print(f"/* By make_stats.py with SciPy {scipy.__version__} and scikit-learn {sklearn.__version__}. */")
a = np.round(rng.normal(0.9, 0.02, 8), 3)
b = np.round(a + rng.normal(0.01, 0.01, 8), 3)
b[2] = a[2]
d = b - a
t = stats.ttest_rel(b, a)
ci = stats.t.interval(0.95, len(d) - 1, loc=d.mean(), scale=stats.sem(d))
up, down = int((d > 0).sum()), int((d < 0).sum())
print(f"enum {{ SN = {len(d)} }};\nstatic const double DIFF[SN] = {arr(d)};")
print(f"static const double DIFF_MEAN = {d.mean()!r}, DIFF_SD = {d.std(ddof=1)!r}, DIFF_LO = {ci[0]!r}, DIFF_HI = {ci[1]!r};".replace("np.float64(", "").replace(")", ""))
print(f"static const double DIFF_T_P = {float(t.pvalue)!r}, DIFF_SIGN_P = {float(stats.binomtest(up, up + down).pvalue)!r};")
boot = stats.bootstrap((d,), np.mean, confidence_level=0.95, n_resamples=200000, method="percentile", rng=3).confidence_interval
print(f"static const double DIFF_BOOT_LO = {float(boot.low)!r}, DIFF_BOOT_HI = {float(boot.high)!r}; /* of 200,000 resamples */")
ts = [(t, df) for df in (1, 2, 3.5, 4, 9, 30, 1000) for t in (-30, -2.5, -0.3, 0, 0.7, 2, 12)]
print("static const struct {\n    double t, df, cdf;\n} T_CDF[] = {" + ", ".join(f"{{{t}, {df}, {float(stats.t.cdf(t, df))!r}}}" for t, df in ts) + "};")
qs = [(p, df) for df in (1, 2, 4, 9, 30, 1000) for p in (0.001, 0.025, 0.3, 0.9, 0.975, 0.9995)]
print("static const struct {\n    double p, df, t;\n} T_QUANTILE[] = {" + ", ".join(f"{{{p}, {df}, {float(stats.t.ppf(p, df))!r}}}" for p, df in qs) + "};")


def mcnemar(b, c):
    if b + c < 25:
        return float(stats.binomtest(b, b + c).pvalue) if b + c else 1.0
    return float(stats.chi2.sf(max(abs(b - c) - 1, 0) ** 2 / (b + c), 1))


pairs = [(0, 0), (1, 0), (5, 1), (3, 3), (12, 4), (0, 20), (10, 15), (20, 5), (40, 41), (100, 60), (300, 100)]
print("static const struct {\n    long b, c;\n    double p;\n} MCNEMAR[] = {" + ", ".join(f"{{{b}, {c}, {mcnemar(b, c)!r}}}" for b, c in pairs) + "};")
p = [0.01, 0.04, 0.03, 0.005, 0.5]
order, most, holm = np.argsort(p), 0.0, [0.0] * len(p)
for k, i in enumerate(order):
    most = max(most, min(1.0, p[i] * (len(p) - k)))
    holm[i] = most
print(f"enum {{ HN = {len(p)} }};\nstatic const double RAW_P[HN] = {arr(p)}, HOLM_P[HN] = {arr(holm)};")

# Scores of 60 examples in 4 classes, rounded so that there are ties; class 3 is never called.
n, c = 60, 4
labels = rng.integers(0, c, n)
scores = np.round(rng.normal(0, 1, (n, c)) + 1.2 * np.eye(c)[labels], 1)
scores[:, 3] -= 6
probs = np.exp(scores - scores.max(1, keepdims=True))
probs /= probs.sum(1, keepdims=True)
called = scores.argmax(1)
assert 3 not in called
print(f"enum {{ MN = {n}, MC = {c} }};\nstatic const long LABELS[MN] = {ints(labels)};\nstatic const double SCORES[MN * MC] = {arr(scores)};")
print(f"static const long CONFUSION[MC * MC] = {ints(metrics.confusion_matrix(labels, called))};")
P, R, F, _ = metrics.precision_recall_fscore_support(labels, called, zero_division=0)
print(f"static const double PRECISION[MC] = {arr(P)}, RECALL[MC] = {arr(R)}, F1[MC] = {arr(F)};")
A = [metrics.roc_auc_score(labels == k, probs[:, k]) for k in range(c)]
print(f"static const double AUC[MC] = {arr(A)};")
macro = metrics.precision_recall_fscore_support(labels, called, average="macro", zero_division=0)[:3]
print(f"static const double MACRO[4] = {arr(list(macro) + [metrics.roc_auc_score(labels, probs, multi_class='ovr')])};")
micro = metrics.precision_recall_fscore_support(labels, called, average="micro", zero_division=0)[:3]
print(f"static const double MICRO[3] = {arr(micro)};")
nll = metrics.log_loss(labels, probs)
print(f"static const double ACCURACY = {float(metrics.accuracy_score(labels, called))!r}, NLL = {float(nll)!r}, PERPLEXITY = {math.exp(nll)!r}, BITS = {float(nll) / math.log(2)!r};")
print(f"static const double MATTHEWS = {float(metrics.matthews_corrcoef(labels, called))!r};")
print(f"static const double BRIER = {float(((probs - np.eye(c)[labels]) ** 2).sum(1).mean())!r};")


def top_k(k):  # ties: the lower class first
    order = np.argsort(-scores, axis=1, kind="stable")
    return float(np.mean([labels[i] in order[i, :k] for i in range(n)]))


assert abs(top_k(1) - metrics.accuracy_score(labels, called)) < 1e-12
print(f"static const double TOP[MC] = {arr([top_k(k) for k in range(1, c + 1)])};")
conf, right = probs.max(1), called == labels
edges = np.linspace(0, 1, 16)
gaps = [(np.sum(m), abs(conf[m].mean() - right[m].mean())) for m in ((conf > lo) & (conf <= hi) for lo, hi in zip(edges, edges[1:])) if m.any()]
print(f"static const double ECE = {float(sum(k * g for k, g in gaps) / n)!r}, MCE = {float(max(g for _, g in gaps))!r};")
expected = probs @ np.arange(c)
fit = [metrics.mean_absolute_error(labels, expected), math.sqrt(metrics.mean_squared_error(labels, expected)), metrics.r2_score(labels, expected), stats.spearmanr(labels, expected).statistic]
print(f"static const double FIT[4] = {arr(fit)};")
