// A CUDA library without CUDA, to test what the addon makes of one: memory is the host's, fill works at once, argmax fails
// when the device is next waited for, every other op cannot be queued. Built by loading.test.ts.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/api.h"

#ifndef FAKE_VERSION
#define FAKE_VERSION SWEETSPOT_CUDA_VERSION
#endif

static SweetspotCudaError pending;

static const char* probe(SweetspotCudaInfo* info) {
#ifdef FAKE_REASON
  return FAKE_REASON;
#else
  memset(info, 0, sizeof *info);
  strcpy(info->name, "fake");
  info->major = 9;
  info->driver = 13000;
  return NULL;
#endif
}

static SweetspotCuda* open_device(uint32_t matmul, SweetspotCudaError* error) {
  if (matmul != 2) return (SweetspotCuda*)&pending;
  strcpy(error->message, "no bf16 here");
  return NULL;
}
static void close_device(SweetspotCuda* device) { (void)device, fprintf(stderr, "closed\n"); }
static void* allocate(SweetspotCuda* device, size_t bytes) { return (void)device, calloc(1, bytes + 1); }
static void deallocate(SweetspotCuda* device, void* memory) { (void)device, free(memory); }
static void write_bytes(SweetspotCuda* device, void* to, const void* from, size_t n) { (void)device, memcpy(to, from, n); }
static void read_bytes(SweetspotCuda* device, void* to, const void* from, size_t n) { (void)device, memcpy(to, from, n); }

static int run(SweetspotCuda* device, const SweetspotCudaProgram* program, uint8_t* const* bases,
               SweetspotCudaError* error) {
  (void)device;
  for (size_t row = 0; row < program->rows; row++) {
    const uint32_t* words = program->words + program->starts[row];
    const uint32_t opcode = words[0] & 0xffff;
    if (opcode == 1) {
      float value;
      memcpy(&value, words + 4, 4);
      for (uint32_t i = 0; i < words[3]; i++) ((float*)(bases[words[1]] + 64 * (size_t)words[2]))[i] = value;
      continue;
    }
    SweetspotCudaError* target = opcode == 8 ? &pending : error;
    target->located = 1;
    target->program = program->id;
    target->row = (uint32_t)row;
    strcpy(target->message, opcode == 8 ? "failed late" : "cannot be queued");
    return opcode == 8 ? 0 : 1;
  }
  return 0;
}

static void forget(SweetspotCuda* device, uint32_t program) { (void)device, fprintf(stderr, "forgot %u\n", program); }

static int synchronize(SweetspotCuda* device, SweetspotCudaError* error) {
  (void)device;
  *error = pending;
  memset(&pending, 0, sizeof pending);
  return error->located;
}

static size_t dry_run(const SweetspotCudaProgram* program, uint8_t* const* bases) {
  return (void)program, (void)bases, 0;
}

static size_t count_bytes(const SweetspotCudaProgram* program, uint32_t matmul, uint64_t* rows, uint64_t* rounding) {
  return (void)program, (void)matmul, (void)rows, (void)rounding, 0;
}

const SweetspotCudaApi* sweetspot_cuda_api(void) {
  static const SweetspotCudaApi api = {FAKE_VERSION, sizeof(SweetspotCudaApi), probe, open_device, close_device,
                                       allocate, deallocate, write_bytes, read_bytes, run, forget, synchronize, dry_run,
                                       count_bytes};
  return &api;
}
