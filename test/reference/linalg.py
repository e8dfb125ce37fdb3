#!/usr/bin/env python3
"""Records what NumPy and SciPy (LAPACK) say about fixed matrices: writes test/reference/linalg.inc, which test_linalg.c includes.

The matrices are made of whole numbers from a small recurrence, so that both sides have the same bits."""
import numpy as np
import scipy.linalg as sl
import scipy.optimize as so


def fixed(rows, cols, seed):
    out, state = np.empty((rows, cols)), seed
    for i in range(rows):
        for j in range(cols):
            state = (state * 1103515245 + 12345) % 2**31
            out[i, j] = (state >> 16) % 201 - 100
    return out


def table(name, values):
    flat = np.asarray(values, dtype=float).ravel()
    rows = [", ".join(repr(float(v)) for v in flat[i:i + 5]) for i in range(0, len(flat), 5)]
    return "static const double %s[] = {\n    %s,\n};\n" % (name, ",\n    ".join(rows))


a, b = fixed(7, 7, 1), fixed(7, 2, 2)
tall, side = fixed(9, 5, 3), fixed(9, 1, 4)[:, 0]
spd = tall.T @ tall
symmetric = a + a.T
deficient = fixed(8, 3, 5) @ fixed(3, 6, 6)
points = fixed(12, 4, 7)
parts = [
    table("ref_solve", np.linalg.solve(a, b)),
    table("ref_det", np.linalg.slogdet(a)),
    table("ref_cholesky", np.linalg.cholesky(spd)),
    table("ref_inverse", np.linalg.inv(spd)),
    table("ref_r", np.abs(np.diag(sl.qr(tall, mode="r")[0]))),
    table("ref_r_pivoted", np.abs(np.diag(sl.qr(tall, mode="r", pivoting=True)[0]))),
    table("ref_order", sl.qr(tall, mode="r", pivoting=True)[1]),
    table("ref_squares", np.linalg.lstsq(tall, side, rcond=None)[0]),
    table("ref_shortest", np.linalg.lstsq(deficient, fixed(8, 1, 8), rcond=1e-10)[0]),
    table("ref_nnls", so.nnls(tall, side)[0]),
    table("ref_nnls_residual", [so.nnls(tall, side)[1]]),
    table("ref_eigen", np.linalg.eigvalsh(symmetric)),
    table("ref_singular", np.linalg.svd(tall, compute_uv=False)),
    table("ref_pinv", np.linalg.pinv(deficient, rcond=1e-10)),
    table("ref_sqrt", sl.sqrtm(spd)),
    table("ref_whiten", np.linalg.inv(sl.sqrtm(spd + 10 * np.eye(5)))),
    table("ref_hilbert", np.linalg.svd(sl.hilbert(6), compute_uv=False)),
    table("ref_fft_12", np.fft.fft(fixed(1, 12, 9) + 1j * fixed(1, 12, 10)).view(float)),
    table("ref_fft_17", np.fft.fft(fixed(1, 17, 9) + 1j * fixed(1, 17, 10)).view(float)),
    table("ref_fft2", np.ascontiguousarray(np.fft.fft2(fixed(3, 4, 9) + 1j * fixed(3, 4, 10))).view(float)),
    table("ref_rfft", np.fft.rfft(fixed(2, 10, 11)).view(float)),
    table("ref_variances", np.sort(np.linalg.eigvalsh(np.cov(points.T)))[::-1]),
]
head = "/* Written by test/reference/linalg.py with NumPy %s and SciPy %s: do not edit. */\n" % (np.__version__, __import__("scipy").__version__)
open(__file__.replace(".py", ".inc"), "w").write("/* clang-format off */\n" + head + "".join(parts))
