// oneDNN as a peer: its matmul primitive on plain layouts, float32 or bf16 in, float32 out. The primitive is made before the
// clock starts, as a program that calls it in a loop would do.
#include <dnnl.hpp>
#include <memory>
#include <string>

#include "peer.h"

using dnnl::memory;

namespace {

dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
dnnl::stream queue(cpu);

struct Made {
  Product shape{};
  dnnl::matmul primitive;
  memory::desc a, b, c;
};
std::unique_ptr<Made> made;

bool same(const Product& x, const Product& y) { return memcmp(&x, &y, sizeof(Product)) == 0; }

void make(const Product& p) {
  const auto in = p.bf16 ? memory::data_type::bf16 : memory::data_type::f32;
  using dims = memory::dims;
  made = std::make_unique<Made>();
  made->shape = p;
  made->a = memory::desc({p.m, p.k}, in, p.transA ? dims{1, p.m} : dims{p.k, 1});
  made->b = memory::desc({p.k, p.n}, in, p.transB ? dims{1, p.k} : dims{p.n, 1});
  made->c = memory::desc({p.m, p.n}, memory::data_type::f32, dims{p.n, 1});
#if DNNL_VERSION_MAJOR >= 3
  made->primitive = dnnl::matmul(dnnl::matmul::primitive_desc(cpu, made->a, made->b, made->c));
#else
  made->primitive = dnnl::matmul(dnnl::matmul::primitive_desc(dnnl::matmul::desc(made->a, made->b, made->c), cpu));
#endif
}

const char* multiply(const Product* p, const void* a, const void* b, float* c) {
  try {
    if (made == nullptr || !same(made->shape, *p)) make(*p);
    made->primitive.execute(queue, {{DNNL_ARG_SRC, memory(made->a, cpu, const_cast<void*>(a))},
                                    {DNNL_ARG_WEIGHTS, memory(made->b, cpu, const_cast<void*>(b))},
                                    {DNNL_ARG_DST, memory(made->c, cpu, c)}});
    queue.wait();
  } catch (const dnnl::error&) {
    return "not supported";
  }
  return nullptr;
}

}  // namespace

// Threads by OMP_NUM_THREADS.
int main(int argc, char** argv) {
  const dnnl_version_t* v = dnnl_version();
  static const char* const names[] = {"any isa", "sse4.1", "avx", "avx2"};
  const unsigned isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const std::string kernel = isa == 0x1 ? names[1] : isa == 0x3 ? names[2] : isa == 0x7 ? names[3] : "avx512";
  printf("{\"peer\":\"onednn\",\"version\":\"%d.%d.%d\",\"kernel\":\"%s\",\"threads\":%s}\n", v->major, v->minor,
         v->patch, kernel.c_str(), argc > 1 ? argv[1] : "1");
  fflush(stdout);
  return serve(multiply);
}
