/* Times one-row predictions in a C loop, so that no language's call overhead is in the numbers.
 *   driver KIND FOLDER SECONDS    KIND = lightgbm | tl2cgen | lleaves
 * Prints: best ns per row over passes of all rows, and the sum of predictions of one pass. */
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FEATURES = 57, ROWS = 2000 };
union Entry { int missing; double fvalue; int qvalue; };
void predict(union Entry *data, int pred_margin, double *result);                 /* tl2cgen's C, compiled in */
void forest_root(const double *data, double *result, int32_t start, int32_t end); /* lleaves' object, linked in */

static double rows[ROWS][FEATURES];
static void *fast;
static int (*single_row_fast)(void *, const void *, int64_t *, double *);

static void must(int ok, const char *what) {
  if (!ok) { fprintf(stderr, "driver: %s failed\n", what); exit(1); }
}

static void open_lightgbm(const char *folder) {
  char path[4096];
  void *lib = dlopen(getenv("LIB_LIGHTGBM"), RTLD_NOW);
  must(lib != NULL, "opening LIB_LIGHTGBM");
  int (*load)(const char *, int *, void **) = dlsym(lib, "LGBM_BoosterCreateFromModelfile");
  int (*init)(void *, int, int, int, int, int32_t, const char *, void **) = dlsym(lib, "LGBM_BoosterPredictForMatSingleRowFastInit");
  single_row_fast = dlsym(lib, "LGBM_BoosterPredictForMatSingleRowFast");
  void *booster;
  int iterations;
  snprintf(path, sizeof path, "%s/model.txt", folder);
  must(load(path, &iterations, &booster) == 0, "loading the model");
  must(init(booster, 0, 0, -1, 1, FEATURES, "num_threads=1", &fast) == 0, "SingleRowFastInit");
}

static double by_lightgbm(double *row) {
  double out;
  int64_t n;
  must(single_row_fast(fast, row, &n, &out) == 0, "SingleRowFast");
  return out;
}
static double by_tl2cgen(double *row) {
  double out = 0;
  predict((union Entry *)row, 0, &out);
  return out;
}
static double by_lleaves(double *row) {
  double out = 0;
  forest_root(row, &out, 0, 1);
  return out;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
  must(argc == 4, "reading arguments (KIND FOLDER SECONDS)");
  char path[4096];
  snprintf(path, sizeof path, "%s/rows.f64", argv[2]);
  FILE *f = fopen(path, "rb");
  must(f != NULL && fread(rows, sizeof rows, 1, f) == 1, "reading rows.f64");
  double (*one)(double *) = by_lightgbm;
  if (!strcmp(argv[1], "lightgbm")) open_lightgbm(argv[2]);
  else if (!strcmp(argv[1], "tl2cgen")) one = by_tl2cgen;
  else if (!strcmp(argv[1], "lleaves")) one = by_lleaves;
  else must(0, "reading KIND");
  double best = INFINITY, sum = 0, end = now() + atof(argv[3]);
  do {
    double start = now();
    sum = 0;
    for (int i = 0; i < ROWS; i++) sum += one(rows[i]);
    best = fmin(best, (now() - start) / ROWS);
  } while (now() < end);
  printf("%.1f %.17g\n", best * 1e9, sum);
}
