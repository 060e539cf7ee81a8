// The few functions of cuBLASLt that a product takes, as its documentation has them: no header of it is needed to
// build. Its matrices are column-major. Ours, read that way, are transposed, so it is asked for transpose(c) =
// transpose(op(b)) transpose(op(a)): b is its first factor, and what each is to be transposed by stays the same.
#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "cuda/gemm/cublaslt.h"
#include "cuda/gemm/product.cuh"

namespace sweetspot::cuda {

namespace {

using Status = int;  // 0: success
using Handle = struct HandleOpaque*;
using Descriptor = struct DescriptorOpaque*;
using Layout = struct LayoutOpaque*;
using Preference = struct PreferenceOpaque*;

// cublasLtMatmulAlgo_t and cublasLtMatmulHeuristicResult_t.
struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace;
  Status state;
  float waves;
  int reserved[4];
};

constexpr int kFloat32 = 0, kBfloat16 = 14;  // cudaDataType_t
constexpr int kComputeFloat32 = 68;          // cublasComputeType_t
constexpr int32_t kNotTransposed = 0, kTransposed = 1;
constexpr int kDescTransA = 3, kDescTransB = 4, kDescEpilogue = 7, kDescBiasPointer = 8;
constexpr uint32_t kEpilogueBias = 4;
constexpr int kLayoutBatch = 5, kLayoutStride = 6;
constexpr int kPreferWorkspace = 1, kPreferAlignment = 5;  // of a; b, c and d follow

// Enough for the splits of K that it likes on a large GPU.
constexpr size_t kWorkspace = size_t{32} << 20;
// Of what lies in buffers and among copies; the same for all, so that its choice follows from the shape.
constexpr uint32_t kAlignment = 16;

struct Library {
  Status (*create)(Handle*) = nullptr;
  Status (*descriptor_create)(Descriptor*, int compute, int scale) = nullptr;
  Status (*descriptor_destroy)(Descriptor) = nullptr;
  Status (*descriptor_set)(Descriptor, int attribute, const void*, size_t) = nullptr;
  Status (*layout_create)(Layout*, int type, uint64_t rows, uint64_t cols, int64_t ld) = nullptr;
  Status (*layout_destroy)(Layout) = nullptr;
  Status (*layout_set)(Layout, int attribute, const void*, size_t) = nullptr;
  Status (*preference_create)(Preference*) = nullptr;
  Status (*preference_destroy)(Preference) = nullptr;
  Status (*preference_set)(Preference, int attribute, const void*, size_t) = nullptr;
  Status (*heuristic)(Handle, Descriptor, Layout a, Layout b, Layout c, Layout d, Preference, int wanted, Heuristic*,
                      int* found) = nullptr;
  Status (*matmul)(Handle, Descriptor, const void* alpha, const void* a, Layout, const void* b, Layout,
                   const void* beta, const void* c, Layout, void* d, Layout, const Algorithm*, void* workspace, size_t,
                   cudaStream_t) = nullptr;
  Handle handle = nullptr;

  Library() {
    const char* asked = std::getenv("SWEETSPOT_CUDA_GEMM");
    if (asked == nullptr || std::strcmp(asked, "cublaslt") != 0) return;
    const char* file = std::getenv("SWEETSPOT_CUBLASLT");
    void* library = nullptr;
    for (const char* name : {file, "libcublasLt.so.13", "libcublasLt.so.12"})
      if (library == nullptr && name != nullptr) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return;
    bool complete = true;
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      complete = complete && function != nullptr;
    };
    find(create, "cublasLtCreate");
    find(descriptor_create, "cublasLtMatmulDescCreate");
    find(descriptor_destroy, "cublasLtMatmulDescDestroy");
    find(descriptor_set, "cublasLtMatmulDescSetAttribute");
    find(layout_create, "cublasLtMatrixLayoutCreate");
    find(layout_destroy, "cublasLtMatrixLayoutDestroy");
    find(layout_set, "cublasLtMatrixLayoutSetAttribute");
    find(preference_create, "cublasLtMatmulPreferenceCreate");
    find(preference_destroy, "cublasLtMatmulPreferenceDestroy");
    find(preference_set, "cublasLtMatmulPreferenceSetAttribute");
    find(heuristic, "cublasLtMatmulAlgoGetHeuristic");
    find(matmul, "cublasLtMatmul");
    if (!complete || create(&handle) != 0) handle = nullptr;
  }
};

// Opened by the dry pass, as it may allocate memory, which must not happen while a graph is captured.
const Library& library() {
  static const Library opened;
  return opened;
}

