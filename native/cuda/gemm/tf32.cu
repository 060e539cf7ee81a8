// Products in tensor cores with factors of 11 significant bits.
#include "cuda/gemm/launch.cuh"

namespace sweetspot::cuda {

template <class A, class B>
struct Tf32Precision {
  static constexpr int kPad = 8;
  template <int M, int N>
  using Math = Tf32<A, B, M, N>;
};

void launch_tf32(Launch& l, const Product& p, const Split& split, bool large) {
  launch_precision<Tf32Precision>(l, p, split, large);
}

}  // namespace sweetspot::cuda
