#include "bench/onednn_matmul.h"

#include <omp.h>

#include <dnnl.hpp>

namespace baekji::bench {
namespace {

dnnl::memory::data_type type_of(const Tensor& t) {
  return t.type() == DType::kBfloat16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

// op(t) as a [rows, columns] description over t's memory.
dnnl::memory::desc plain_desc(const Tensor& t, bool transpose) {
  const std::int64_t ld = t.stride(0);
  if (transpose) return {{t.dim(1), t.dim(0)}, type_of(t), dnnl::memory::dims{1, ld}};
  return {{t.dim(0), t.dim(1)}, type_of(t), dnnl::memory::dims{ld, 1}};
}

}  // namespace

struct OnednnMatmul::State {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::matmul matmul;
  dnnl::memory a, b, c;
  int threads = 1;
};

OnednnMatmul::OnednnMatmul(const MatmulArgs& args, bool packed, int threads) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.threads = threads;
  omp_set_num_threads(threads);
  const dnnl::memory::desc a = plain_desc(args.a, args.transpose_a);
  const dnnl::memory::desc b = plain_desc(args.b, args.transpose_b);
  const dnnl::memory::desc c = plain_desc(args.c, false);
  const dnnl::memory::desc any(b.dims(), type_of(args.b), dnnl::memory::format_tag::any);
  dnnl::primitive_attr attributes;
  if (args.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0F);
    attributes.set_post_ops(sum);
  }
  const dnnl::matmul::primitive_desc primitive(dnnl::matmul::desc(a, packed ? any : b, c), attributes, s.engine);
  s.matmul = dnnl::matmul(primitive);
  s.a = dnnl::memory(a, s.engine, args.a.data());
  s.c = dnnl::memory(c, s.engine, args.c.data());
  s.b = dnnl::memory(b, s.engine, args.b.data());
  if (packed) {
    dnnl::memory copy(primitive.weights_desc(), s.engine);
    dnnl::reorder(s.b, copy).execute(s.stream, s.b, copy);
    s.stream.wait();
    s.b = copy;
  }
}

OnednnMatmul::~OnednnMatmul() = default;
OnednnMatmul::OnednnMatmul(OnednnMatmul&&) noexcept = default;

void OnednnMatmul::run() {
  State& s = *state_;
  omp_set_num_threads(s.threads);
  s.matmul.execute(s.stream, {{DNNL_ARG_SRC, s.a}, {DNNL_ARG_WEIGHTS, s.b}, {DNNL_ARG_DST, s.c}});
  s.stream.wait();
}

}  // namespace baekji::bench
