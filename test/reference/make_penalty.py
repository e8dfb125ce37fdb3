"""Records what scikit-learn finds on the diabetes data of Efron et al. (2004): python3 make_penalty.py > penalty.inc"""
import numpy as np
import sklearn
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet, Lasso, Ridge, lars_path, orthogonal_mp

x, y = load_diabetes(return_X_y=True, scaled=False)
n = len(x)
print(f"/* Written by make_penalty.py with scikit-learn {sklearn.__version__}: diabetes data (Efron, Hastie, Johnstone, Tibshirani 2004), and fits of them")
print(" * with columns of mean 0 and length 1 and targets of mean 0. */")
print("/* clang-format off */")


def table(name, rows, form="%.17g", kind="double"):
    rows = np.atleast_2d(rows)
    print(f"static const {kind} {name}[{rows.shape[0]}][{rows.shape[1]}] = {{")
    for r in rows:
        print("    {" + ", ".join(form % v for v in r) + "},")
    print("};")


table("diabetes_x", x, "%.7g")
table("diabetes_y", y, "%.7g")
x = x - x.mean(0)
x = x / np.sqrt((x * x).sum(0))
y = y - y.mean()
fits = [(100.0, 0.0), (10.0, 0.0), (300.0, 0.5)]
print("/* l1, l2, then the solution */")
table("lasso_says", [[a, b] + list((Lasso(a / n, fit_intercept=False, tol=1e-15, max_iter=1000000) if b == 0 else
      ElasticNet((a + b) / n, l1_ratio=a / (a + b), fit_intercept=False, tol=1e-15, max_iter=1000000)).fit(x, y).coef_) for a, b in fits])
print("/* alpha, then the solution */")
table("ridge_says", [[a] + list(Ridge(a, fit_intercept=False, solver="svd").fit(x, y).coef_) for a in (1e-4, 0.1, 3.0)])
alphas, _, coefs = lars_path(x, y, method="lasso")
print("/* l1 at a knot, then the solution */")
table("lars_says", np.column_stack([alphas * n, coefs.T]))
print("/* after each atom */")
table("omp_says", [orthogonal_mp(x, y, n_nonzero_coefs=k) for k in range(1, 8)])
