"""Runs SciPy's BFGS and L-BFGS-B and liblbfgs on the functions of mgh.inc and prints minimize.inc.

Usage: minimize.py PATH_OF_LIBLBFGS.so > minimize.inc. Counted are the evaluations up to the first point whose every |g_i| is at most 1e-5."""
import ctypes, os, subprocess, sys, tempfile
import numpy as np
import scipy
from scipy.optimize import minimize

here = os.path.dirname(os.path.abspath(__file__))
TOL = 1e-5
shim = '#include "%s/mgh.inc"\nint count(void){return MGH_COUNT;} int size(int i){return mgh[i].n;} const char *name(int i){return mgh[i].name;}\n' \
       'void start(int i,double*x){mgh_start(i,x);} double value(int i,const double*x,double*g){return mgh_value(i,x,g);}\n' % here
tmp = tempfile.mkdtemp()
open(tmp + "/m.c", "w").write(shim)
subprocess.check_call(["cc", "-O2", "-ffp-contract=off", "-shared", "-fPIC", tmp + "/m.c", "-o", tmp + "/m.so", "-lm"])
lib = ctypes.CDLL(tmp + "/m.so")
D = ctypes.POINTER(ctypes.c_double)
lib.value.restype, lib.value.argtypes = ctypes.c_double, [ctypes.c_int, D, D]
lib.start.argtypes = [ctypes.c_int, D]
lib.name.restype = ctypes.c_char_p


class Counted:
    def __init__(self, i):
        self.i, self.n, self.first, self.f = i, 0, None, None

    def __call__(self, x):
        x = np.ascontiguousarray(x, dtype=np.float64)
        g = np.empty_like(x)
        f = lib.value(self.i, x.ctypes.data_as(D), g.ctypes.data_as(D))
        self.n += 1
        if self.first is None and np.max(np.abs(g)) <= TOL:
            self.first, self.f = self.n, f
        return f, g


def start(i):
    x = np.zeros(lib.size(i))
    lib.start(i, x.ctypes.data_as(D))
    return x


def with_scipy(method, options):
    def run(i):
        c = Counted(i)
        minimize(c, start(i), jac=True, method=method, options=options)
        return c
    return run


class Param(ctypes.Structure):
    _fields_ = [("m", ctypes.c_int), ("epsilon", ctypes.c_double), ("past", ctypes.c_int), ("delta", ctypes.c_double), ("max_iterations", ctypes.c_int),
                ("linesearch", ctypes.c_int), ("max_linesearch", ctypes.c_int), ("min_step", ctypes.c_double), ("max_step", ctypes.c_double),
                ("ftol", ctypes.c_double), ("wolfe", ctypes.c_double), ("gtol", ctypes.c_double), ("xtol", ctypes.c_double),
                ("orthantwise_c", ctypes.c_double), ("a", ctypes.c_int), ("b", ctypes.c_int)]


def with_liblbfgs(path):
    lb = ctypes.CDLL(path)
    EVAL = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_void_p, D, D, ctypes.c_int, ctypes.c_double)

    def run(i):
        c = Counted(i)

        def ev(_, x, g, n, step):
            f, grad = c(np.ctypeslib.as_array(x, (n,)).copy())
            np.ctypeslib.as_array(g, (n,))[:] = grad
            return f
        p = Param()
        lb.lbfgs_parameter_init(ctypes.byref(p))
        p.m, p.epsilon = 10, 1e-9
        x, f = start(i), ctypes.c_double()
        lb.lbfgs(len(x), x.ctypes.data_as(D), ctypes.byref(f), EVAL(ev), None, None, ctypes.byref(p))
        return c
    return run


runs = [("bfgs", with_scipy("BFGS", {"gtol": 1e-7})), ("lbfgsb", with_scipy("L-BFGS-B", {"gtol": 1e-7, "ftol": 1e-30, "maxcor": 10})),
        ("liblbfgs", with_liblbfgs(sys.argv[1]))]
print("/* Written by minimize.py (SciPy %s, liblbfgs 1.10): evaluations up to |g_i| <= %g, and f there. 0: never. */" % (scipy.__version__, TOL))
print("static const struct recorded {\n    const char *name;\n    int64_t bfgs, lbfgsb, liblbfgs;\n    double f[3];\n} recorded[] = {")
for i in range(lib.count()):
    c = [r(i) for _, r in runs]
    print('    {"%s", %s, {%s}},' % (lib.name(i).decode(), ", ".join(str(k.first or 0) for k in c), ", ".join(repr(float(k.f)) if k.f is not None else "NAN" for k in c)))
print("};")
