// What the GEMM peers share: a loop that reads one request a line, {"m":..,"n":..,"k":..,"transA":..,"transB":..,"bf16":..,
// "calls":..,"samples":..}, and answers one line, {"seconds":[..]} (of one call each) or {"error":".."}. The first line out says
// who answers. Matrices are row-major and dense. A peer gives its name, its settings and one product.
#ifndef SWEETSPOT_BENCH_PEER_H
#define SWEETSPOT_BENCH_PEER_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

typedef struct {
  int m, n, k, transA, transB, bf16;
} Product;

/// c (m, n) = op(a) op(b), float32 out; a and b float32 or bf16. Returns what is wrong, or NULL.
typedef const char* (*Multiply)(const Product* p, const void* a, const void* b, float* c);

static double field(const char* line, const char* name) {
  char key[40];
  snprintf(key, sizeof key, "\"%s\":", name);
  const char* at = strstr(line, key);
  return at == NULL ? 0.0 : atof(at + strlen(key));
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/// Multiples of 1/128 in [-1, 1): exact in bf16 too.
static void fill(void* out, size_t n, int bf16, uint32_t seed) {
  for (size_t i = 0; i < n; i++) {
    seed = seed * 1664525u + 1013904223u;
    const float value = (float)((int)(seed >> 24) - 128) / 128.0f;
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if (bf16)
      ((uint16_t*)out)[i] = (uint16_t)(bits >> 16);
    else
      ((float*)out)[i] = value;
  }
}

static double element(const void* data, size_t i, int bf16) {
  if (!bf16) return ((const float*)data)[i];
  const uint32_t bits = (uint32_t)((const uint16_t*)data)[i] << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

/// Whether a place in the middle of c is right: a transpose understood wrongly would be timed for nothing.
static int right(const Product* p, const void* a, const void* b, const float* c) {
  const size_t i = (size_t)p->m / 2, j = (size_t)p->n / 3;
  double sum = 0.0;
  for (size_t q = 0; q < (size_t)p->k; q++) {
    const double x = element(a, p->transA ? q * (size_t)p->m + i : i * (size_t)p->k + q, p->bf16);
    sum += x * element(b, p->transB ? j * (size_t)p->k + q : q * (size_t)p->n + j, p->bf16);
  }
  return fabs(sum - c[i * (size_t)p->n + j]) < 1e-3 * sqrt((double)p->k) + 1e-4 * fabs(sum);
}

/// On huge pages where the system has them, as ours.
static void* aligned(size_t bytes) {
  void* data = NULL;
  if (posix_memalign(&data, 1 << 21, bytes + 64) != 0) return NULL;
#ifdef MADV_HUGEPAGE
  madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
}

/// Operands stay for the next request of the same shape.
static void answer(const char* line, Multiply multiply) {
  static Product made;
  static void *a, *b;
  static float* c;
  const Product p = {(int)field(line, "m"),      (int)field(line, "n"),      (int)field(line, "k"),
                     (int)field(line, "transA"), (int)field(line, "transB"), (int)field(line, "bf16")};
  const int calls = (int)field(line, "calls"), samples = (int)field(line, "samples");
  if (memcmp(&p, &made, sizeof p) != 0) {
    const size_t width = p.bf16 ? 2 : 4, as = (size_t)p.m * (size_t)p.k, bs = (size_t)p.k * (size_t)p.n;
    free(a);
    free(b);
    free(c);
    a = aligned(as * width);
    b = aligned(bs * width);
    c = (float*)aligned((size_t)p.m * (size_t)p.n * 4);
    if (a == NULL || b == NULL || c == NULL) {
      memset(&made, 0, sizeof made);
      printf("{\"error\":\"no memory\"}\n");
      return;
    }
    fill(a, as, p.bf16, 1);
    fill(b, bs, p.bf16, 2);
    made = p;
  }
  const char* wrong = multiply(&p, a, b, c);  // also wakes the threads
  if (wrong == NULL && !right(&p, a, b, c)) wrong = "the product is wrong";
  if (wrong != NULL) {
    printf("{\"error\":\"%s\"}\n", wrong);
    return;
  }
  printf("{\"seconds\":[");
  for (int s = 0; s < samples; s++) {
    const double begin = now();
    for (int i = 0; i < calls; i++) multiply(&p, a, b, c);
    printf("%s%.9g", s == 0 ? "" : ",", (now() - begin) / calls);
  }
  printf("]}\n");
}

static int serve(Multiply multiply) {
  char line[512];
  while (fgets(line, sizeof line, stdin) != NULL) {
    answer(line, multiply);
    fflush(stdout);
  }
  return 0;
}

#endif
