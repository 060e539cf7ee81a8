// OpenBLAS as a peer. Declared here, not included: <cblas.h> may be that of another library.
#include "peer.h"

void cblas_sgemm(int order, int transA, int transB, int m, int n, int k, float alpha, const float* a, int lda,
                 const float* b, int ldb, float beta, float* c, int ldc);
void openblas_set_num_threads(int threads);
char* openblas_get_corename(void);
char* openblas_get_config(void);

static const char* multiply(const Product* p, const void* a, const void* b, float* c) {
  if (p->bf16) return "no bf16";
  const int row_major = 101, plain = 111, transposed = 112;
  cblas_sgemm(row_major, p->transA ? transposed : plain, p->transB ? transposed : plain, p->m, p->n, p->k, 1.0f,
              (const float*)a, p->transA ? p->m : p->k, (const float*)b, p->transB ? p->k : p->n, 0.0f, c, p->n);
  return NULL;
}

int main(int argc, char** argv) {
  const int threads = argc > 1 ? atoi(argv[1]) : 1;
  openblas_set_num_threads(threads);
  // "OpenBLAS 0.3.21 ..."
  char version[32] = "";
  sscanf(openblas_get_config(), "%*s %31s", version);
  printf("{\"peer\":\"openblas\",\"version\":\"%s\",\"kernel\":\"%s\",\"threads\":%d}\n", version,
         openblas_get_corename(), threads);
  fflush(stdout);
  return serve(multiply);
}
