// Products in float32 on the ordinary cores.
#include "cuda/gemm/launch.cuh"

namespace sweetspot::cuda {

template <class A, class B>
struct Fp32Precision {
  static constexpr int kPad = 4;
  template <int M, int N>
  using Math = Simt<A, B, M, N>;
};

void launch_fp32(Launch& l, const Product& p, const Split& split, bool large) {
  launch_precision<Fp32Precision>(l, p, split, large);
}

}  // namespace sweetspot::cuda
