// BLIS as a peer, by its typed interface.
#include "peer.h"

#if __has_include(<blis/blis.h>)
#include <blis/blis.h>
#else
#include <blis.h>
#endif

static const char* multiply(const Product* p, const void* a, const void* b, float* c) {
  if (p->bf16) return "no bf16";
  float one = 1.0f, zero = 0.0f;
  bli_sgemm(p->transA ? BLIS_TRANSPOSE : BLIS_NO_TRANSPOSE, p->transB ? BLIS_TRANSPOSE : BLIS_NO_TRANSPOSE, p->m, p->n,
            p->k, &one, (float*)a, p->transA ? p->m : p->k, 1, (float*)b, p->transB ? p->k : p->n, 1, &zero, c, p->n,
            1);
  return NULL;
}

int main(int argc, char** argv) {
  const int threads = argc > 1 ? atoi(argv[1]) : 1;
  bli_thread_set_num_threads(threads);
  printf("{\"peer\":\"blis\",\"version\":\"%s\",\"kernel\":\"%s\",\"threads\":%d}\n", bli_info_get_version_str(),
         bli_arch_string(bli_arch_query_id()), threads);
  fflush(stdout);
  return serve(multiply);
}
