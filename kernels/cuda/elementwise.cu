#include "kernels/cuda/elementwise.h"

#include <array>
#include <vector>

#include "kernels/check.h"
#include "kernels/cuda/columns.cuh"

namespace baekji::cuda {
namespace {

// Leaves that one launch adds: their rows travel in its arguments.
constexpr std::size_t kMostLeaves = 64;
// Leaves whose loads are on the way together: 8 x 16 bytes of bf16 a thread.
constexpr int kLeavesAtOnce = 8;

// The balanced tree over kCount neighbouring leaves.
template <int kCount, class T>
__device__ void subtree(const Rows<const T>* leaves, std::int64_t row, std::int64_t column, auto extent,
                        float (&sum)[kGroup]) {
  if constexpr (kCount == 1) {
    load_floats((*leaves)[row] + column, extent, sum);
  } else {
    float right[kGroup];
    subtree<kCount / 2>(leaves, row, column, extent, sum);
    subtree<kCount / 2>(leaves + kCount / 2, row, column, extent, right);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) sum[i] = sum[i] + right[i];
  }
}

__device__ inline void add_from_left(const float (&left)[kGroup], float (&sum)[kGroup]) {
#pragma unroll
  for (int i = 0; i < kGroup; ++i) sum[i] = left[i] + sum[i];
}
__device__ inline void keep(const float (&sum)[kGroup], float (&at)[kGroup]) {
#pragma unroll
  for (int i = 0; i < kGroup; ++i) at[i] = sum[i];
}

/// out = round(scale * tree [+ residual]) of 1, 2, 4 or 8 leaves (kCount), or of `turns` (1, 2, 4 or 8) times 8. Every
/// byte is read once and written once; a thread has read all its columns before it writes them, so out may be the
/// residual or a leaf.
template <int kCount, class T, class Y, class R>
struct Tree {
  static_assert(kMostLeaves == 8 * kLeavesAtOnce, "three levels of finished subtrees");
  Rows<const T> leaves[kMostLeaves];
  Rows<Y> out;
  Rows<const R> residual;  ///< data is null: none
  int turns = 1;
  float scale = 1;

  __device__ void operator()(std::int64_t row, std::int64_t column, auto extent) const {
    float sum[kGroup];
    subtree<kCount>(leaves, row, column, extent, sum);
    // A binary counter: two finished subtrees of one size merge at once, so that after the last turn all is in `sum`.
    float one[kGroup] = {};
    float two[kGroup] = {};
    float four[kGroup] = {};
    keep(sum, one);
    for (int turn = 1; turn < turns; ++turn) {
      subtree<kCount>(leaves + turn * kCount, row, column, extent, sum);
      if ((turn & 1) == 0) {
        keep(sum, one);
        continue;
      }
      add_from_left(one, sum);
      if ((turn & 2) == 0) {
        keep(sum, two);
        continue;
      }
      add_from_left(two, sum);
      if ((turn & 4) == 0) {
        keep(sum, four);
      } else {
        add_from_left(four, sum);
      }
    }
    finish(row, column, extent, sum);
  }

  __device__ void finish(std::int64_t row, std::int64_t column, auto extent, float (&sum)[kGroup]) const {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) sum[i] = scale * sum[i];
    if (residual.data != nullptr) {
      const Columns<R> other = load_columns(residual[row] + column, extent);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) sum[i] = sum[i] + other[i];
    }
    store_floats(out[row] + column, sum, extent);
  }
};

template <int kCount, class T, class Y, class R>
void launch_tree(const TreeAddArgs& args, bool aligned, Queue& queue) {
  Tree<kCount, T, Y, R> tree;
  for (std::size_t i = 0; i < args.leaves_NC.size(); ++i) tree.leaves[i] = rows_of<const T>(args.leaves_NC[i]);
  tree.out = rows_of<Y>(args.out_NC);
  if (args.residual_NC.defined()) tree.residual = rows_of<const R>(args.residual_NC);
  tree.turns = static_cast<int>(args.leaves_NC.size()) / kCount;
  tree.scale = static_cast<float>(args.scale);
  launch_groups(args.out_NC.dim(0), args.out_NC.dim(1), aligned, queue, "tree_add", tree);
}

