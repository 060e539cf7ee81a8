// Asks a CUDA library how much scratch memory Programs need, which takes no GPU: dry_run LIBRARY FILE. The file holds
// Programs of one row each, their words behind their number; prints one number a line. Built by compile.test.ts.
#include <dlfcn.h>
#include <stdio.h>

#include "cuda/api.h"

int main(int count, char** arguments) {
  if (count != 3) return 2;
  void* library = dlopen(arguments[1], RTLD_NOW);
  if (library == NULL) return fprintf(stderr, "%s\n", dlerror()), 1;
  const SweetspotCudaApi* (*entry)(void) = (const SweetspotCudaApi* (*)(void))dlsym(library, "sweetspot_cuda_api");
  if (entry == NULL) return 1;
  FILE* file = fopen(arguments[2], "rb");
  if (file == NULL) return 1;
  // Never read or written.
  static uint8_t* const bases[1] = {(uint8_t*)4096};
  uint32_t length, words[64];
  while (fread(&length, 4, 1, file) == 1) {
    if (length > 64 || fread(words, 4, length, file) != length) return 1;
    const uint32_t start = 0;
    const SweetspotCudaProgram program = {1, words, &start, 1, 0xffffffffu, 0, 0};
    printf("%zu\n", entry()->dry_run(&program, bases));
  }
  return 0;
}