// One call, whose descriptors go when it does.
class Call {
 public:
  Call(const Library& library, const Product& p) : library_(library), p_(p) {}
  ~Call() {
    for (Layout layout : {a_, b_, c_})
      if (layout != nullptr) library_.layout_destroy(layout);
    if (preference_ != nullptr) library_.preference_destroy(preference_);
    if (descriptor_ != nullptr) library_.descriptor_destroy(descriptor_);
  }

  bool prepare() {
    return library_.descriptor_create(&descriptor_, kComputeFloat32, kFloat32) == 0 &&
           set(kDescTransA, p_.trans_b ? kTransposed : kNotTransposed) &&
           set(kDescTransB, p_.trans_a ? kTransposed : kNotTransposed) && set_bias() &&
           layout(b_, kBfloat16, p_.trans_b ? p_.n : p_.k, p_.trans_b ? p_.k : p_.n, p_.ldb, p_.stride_b) &&
           layout(a_, kBfloat16, p_.trans_a ? p_.k : p_.m, p_.trans_a ? p_.m : p_.k, p_.lda, p_.stride_a) &&
           layout(c_, p_.c.f32 != nullptr ? kFloat32 : kBfloat16, p_.m, p_.n, p_.ldc, p_.stride_c) && choose();
  }

  bool enqueue(cudaStream_t stream, void* workspace) const {
    const float alpha = p_.alpha, beta = p_.add != nullptr ? 1.0f : 0.0f;
    void* c = p_.c.f32 != nullptr ? static_cast<void*>(p_.c.f32) : p_.c.half;
    return library_.matmul(library_.handle, descriptor_, &alpha, p_.b_half, b_, p_.a_half, a_, &beta,
                           p_.add != nullptr ? p_.add : c, c_, c, c_, &best_.algorithm, workspace, kWorkspace,
                           stream) == 0;
  }

 private:
  template <class T>
  bool set(int attribute, T value) {
    return library_.descriptor_set(descriptor_, attribute, &value, sizeof value) == 0;
  }

  bool set_bias() {
    return p_.bias == nullptr || (set(kDescEpilogue, kEpilogueBias) && set(kDescBiasPointer, p_.bias));
  }

  // Rows and columns as ours are stored, ld apart.
  bool layout(Layout& made, int type, uint64_t rows, uint64_t cols, size_t ld, size_t stride) {
    if (library_.layout_create(&made, type, cols, rows, static_cast<int64_t>(ld)) != 0) return false;
    const auto batch = static_cast<int32_t>(p_.batch);
    const auto apart = static_cast<int64_t>(stride);
    return batch == 1 || (library_.layout_set(made, kLayoutBatch, &batch, sizeof batch) == 0 &&
                          library_.layout_set(made, kLayoutStride, &apart, sizeof apart) == 0);
  }

  bool choose() {
    if (library_.preference_create(&preference_) != 0) return false;
    const uint64_t most = kWorkspace;
    if (library_.preference_set(preference_, kPreferWorkspace, &most, sizeof most) != 0) return false;
    for (int operand = 0; operand < 4; operand++)
      if (library_.preference_set(preference_, kPreferAlignment + operand, &kAlignment, sizeof kAlignment) != 0)
        return false;
    int found = 0;
    return library_.heuristic(library_.handle, descriptor_, b_, a_, c_, c_, preference_, 1, &best_, &found) == 0 &&
           found == 1 && best_.state == 0 && best_.workspace <= kWorkspace;
  }

  const Library& library_;
  const Product& p_;
  Descriptor descriptor_ = nullptr;
  Layout a_ = nullptr, b_ = nullptr, c_ = nullptr;
  Preference preference_ = nullptr;
  Heuristic best_ = {};
};

// It writes one form of the result, and adds what has that form: a bf16 result is of a product alone.
bool takes(const Product& p) {
  if (p.group_tiles != nullptr || p.offsets != nullptr || p.count != nullptr) return false;
  if (p.batch == 0 || p.m == 0 || p.n == 0 || p.k == 0) return false;
  return p.c.half == nullptr || (p.c.f32 == nullptr && p.add == nullptr && p.bias == nullptr);
}

}  // namespace

bool multiply_cublaslt(Launch& l, const Product& p) {
  if (p.a_half == nullptr || library().handle == nullptr) return false;
  // In the dry pass our kernels ask for theirs as well: which of them runs is found out later.
  void* workspace = l.scratch(kWorkspace);
  if (l.dry || !takes(p)) return false;
  Call call(library(), p);
  return call.prepare() && call.enqueue(l.stream, workspace);
}

}  // namespace sweetspot::cuda
