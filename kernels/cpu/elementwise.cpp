#include "kernels/cpu/elementwise.h"

#include <algorithm>
#include <array>

#include "kernels/check.h"
#include "kernels/cpu/row_lanes.h"
#include "kernels/reference/elementwise.h"

namespace baekji::cpu {
namespace {

constexpr std::int64_t kColumnBlock = 512;  // columns held in the first-level cache at once
constexpr std::size_t kMaxTreeDepth = 16;   // 2^15 leaves

using Block = std::array<float, kColumnBlock>;

// The tree over all leaves of one block of columns, as a binary counter: two finished subtrees of one size merge at
// once. The result is in stack[0].
template <class T>
void tree_block(const TreeAddArgs& args, std::int64_t row, std::int64_t column, std::int64_t size,
                std::array<Block, kMaxTreeDepth>& stack) {
  std::size_t top = 0;
  for (std::size_t leaf = 0; leaf < args.leaves_NC.size(); ++leaf) {
    const T* from = row_of<T>(args.leaves_NC[leaf], row) + column;
    float* to = stack[top++].data();
    BAEKJI_INDEPENDENT
    for (std::int64_t i = 0; i < size; ++i) to[i] = to_float(from[i]);
    for (std::size_t carry = leaf; (carry & 1) != 0; carry >>= 1) {
      const float* right = stack[--top].data();
      float* left = stack[top - 1].data();
      BAEKJI_INDEPENDENT
      for (std::int64_t i = 0; i < size; ++i) left[i] = left[i] + right[i];
    }
  }
}

template <class Y, class R>
void finish_block(const float* sum, const R* residual, Y* out, float scale, std::int64_t size) {
  if (residual == nullptr) {
    BAEKJI_INDEPENDENT
    for (std::int64_t i = 0; i < size; ++i) out[i] = from_float<Y>(scale * sum[i]);
  } else {
    BAEKJI_INDEPENDENT
    for (std::int64_t i = 0; i < size; ++i) out[i] = from_float<Y>(scale * sum[i] + to_float(residual[i]));
  }
}

template <class T, class Y, class R>
void tree_rows(const TreeAddArgs& args, std::int64_t begin, std::int64_t end) {
  std::array<Block, kMaxTreeDepth> stack;  // NOLINT(cppcoreguidelines-pro-type-member-init): written before it is read
  const std::int64_t width = args.out_NC.dim(1);
  const float scale = static_cast<float>(args.scale);
  for (std::int64_t n = begin; n < end; ++n) {
    Y* out = row_of<Y>(args.out_NC, n);
    const R* residual = args.residual_NC.defined() ? row_of<R>(args.residual_NC, n) : nullptr;
    for (std::int64_t c = 0; c < width; c += kColumnBlock) {
      const std::int64_t size = std::min(kColumnBlock, width - c);
      tree_block<T>(args, n, c, size, stack);
      finish_block(stack[0].data(), residual == nullptr ? residual : residual + c, out + c, scale, size);
    }
  }
}

template <class From, class To>
void cast_run(const From* from, To* to, float scale, std::int64_t size) {
  BAEKJI_INDEPENDENT
  for (std::int64_t i = 0; i < size; ++i) to[i] = from_float<To>(to_float(from[i]) * scale);
}

// A contiguous tensor as one long row, cut into pieces of this many elements for the threads.
constexpr std::int64_t kPieceElements = 65536;

}  // namespace

void tree_add(const TreeAddArgs& args, ThreadPool& pool) {
  check_arguments(args);
  if (args.leaves_NC.size() > (std::size_t{1} << (kMaxTreeDepth - 1))) {
    throw Error("too many leaves for the grain tree")
        .values(fmt::format("<= {}", 1 << (kMaxTreeDepth - 1)), fmt::format("{}", args.leaves_NC.size()))
        .at("tree_add");
  }
  const Tensor& residual = args.residual_NC.defined() ? args.residual_NC : args.out_NC;
  with_storage(args.leaves_NC.front(), "tree_add", [&]<class T>(std::type_identity<T>) {
    with_storage(args.out_NC, "tree_add", [&]<class Y>(std::type_identity<Y>) {
      with_storage(residual, "tree_add", [&]<class R>(std::type_identity<R>) {
        pool.for_ranges(args.out_NC.dim(0), rows_per_task(args.out_NC.dim(1)),
                        [&](std::int64_t begin, std::int64_t end) { tree_rows<T, Y, R>(args, begin, end); });
      });
    });
  });
}

void cast(const CastArgs& args, ThreadPool& pool) {
  check_arguments(args);
  const float scale = static_cast<float>(args.scale);
  with_storage(args.in, "cast", [&]<class From>(std::type_identity<From>) {
    with_storage(args.out, "cast", [&]<class To>(std::type_identity<To>) {
      const From* from = args.in.as<From>();
      To* to = args.out.as<To>();
      if (args.in.contiguous() && args.out.contiguous()) {
        pool.for_ranges(args.in.size(), kPieceElements, [&](std::int64_t begin, std::int64_t end) {
          cast_run(from + begin, to + begin, scale, end - begin);
        });
        return;
      }
      const std::int64_t outer = args.in.dim(0);
      pool.for_ranges(outer, rows_per_task(args.in.size() / std::max<std::int64_t>(outer, 1)),
                      [&](std::int64_t begin, std::int64_t end) {
                        const Tensor in = args.in.rows(begin, end - begin);
                        const Tensor out = args.out.rows(begin, end - begin);
                        reference::for_each_row(in, out, [&](std::int64_t a, std::int64_t b, std::int64_t width) {
                          cast_run(static_cast<const From*>(in.as<From>()) + a, out.as<To>() + b, scale, width);
                        });
                      });
    });
  });
}

void fill_zero(const Tensor& tensor, ThreadPool& pool) {
  if (!tensor.contiguous()) {
    reference::fill_zero(tensor);
    return;
  }
  std::byte* to = static_cast<std::byte*>(tensor.data());
  pool.for_ranges(tensor.size_bytes(), kPieceElements * 4,
                  [&](std::int64_t begin, std::int64_t end) { std::fill(to + begin, to + end, std::byte{0}); });
}

void copy(const CopyArgs& args, ThreadPool& pool) {
  check_arguments(args);
  const auto* from = static_cast<const std::byte*>(args.from.data());
  auto* to = static_cast<std::byte*>(args.to.data());
  pool.for_ranges(args.from.size_bytes(), kPieceElements * 4,
                  [&](std::int64_t begin, std::int64_t end) { std::copy(from + begin, from + end, to + begin); });
}

}  // namespace baekji::cpu
