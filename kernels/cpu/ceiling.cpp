#include "kernels/cpu/ceiling.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <dnnl.hpp>
#include <vector>

namespace baekji {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// One thread's share: square matrices that stay in its part of the caches, the weight packed as the library likes it.
class SquareMatmul {
 public:
  static constexpr std::int64_t kSize = 1024;

  explicit SquareMatmul(DType type) : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    const auto element = type == DType::kBfloat16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
    const dnnl::memory::dims dims{kSize, kSize};
    const dnnl::memory::desc plain(dims, element, dnnl::memory::format_tag::ab);
    const dnnl::memory::desc any(dims, element, dnnl::memory::format_tag::any);
    const dnnl::matmul::desc operation(plain, any, plain);
    const dnnl::matmul::primitive_desc primitive(operation, engine_);
    matmul_ = dnnl::matmul(primitive);
    for (const auto& desc : {primitive.src_desc(), primitive.weights_desc(), primitive.dst_desc()}) {
      buffers_.emplace_back(desc, engine_);
      std::memset(buffers_.back().get_data_handle(), 0, desc.get_size());
    }
  }

  void run() {
    matmul_.execute(stream_,
                    {{DNNL_ARG_SRC, buffers_[0]}, {DNNL_ARG_WEIGHTS, buffers_[1]}, {DNNL_ARG_DST, buffers_[2]}});
    stream_.wait();
  }
  static double flops() { return 2.0 * static_cast<double>(kSize * kSize * kSize); }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::matmul matmul_;
  std::vector<dnnl::memory> buffers_;
};

}  // namespace

DType library_matmul_type(DType type) {
  if (is_float8(type)) return DType::kFloat32;
  if (type != DType::kBfloat16) return type;
  // oneDNN numbers instruction sets as bit masks that hold those before them.
  const auto here = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto needed = static_cast<unsigned>(dnnl::cpu_isa::avx512_core);
  return (here & needed) == needed ? type : DType::kFloat32;
}

double measure_matmul_ceiling(ThreadPool& pool, DType requested) {
  const DType type = library_matmul_type(requested);
  constexpr double kBudget_s = 0.3;
  constexpr std::int64_t kPerThread = 4;
  const int threads = pool.threads();
  std::vector<std::unique_ptr<SquareMatmul>> work(static_cast<std::size_t>(threads));
  double best = 0;
  const auto begin = Clock::now();
  for (int round = 0; round < 2 || seconds_since(begin) < kBudget_s; ++round) {
    const auto start = Clock::now();
    pool.run(threads, [&](std::int64_t i) {
      omp_set_num_threads(1);
      auto& mine = work[static_cast<std::size_t>(i)];
      if (!mine) mine = std::make_unique<SquareMatmul>(type);
      for (std::int64_t n = 0; n < kPerThread; ++n) mine->run();
    });
    if (round > 0)
      best = std::max(best, SquareMatmul::flops() * static_cast<double>(kPerThread * threads) / seconds_since(start));
  }
  return best;
}

double measure_copy_bandwidth(ThreadPool& pool) {
  constexpr std::int64_t kBytes = std::int64_t{256} << 20;
  std::vector<char> from(static_cast<std::size_t>(kBytes), 1);
  std::vector<char> to(static_cast<std::size_t>(kBytes), 0);
  double best = 0;
  for (int round = 0; round < 4; ++round) {
    const auto start = Clock::now();
    pool.for_ranges(kBytes, kBytes / (8 * pool.threads()), [&](std::int64_t a, std::int64_t b) {
      std::memcpy(to.data() + a, from.data() + a, static_cast<std::size_t>(b - a));
    });
    if (round > 0) best = std::max(best, 2.0 * static_cast<double>(kBytes) / seconds_since(start));
  }
  return best;
}

}  // namespace baekji
