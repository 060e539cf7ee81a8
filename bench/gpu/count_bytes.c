// Asks a CUDA library how many bytes the rows of a Program move, which takes no GPU: count_bytes LIBRARY FILE. The file
// holds the number of the arena, how matrices are multiplied (as in api.h), how many ranges of the arena are kept and
// how many words there are; those ranges; the words. Prints the bytes of all bf16 copies, then a line a row: its bytes
// and those of rounding. Built and run by bytes.ts.
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cuda/api.h"

static void* take(FILE* file, size_t count, size_t size) {
  void* memory = malloc(count * size + 1);
  if (memory != NULL && fread(memory, size, count, file) == count) return memory;
  fprintf(stderr, "the file ends too early\n");
  exit(1);
}

int main(int count, char** arguments) {
  if (count != 3) return 2;
  void* library = dlopen(arguments[1], RTLD_NOW);
  if (library == NULL) return fprintf(stderr, "%s\n", dlerror()), 1;
  const SweetspotCudaApi* (*entry)(void) = (const SweetspotCudaApi* (*)(void))dlsym(library, "sweetspot_cuda_api");
  if (entry == NULL || entry()->version != SWEETSPOT_CUDA_VERSION)
    return fprintf(stderr, "%s is of another version\n", arguments[1]), 1;
  FILE* file = fopen(arguments[2], "rb");
  if (file == NULL) return perror(arguments[2]), 1;
  uint32_t* head = (uint32_t*)take(file, 4, 4);
  const uint64_t* kept = (uint64_t*)take(file, head[2], 16);
  const uint32_t* words = (uint32_t*)take(file, head[3], 4);
  // No row is shorter than a word.
  uint32_t* starts = (uint32_t*)malloc(head[3] * sizeof(uint32_t) + 1);
  size_t rows = 0;
  for (uint32_t at = 0; at < head[3]; at += words[at] >> 16) {
    if (words[at] >> 16 == 0) return fprintf(stderr, "word %u does not begin a row\n", at), 1;
    starts[rows++] = at;
  }
  uint64_t* bytes = (uint64_t*)calloc(2 * rows + 1, sizeof(uint64_t));
  const SweetspotCudaProgram program = {1, words, starts, rows, head[0], kept, head[2]};
  printf("%zu\n", entry()->count_bytes(&program, head[1], bytes, bytes + rows));
  for (size_t row = 0; row < rows; row++) printf("%" PRIu64 " %" PRIu64 "\n", bytes[row], bytes[rows + row]);
  return 0;
}
