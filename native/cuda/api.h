// The border between the addon and the CUDA library, which is opened at run time: C functions in one struct, no
// exceptions, no C++ types. The version changes with every change of this file, ops.gen.h included; a library of
// another version is refused (native/core/cuda_loader.cc), so no call has to be compatible.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define SWEETSPOT_CUDA_VERSION 3u

#ifdef __cplusplus
extern "C" {
#endif

typedef struct SweetspotCuda SweetspotCuda;

typedef struct {
  char name[128];
  uint32_t major, minor;  // compute capability
  uint32_t multiprocessors;
  uint32_t driver, runtime;  // as CUDA numbers them: 13000 is 13.0
  uint64_t memory;           // bytes
} SweetspotCudaInfo;

// A checked list of rows, see Program in core/executor.h.
typedef struct {
  uint32_t id;
  const uint32_t* words;
  const uint32_t* starts;
  size_t rows;
  // Buffer whose contents nobody else reads, apart from `kept`: pairs of bytes from, to. 0xffffffff: none.
  uint32_t arena;
  const uint64_t* kept;
  size_t kept_count;
} SweetspotCudaProgram;

// What failed; located says whether program and row are known.
typedef struct {
  int located;
  uint32_t program;
  uint32_t row;
  char message[400];
} SweetspotCudaError;

typedef struct {
  uint32_t version;
  size_t size;  // of this struct
  // nullptr and a filled `info` when there is a device that these kernels run on; otherwise why not. Opens nothing.
  const char* (*probe)(SweetspotCudaInfo* info);
  // matmul: 0 fp32, 1 tf32, 2 bf16. nullptr and a message when it cannot be opened.
  SweetspotCuda* (*open)(uint32_t matmul, SweetspotCudaError* error);
  void (*close)(SweetspotCuda*);
  // Zeroed device memory or nullptr. Safe from any thread; everything else belongs to one thread.
  void* (*allocate)(SweetspotCuda*, size_t bytes);
  void (*deallocate)(SweetspotCuda*, void* memory);
  void (*write)(SweetspotCuda*, void* target, const void* source, size_t bytes);
  void (*read)(SweetspotCuda*, void* target, const void* source, size_t bytes);
  // Queues one run; 0, or 1 and an error when it could not be queued.
  int (*run)(SweetspotCuda*, const SweetspotCudaProgram*, uint8_t* const* bases, SweetspotCudaError* error);
  // The program with this number will not run again.
  void (*forget)(SweetspotCuda*, uint32_t program);
  // Waits for everything queued; 1 and the first failure since the last call, or 0.
  int (*synchronize)(SweetspotCuda*, SweetspotCudaError* error);
  // Bytes of scratch memory that the rows of a program need; works without a device.
  size_t (*dry_run)(const SweetspotCudaProgram*, uint8_t* const* bases);
  // Bytes of global memory that each row moves by the plan of bf16 copies (copies.h), and those of the kernels that
  // round numbers for it; returns the bytes of copies apart from the buffers. Works without a device.
  size_t (*count_bytes)(const SweetspotCudaProgram*, uint32_t matmul, uint64_t* rows, uint64_t* rounding);
} SweetspotCudaApi;

#ifdef SWEETSPOT_CUDA_BUILDING
__attribute__((visibility("default")))
#endif
const SweetspotCudaApi*
sweetspot_cuda_api(void);

#ifdef __cplusplus
}
#endif
