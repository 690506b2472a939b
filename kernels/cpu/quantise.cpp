#include "kernels/cpu/quantise.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "kernels/check.h"
#include "kernels/cpu/row_lanes.h"
#include "kernels/reference/quantise.h"

namespace baekji::cpu {
namespace {

using reference::magnitude_bits;

// 64 x 64 codes: a transposed tile's rows fill one line of the cache each.
constexpr std::int64_t kTile = 64;

template <class T>
std::uint32_t largest_magnitude(const T* row, std::int64_t width) {
  std::uint32_t largest = 0;
  for (std::int64_t i = 0; i < width; ++i) largest = std::max(largest, magnitude_bits(to_float(row[i])));
  return largest;
}

template <class From, class To>
void quantise_tile(const QuantiseArgs& args, std::int64_t n, std::int64_t c, float inverse) {
  const std::int64_t rows = std::min(kTile, args.in_NC.dim(0) - n);
  const std::int64_t columns = std::min(kTile, args.in_NC.dim(1) - c);
  std::array<std::array<To, kTile>, kTile> tile;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  for (std::int64_t r = 0; r < rows; ++r) {
    const From* from = row_of<From>(args.in_NC, n + r) + c;
    To* to = tile[static_cast<std::size_t>(r)].data();
    BAEKJI_INDEPENDENT
    for (std::int64_t i = 0; i < columns; ++i) to[i] = reference::quantise_value<To>(to_float(from[i]), inverse);
    if (args.out_NC.defined()) std::copy_n(to, columns, row_of<To>(args.out_NC, n + r) + c);
  }
  if (!args.transposed_CN.defined()) return;
  for (std::int64_t i = 0; i < columns; ++i) {
    To* to = row_of<To>(args.transposed_CN, c + i) + n;
    for (std::int64_t r = 0; r < rows; ++r) to[r] = tile[static_cast<std::size_t>(r)][static_cast<std::size_t>(i)];
  }
}

}  // namespace

void absolute_max(const AbsoluteMaxArgs& args, ThreadPool& pool) {
  check_arguments(args);
  float* max = args.max.as<float>();
  // Maxima are exact: any order of the ranges gives one result.
  std::atomic<std::uint32_t> largest{args.combine ? magnitude_bits(*max) : 0};
  with_storage(args.in, "absolute_max", [&]<class T>(std::type_identity<T>) {
    pool.for_ranges(args.in.dim(0), rows_per_task(args.in.dim(1)), [&](std::int64_t begin, std::int64_t end) {
      std::uint32_t mine = 0;
      for (std::int64_t n = begin; n < end; ++n) {
        mine = std::max(mine, largest_magnitude(static_cast<const T*>(row_of<T>(args.in, n)), args.in.dim(1)));
      }
      std::uint32_t seen = largest.load(std::memory_order_relaxed);
      while (seen < mine && !largest.compare_exchange_weak(seen, mine, std::memory_order_relaxed)) {
      }
    });
  });
  *max = reference::magnitude_of(largest.load());
}

void quantise(const QuantiseArgs& args, ThreadPool& pool) {
  check_arguments(args);
  with_storage(args.in_NC, "quantise", [&]<class From>(std::type_identity<From>) {
    reference::with_float8(reference::quantised_type(args), "quantise", [&]<class To>(std::type_identity<To>) {
      const reference::QuantiseScale scale = reference::quantise_scale(*args.max.as<float>(), To::largest());
      *args.scale.as<float>() = scale.scale;
      const std::int64_t across = ceil_div(args.in_NC.dim(1), kTile);
      pool.for_ranges(ceil_div(args.in_NC.dim(0), kTile) * across, 4, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t t = begin; t < end; ++t) {
          quantise_tile<From, To>(args, t / across * kTile, t % across * kTile, scale.inverse);
        }
      });
    });
  });
}

}  // namespace baekji::cpu
