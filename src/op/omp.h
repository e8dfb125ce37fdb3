/* Orthogonal matching pursuit as steps of a plan: what the reference and the cpu's kernels share, so that both choose the same atoms. */
#ifndef ADZE_SRC_OMP_H
#define ADZE_SRC_OMP_H

#include "adze/op.h"

/* omp: the phases d as doubles, products of atoms, examples; the first two make the scratch. */
size_t adze_omp_scratch(const adze_sig *s);
size_t adze_omp_local(const adze_sig *s);
void adze_omp_widen(const adze_step *s, int ith, int nth);
void adze_omp_gram(const adze_step *s, int ith, int nth);
void adze_omp_pursue(const adze_step *s, int ith, int nth);
/* omp_solve */
size_t adze_omp_solve_local(const adze_sig *s);
void adze_omp_solve_rows(const adze_step *s, int ith, int nth);

#endif
