// Products in tensor cores with factors of 8 significant bits.
#include "cuda/gemm/launch.cuh"

namespace sweetspot::cuda {

template <class A, class B>
struct Bf16Precision {
  static constexpr int kPad = 8;
  template <int M, int N>
  using Math = TensorCore<Bf16, A, B, M, N>;
};

void launch_bf16(Launch& l, const Product& p, const Split& split, bool large) {
  launch_precision<Bf16Precision>(l, p, split, large);
}

}  // namespace sweetspot::cuda