template <class T, class Y, class R>
void tree_of_types(const TreeAddArgs& args, bool aligned, Queue& queue) {
  switch (args.leaves_NC.size()) {
    case 1:
      return launch_tree<1, T, Y, R>(args, aligned, queue);
    case 2:
      return launch_tree<2, T, Y, R>(args, aligned, queue);
    case 4:
      return launch_tree<4, T, Y, R>(args, aligned, queue);
    default:
      return launch_tree<kLeavesAtOnce, T, Y, R>(args, aligned, queue);
  }
}

// Up to kMostLeaves leaves.
void tree_in_one_launch(const TreeAddArgs& args, Queue& queue) {
  bool aligned = vector_rows(args.out_NC, args.residual_NC);
  for (const Tensor& leaf : args.leaves_NC) aligned = aligned && vector_rows(leaf);
  const Tensor& residual = args.residual_NC.defined() ? args.residual_NC : args.out_NC;
  with_storage(args.leaves_NC.front(), "tree_add", [&]<class T>(std::type_identity<T>) {
    with_storage(args.out_NC, "tree_add", [&]<class Y>(std::type_identity<Y>) {
      with_storage(residual, "tree_add",
                   [&]<class R>(std::type_identity<R>) { tree_of_types<T, Y, R>(args, aligned, queue); });
    });
  });
}

// The fp32 roots of the subtrees of kMostLeaves neighbouring leaves, in `memory`.
std::vector<Tensor> subtree_roots(std::span<const Tensor> leaves, std::byte* memory, Queue& queue) {
  const std::int64_t rows = leaves.front().dim(0);
  const std::int64_t width = leaves.front().dim(1);
  const std::int64_t pitch = round_up(width, 4);  // rows begin on 16 bytes
  std::vector<Tensor> roots;
  for (std::size_t begin = 0; begin < leaves.size(); begin += kMostLeaves) {
    const Tensor whole(memory, DType::kFloat32, {rows, pitch}, queue.device());
    memory += whole.size_bytes();
    roots.push_back(whole.columns(0, width));
    tree_in_one_launch({.leaves_NC = leaves.subspan(begin, kMostLeaves), .out_NC = roots.back()}, queue);
  }
  return roots;
}

/// The dims of two tensors of one shape without those that both can be walked through as one.
struct Runs {
  std::int64_t width = 1;
  std::array<std::int64_t, 3> count{1, 1, 1};  ///< innermost first
  std::array<std::int64_t, 3> stride_a{};
  std::array<std::int64_t, 3> stride_b{};
  std::size_t outer = 0;  ///< how many of these are in use

  std::int64_t rows() const { return count[0] * count[1] * count[2]; }
  bool strides_are_multiples(std::int64_t of_a, std::int64_t of_b) const {
    bool all = true;
    for (std::size_t d = 0; d < outer; ++d) all = all && stride_a[d] % of_a == 0 && stride_b[d] % of_b == 0;
    return all;
  }
};
Runs runs_of(const Tensor& a, const Tensor& b) {
  Runs runs;
  if (a.rank() > 0) runs.width = a.dim(a.rank() - 1);
  for (int d = a.rank() - 2; d >= 0; --d) {
    if (a.dim(d) == 1) continue;
    const bool first = runs.outer == 0;
    const std::size_t last = first ? 0 : runs.outer - 1;
    const std::int64_t next_a = first ? runs.width : runs.stride_a[last] * runs.count[last];
    const std::int64_t next_b = first ? runs.width : runs.stride_b[last] * runs.count[last];
    if (a.stride(d) == next_a && b.stride(d) == next_b) {
      (first ? runs.width : runs.count[last]) *= a.dim(d);
      continue;
    }
    runs.count[runs.outer] = a.dim(d);
    runs.stride_a[runs.outer] = a.stride(d);
    runs.stride_b[runs.outer] = b.stride(d);
    ++runs.outer;
  }
  return runs;
}

template <class From, class To>
struct Cast {
  const From* from;
  To* to;
  Runs runs;
  float scale;

