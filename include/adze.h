/* Adze: the one header to include. It gathers the public headers, floor by floor; a file includes only its own floor and those below. */
#ifndef ADZE_H
#define ADZE_H

#include "adze/base.h"      /* errors, context, memory and file tables, fields, random numbers */
#include "adze/linalg.h"    /* factorisations, eigenvalues, Krylov methods, Fourier transforms, clusters, all in double */
#include "adze/minimize.h"  /* minimisers of smooth functions: Newton, BFGS, L-BFGS, conjugate gradients */
#include "adze/core.h"      /* dtypes, types, tensors, the store */
#include "adze/graph.h"     /* graphs, derivatives, plans, sessions */
#include "adze/ops.h"       /* one builder function per op */
#include "adze/op.h"        /* what an op is: for those who add one */
#include "adze/model.h"     /* layers, model files, the zoo */
#include "adze/data.h"      /* data sets and the loader */
#include "adze/curvature.h" /* Fisher matrices, the worth of a step */
#include "adze/train.h"     /* schedules, metrics, trainer, checkpoints */
#include "adze/diag.h"      /* probes of networks, demonstrations of optimisers */

#endif