  __device__ void operator()(std::int64_t row, std::int64_t column, auto extent) const {
    std::int64_t offset_from = row * runs.stride_a[0];
    std::int64_t offset_to = row * runs.stride_b[0];
    if (runs.outer > 1) {
      const std::int64_t inner = row % runs.count[0];
      const std::int64_t rest = row / runs.count[0];
      const std::int64_t middle = rest % runs.count[1];
      const std::int64_t outer = rest / runs.count[1];
      offset_from = inner * runs.stride_a[0] + middle * runs.stride_a[1] + outer * runs.stride_a[2];
      offset_to = inner * runs.stride_b[0] + middle * runs.stride_b[1] + outer * runs.stride_b[2];
    }
    float values[kGroup];
    load_floats(from + offset_from + column, extent, values);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) values[i] = values[i] * scale;
    store_floats(to + offset_to + column, values, extent);
  }
};

}  // namespace

void tree_add(const TreeAddArgs& args, Queue& queue) {
  check_arguments(args);
  if (args.leaves_NC.size() <= kMostLeaves) return tree_in_one_launch(args, queue);
  // 64 neighbouring leaves are a subtree of the whole: their roots, and the roots of 64 roots, are leaves again.
  const std::int64_t root_bytes =
      args.out_NC.dim(0) * round_up(args.out_NC.dim(1), 4) * static_cast<std::int64_t>(sizeof(float));
  std::int64_t roots = 0;
  for (std::size_t left = args.leaves_NC.size(); left > kMostLeaves;) {
    left /= kMostLeaves;
    roots += static_cast<std::int64_t>(left);
  }
  auto* memory = static_cast<std::byte*>(queue.scratch(std::max<std::int64_t>(roots * root_bytes, 1)));
  std::vector<Tensor> leaves = subtree_roots(args.leaves_NC, memory, queue);
  while (leaves.size() > kMostLeaves) {
    memory += static_cast<std::int64_t>(leaves.size()) * root_bytes;
    leaves = subtree_roots(leaves, memory, queue);
  }
  tree_in_one_launch({.leaves_NC = leaves, .out_NC = args.out_NC, .residual_NC = args.residual_NC, .scale = args.scale},
                     queue);
}

void cast(const CastArgs& args, Queue& queue) {
  check_arguments(args);
  if (args.in.size() == 0) return;
  const Runs runs = runs_of(args.in, args.out);
  with_storage(args.in, "cast", [&]<class From>(std::type_identity<From>) {
    with_storage(args.out, "cast", [&]<class To>(std::type_identity<To>) {
      const bool aligned =
          vector_rows(args.in, args.out) && runs.strides_are_multiples(kPerVector<From>, kPerVector<To>);
      launch_groups(runs.rows(), runs.width, aligned, queue, "cast",
                    Cast<From, To>{.from = args.in.device_as<From>(),
                                   .to = args.out.device_as<To>(),
                                   .runs = runs,
                                   .scale = static_cast<float>(args.scale)});
    });
  });
}

/// All-zero bytes are zero in every element type.
void fill_zero(const Tensor& tensor, Queue& queue) {
  if (tensor.size() == 0) return;
  const Runs runs = runs_of(tensor, tensor);
  const auto bytes = [&](std::int64_t elements) { return static_cast<std::size_t>(elements * size_of(tensor.type())); };
  for (std::int64_t outer = 0; outer < runs.count[2]; ++outer) {
    for (std::int64_t middle = 0; middle < runs.count[1]; ++middle) {
      void* const to =
          static_cast<std::byte*>(tensor.data()) + bytes(outer * runs.stride_a[2] + middle * runs.stride_a[1]);
      const cudaError_t result = runs.outer == 0
                                     ? cudaMemsetAsync(to, 0, bytes(runs.width), queue.stream())
                                     : cudaMemset2DAsync(to, bytes(runs.stride_a[0]), 0, bytes(runs.width),
                                                         static_cast<std::size_t>(runs.count[0]), queue.stream());
      check_cuda(result, "fill_zero");
    }
  }
}

void copy(const CopyArgs& args, Queue& queue) {
  check_arguments(args);
  if (args.from.size() == 0) return;
  check_cuda(cudaMemcpyAsync(args.to.data(), args.from.data(), static_cast<std::size_t>(args.from.size_bytes()),
                             cudaMemcpyDeviceToDevice, queue.stream()),
             "copy");
}

}  // namespace baekji::cuda
