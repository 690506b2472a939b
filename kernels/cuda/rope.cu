// Rotary embedding, with the RMSNorm of each head before it (QK-norm) where a gain is given.
//
// Without a gain it is elementwise: a thread has a vector of 16 bytes of each half of a head, and the few threads of a
// warp that share a position read the same table entries. With a gain, a block stages some 32 heads in shared memory in
// fp32; a half-warp adds up along each in the contract's lanes. Bytes moved, per element: forward, x read and y written
// once; backward, dy read and dx written once; with a gain dy and x twice and dx once, since the gain's gradient folds
// over the heads and tokens of 64 tokens for each column, in an order of its own. It goes first: dx may be dy.

#include "kernels/cuda/rope.h"

#include <cmath>

#include "kernels/check.h"
#include "kernels/cuda/rows.cuh"

namespace baekji::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
struct Heads {
  T* data = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t head_stride = 0;

  __device__ T* at(std::int64_t n, std::int64_t h) const { return data + n * row_stride + h * head_stride; }
};
template <class T>
Heads<T> heads_of(const Tensor& tensor) {
  return {tensor.device_as<T>(), tensor.stride(0), tensor.stride(1)};
}

/// Whether both halves of every head begin at multiples of 16 bytes.
template <class... Tensors>
bool vector_heads(const Tensors&... tensors) {
  const auto aligned = [](const Tensor& t) {
    const std::int64_t size = size_of(t.type());
    const bool heads = t.dim(1) <= 1 || t.stride(1) * size % kVectorBytes == 0;
    return heads && t.dim(2) / 2 * size % kVectorBytes == 0 && vector_rows(t);
  };
  return (aligned(tensors) && ...);
}

/// Rows of the tables for each token.
struct Angles {
  const std::int32_t* position;
  Rows<float> cos;
  Rows<float> sin;
};
Angles angles_of(const Tensor& position_N, const Tensor& cos_PE, const Tensor& sin_PE) {
  return {position_N.device_as<std::int32_t>(), rows_of<float>(cos_PE), rows_of<float>(sin_PE)};
}

/// `Count` pairs: elements i and i + D/2 of a head, for neighbouring i.
template <int Count>
struct Pairs {
  Group<Count> low;
  Group<Count> high;
};
template <int Count, class T>
__device__ Pairs<Count> load_pairs(const T* low, std::int64_t half, std::int64_t left, bool vectors) {
  return {load_group<Count>(low, left, vectors), load_group<Count>(low + half, left, vectors)};
}
template <int Count, class T>
__device__ void store_pairs(T* low, std::int64_t half, const Pairs<Count>& pairs, std::int64_t left, bool vectors) {
  store_group(low, pairs.low, left, vectors);
  store_group(low + half, pairs.high, left, vectors);
}

/// Rotates pairs [i, i + Count) of token n by its angle, or back (Direction -1).
template <int Direction, int Count>
__device__ Pairs<Count> rotate(const Pairs<Count>& x, const Angles& angles, std::int64_t n, std::int64_t i,
                               std::int64_t left, bool vectors) {
  const std::int64_t position = angles.position[n];
  const Group<Count> cos = load_group<Count>(angles.cos[position] + i, left, vectors);
  const Group<Count> sin = load_group<Count>(angles.sin[position] + i, left, vectors);
  Pairs<Count> y;
#pragma unroll
  for (int k = 0; k < Count; ++k) {
    const float a = x.low.value[k];
    const float b = x.high.value[k];
    const float s = Direction < 0 ? -sin.value[k] : sin.value[k];
    y.low.value[k] = a * cos.value[k] - b * s;
    y.high.value[k] = b * cos.value[k] + a * s;
  }
  return y;
}

/// The extents of a call, and how blocks of threads share them.
struct Extents {
  std::int64_t tokens = 0;
  int heads = 0;
  int half = 0;          ///< of a head's width
  int groups = 0;        ///< into which vectors divide half a head
  int per_block = 0;     ///< tokens, or heads, of a block
  bool vectors = false;  ///< of the heads, the gain and the tables

  __device__ __host__ std::int64_t all_heads() const { return tokens * heads; }
};
template <class T>
Extents extents_of(const Tensor& x_NHD) {
  const int half = narrow<int>(x_NHD.dim(2) / 2);
  return {.tokens = x_NHD.dim(0),
          .heads = narrow<int>(x_NHD.dim(1)),
          .half = half,
          .groups = narrow<int>(ceil_div(half, kPerVector<T>))};
}
__device__ inline int smaller(std::int64_t a, int b) {
  return a < b ? static_cast<int>(a) : b;
}

template <class T>
struct RotateCall {
  Extents extents;
  Heads<T> from;
  Heads<T> to;  // may be `from`: a thread reads what it writes, and nobody else does
  Angles angles;
};

template <int Direction, class T>
__global__ void __launch_bounds__(kThreads) rotate_heads(RotateCall<T> call) {
  constexpr int kGroup = kPerVector<T>;
  const Extents& e = call.extents;
  const std::int64_t first = std::int64_t{blockIdx.x} * e.per_block;
  const int token_items = e.heads * e.groups;
  const int items = smaller(e.tokens - first, e.per_block) * token_items;
  for (int item = static_cast<int>(threadIdx.x); item < items; item += kThreads) {
    const std::int64_t n = first + item / token_items;
    const int h = item % token_items / e.groups;
    const int i = item % token_items % e.groups * kGroup;
    const int left = e.half - i;
    const Pairs<kGroup> x = load_pairs<kGroup>(call.from.at(n, h) + i, e.half, left, e.vectors);
    const Pairs<kGroup> y = rotate<Direction>(x, call.angles, n, i, left, e.vectors);
    store_pairs(call.to.at(n, h) + i, e.half, y, left, e.vectors);
  }
}

template <int Direction, class T>
void launch_rotate(RotateCall<T> call, Queue& queue, const char* name) {
  const int token_items = call.extents.heads * call.extents.groups;
  call.extents.per_block = token_items >= kThreads || token_items == 0 ? 1 : kThreads / token_items;
  launch({.grid = blocks_for(call.extents.tokens, call.extents.per_block), .block = kThreads}, queue.stream(), name,
         rotate_heads<Direction, T>, call);
}

/// Staged heads: their place in shared memory, and who adds up along which.
struct Staging {
  std::int64_t head_floats = 0;   ///< from one to the next
  std::int64_t array_floats = 0;  ///< of all heads of a block
};
constexpr int kMostHeads = 32;  // of a block: two for each half-warp

/// Chooses the heads of a block for `arrays` fp32 values of each element.
Staging plan_heads(Extents& extents, int arrays) {
  constexpr std::int64_t kBlockBytes = 40 << 10;
  constexpr std::int64_t kMostBytes = 200 << 10;
  const std::int64_t head_bytes = staged_row_bytes<float>(2 * std::int64_t{extents.half});
  if (head_bytes * arrays > kMostBytes) {
    throw Error("a head is too wide for normalised rotation on the GPU")
        .values(fmt::format("at most {} elements", kMostBytes / arrays / size_of(DType::kFloat32)),
                fmt::format("{}", 2 * extents.half))
        .at("rope");
  }
  extents.per_block = kMostHeads;
  while (extents.per_block > 1 && extents.per_block * head_bytes * arrays > kBlockBytes) extents.per_block /= 2;
  const std::int64_t head_floats = head_bytes / size_of(DType::kFloat32);
  return {.head_floats = head_floats, .array_floats = head_floats * extents.per_block};
}

template <class Call>
void launch_heads(const Extents& extents, int arrays, const Staging& staging, Queue& queue, const char* name,
                  void (*kernel)(Call), const Call& call) {
  const std::int64_t shared_bytes = arrays * staging.array_floats * size_of(DType::kFloat32);
  if (shared_bytes > (48 << 10)) allow_shared_bytes(kernel, shared_bytes, name);
  const std::int64_t heads = extents.tokens * extents.heads;
  launch({.grid = blocks_for(heads, extents.per_block), .block = kThreads, .shared_bytes = shared_bytes},
         queue.stream(), name, kernel, call);
}

/// Calls body(head of the block, whether there is one): each half-warp for its share. Whole warps stay together.
template <class Body>
__device__ void for_heads_of_half_warp(int per_block, int heads, const Body& body) {
  constexpr int kHalfWarps = kThreads / static_cast<int>(kRowLanes);
  const int half_warp = static_cast<int>(threadIdx.x) / static_cast<int>(kRowLanes);
  for (int first = 0; first < per_block; first += kHalfWarps) {
    const int head = first + half_warp;
    body(head, head < heads);
  }
}

template <class T>
struct NormForwardCall {
  Extents extents;
  Staging staging;
  Heads<T> x;
  Heads<T> y;
  Angles angles;
  const T* gain;
  Rows<float> rstd;
  float eps;
};

template <class T>
__global__ void __launch_bounds__(kThreads) normalise_and_rotate(NormForwardCall<T> call) {
  constexpr int kGroup = kPerVector<T>;
  __shared__ float head_rstd[kMostHeads];
  const Extents& e = call.extents;
  const std::int64_t first = std::int64_t{blockIdx.x} * e.per_block;
  const int heads = smaller(e.all_heads() - first, e.per_block);
  float* const staged = dynamic_shared<float>();
  const int items = heads * e.groups;
  for (int item = static_cast<int>(threadIdx.x); item < items; item += kThreads) {
    const int r = item / e.groups;
    const int i = item % e.groups * kGroup;
    const T* x = call.x.at((first + r) / e.heads, (first + r) % e.heads) + i;
    store_pairs(staged + r * call.staging.head_floats + i, e.half, load_pairs<kGroup>(x, e.half, e.half - i, e.vectors),
                e.half - i, e.vectors);
  }
  __syncthreads();
  for_heads_of_half_warp(e.per_block, heads, [&](int r, bool there) {
    const float* head = staged + r * call.staging.head_floats;
    const float sum = row_sum(there ? 2 * e.half : 0, [head](std::int64_t i) { return head[i] * head[i]; });
    if (!there || threadIdx.x % kRowLanes != 0) return;
    const float rstd = 1.0F / std::sqrt(sum / static_cast<float>(2 * e.half) + call.eps);
    head_rstd[r] = rstd;
    call.rstd[(first + r) / e.heads][(first + r) % e.heads] = rstd;
  });
  __syncthreads();
  for (int item = static_cast<int>(threadIdx.x); item < items; item += kThreads) {
    const int r = item / e.groups;
    const int i = item % e.groups * kGroup;
    const int left = e.half - i;
    const std::int64_t n = (first + r) / e.heads;
    const float rstd = head_rstd[r];
    Pairs<kGroup> x = load_pairs<kGroup>(staged + r * call.staging.head_floats + i, e.half, left, e.vectors);
    const Pairs<kGroup> gain = load_pairs<kGroup>(call.gain + i, e.half, left, e.vectors);
#pragma unroll
    for (int k = 0; k < kGroup; ++k) {
      x.low.value[k] = x.low.value[k] * rstd * gain.low.value[k];
      x.high.value[k] = x.high.value[k] * rstd * gain.high.value[k];
    }
    store_pairs(call.y.at(n, (first + r) % e.heads) + i, e.half, rotate<+1>(x, call.angles, n, i, left, e.vectors),
                left, e.vectors);
  }
}

template <class T>
struct NormBackwardCall {
  Extents extents;
  Staging staging;
  Heads<T> dy;
  Heads<T> dx;
  Heads<T> x;
  Angles angles;
  const T* gain;
  Rows<float> rstd;
  float* sums = nullptr;  ///< of the gain's gradient: [blocks of 64 tokens, D]
  int parts = 1;          ///< into which blocks of threads divide the pairs
};

/// The gradient of a normalised element pair's inputs: rstd * (d * gain - xhat * mean), element by element.
template <class T>
__global__ void __launch_bounds__(kThreads) unrotate_and_dx(NormBackwardCall<T> call) {
  constexpr int kGroup = kPerVector<T>;
  __shared__ float head_mean[kMostHeads];
  const Extents& e = call.extents;
  const std::int64_t first = std::int64_t{blockIdx.x} * e.per_block;
  const int heads = smaller(e.all_heads() - first, e.per_block);
  float* const gradients = dynamic_shared<float>();
  float* const xs = gradients + call.staging.array_floats;
  const int items = heads * e.groups;
  for (int item = static_cast<int>(threadIdx.x); item < items; item += kThreads) {
    const int r = item / e.groups;
    const int i = item % e.groups * kGroup;
    const int left = e.half - i;
    const std::int64_t n = (first + r) / e.heads;
    const std::int64_t h = (first + r) % e.heads;
    const std::int64_t at = r * call.staging.head_floats + i;
    const Pairs<kGroup> dy = load_pairs<kGroup>(call.dy.at(n, h) + i, e.half, left, e.vectors);
    const Pairs<kGroup> x = load_pairs<kGroup>(call.x.at(n, h) + i, e.half, left, e.vectors);
    store_pairs(gradients + at, e.half, rotate<-1>(dy, call.angles, n, i, left, e.vectors), left, e.vectors);
    store_pairs(xs + at, e.half, x, left, e.vectors);
  }
  __syncthreads();
  for_heads_of_half_warp(e.per_block, heads, [&](int r, bool there) {
    const float* gradient = gradients + r * call.staging.head_floats;
    const float* x = xs + r * call.staging.head_floats;
    const float rstd = there ? call.rstd[(first + r) / e.heads][(first + r) % e.heads] : 0.0F;
    const float dot = row_sum(there ? 2 * e.half : 0,
                              [&](std::int64_t i) { return (gradient[i] * to_float(call.gain[i])) * (x[i] * rstd); });
    if (there && threadIdx.x % kRowLanes == 0) head_mean[r] = dot / static_cast<float>(2 * e.half);
  });
  __syncthreads();
  for (int item = static_cast<int>(threadIdx.x); item < 2 * items; item += kThreads) {
    const int r = item / (2 * e.groups);
    const int i = item % e.groups * kGroup;
    const int left = e.half - i;
    const int column = (item / e.groups % 2 == 0 ? 0 : e.half) + i;
    const std::int64_t n = (first + r) / e.heads;
    const std::int64_t h = (first + r) % e.heads;
    const float rstd = call.rstd[n][h];
    const float mean = head_mean[r];
    const std::int64_t at = r * call.staging.head_floats + column;
    const Group<kGroup> x = load_group<kGroup>(xs + at, left, e.vectors);
    const Group<kGroup> gain = load_group<kGroup>(call.gain + column, left, e.vectors);
    Group<kGroup> group = load_group<kGroup>(gradients + at, left, e.vectors);
#pragma unroll
    for (int k = 0; k < kGroup; ++k)
      group.value[k] = rstd * (group.value[k] * gain.value[k] - (x.value[k] * rstd) * mean);
    store_group(call.dx.at(n, h) + column, group, left, e.vectors);
  }
}

constexpr int kPartPairs = 16;  // of a block of threads: 32-byte pieces of each half of a head in bf16

/// The gain's gradient over 64 tokens for 16 pairs of columns: all threads make terms, a batch of heads at a time, and
/// one warp, a thread for each column, folds the batch before while they make the next. Two batches of terms take
/// turns, so one barrier for each is enough.
template <class T>
__global__ void __launch_bounds__(kThreads) fold_gain(NormBackwardCall<T> call) {
  constexpr int kGroup = kPerVector<T>;
  constexpr int kGroups = kPartPairs / kGroup;
  constexpr int kBatch = kThreads / kGroups;
  constexpr int kColumns = 2 * kPartPairs;
  alignas(16) __shared__ float terms[2][kBatch][kColumns];
  const Extents& e = call.extents;
  const std::int64_t block = blockIdx.x / static_cast<unsigned>(call.parts);
  const int first_pair = static_cast<int>(blockIdx.x % static_cast<unsigned>(call.parts)) * kPartPairs;
  const std::int64_t first = block * kRowBlock * e.heads;
  const int heads = smaller(e.all_heads() - first, static_cast<int>(kRowBlock) * e.heads);
  const int thread = static_cast<int>(threadIdx.x);
  const int slot = thread / kGroups;
  const int group = thread % kGroups * kGroup;
  const int left = e.half - first_pair - group;
  float sum = 0;
  for (int batch = 0; batch * kBatch < heads; ++batch) {
    const int r = batch * kBatch + slot;
    if (r < heads && left > 0) {
      const std::int64_t n = (first + r) / e.heads;
      const std::int64_t h = (first + r) % e.heads;
      const int i = first_pair + group;
      const float rstd = call.rstd[n][h];
      const Pairs<kGroup> dy = load_pairs<kGroup>(call.dy.at(n, h) + i, e.half, left, e.vectors);
      const Pairs<kGroup> x = load_pairs<kGroup>(call.x.at(n, h) + i, e.half, left, e.vectors);
      Pairs<kGroup> term = rotate<-1>(dy, call.angles, n, i, left, e.vectors);
#pragma unroll
      for (int k = 0; k < kGroup; ++k) {
        term.low.value[k] = term.low.value[k] * (x.low.value[k] * rstd);
        term.high.value[k] = term.high.value[k] * (x.high.value[k] * rstd);
      }
      store_pairs(&terms[batch % 2][slot][group], kPartPairs, term, kGroup, true);
    }
    __syncthreads();
    if (thread >= kColumns) continue;
    const int count = smaller(heads - batch * kBatch, kBatch);
#pragma unroll 8
    for (int row = 0; row < count; ++row) sum = sum + terms[batch % 2][row][thread];
  }
  const int pair = first_pair + thread % kPartPairs;
  if (thread >= kColumns || pair >= e.half) return;
  call.sums[block * 2 * e.half + (thread < kPartPairs ? pair : pair + e.half)] = sum;
}

template <class T>
void backward_normalised(const RopeBackwardArgs& args, Queue& queue, const char* name) {
  NormBackwardCall<T> call{.extents = extents_of<T>(args.dy_NHD),
                           .staging = {},
                           .dy = heads_of<T>(args.dy_NHD),
                           .dx = heads_of<T>(args.dx_NHD),
                           .x = heads_of<T>(args.x_NHD),
                           .angles = angles_of(args.position_N, args.cos_PE, args.sin_PE),
                           .gain = args.gain_D.device_as<T>(),
                           .rstd = rows_of<float>(args.rstd_NH)};
  Extents& e = call.extents;
  e.vectors = vector_heads(args.dy_NHD, args.dx_NHD, args.x_NHD) && e.half % kPerVector<T> == 0 &&
              vector_rows(args.cos_PE, args.sin_PE, args.gain_D);
  call.staging = plan_heads(e, 2);
  const std::int64_t width = args.dy_NHD.dim(2);
  const std::int64_t blocks = ceil_div(e.tokens, kRowBlock);
  call.sums = static_cast<float*>(queue.scratch(blocks * width * size_of(DType::kFloat32)));
  call.parts = narrow<int>(ceil_div(e.half, kPartPairs));
  launch({.grid = narrow<unsigned>(blocks * call.parts), .block = kThreads}, queue.stream(), name, fold_gain<T>, call);
  add_block_sums(call.sums, blocks, width, args.dgain_D.device_as<float>(), queue.stream());
  launch_heads(e, 2, call.staging, queue, name, unrotate_and_dx<T>, call);
}

}  // namespace

void rope_forward(const RopeForwardArgs& args, Queue& queue) {
  constexpr const char* kName = "rope_forward";
  check_arguments(args);
  with_storage(args.x_NHD, kName, [&]<class T>(std::type_identity<T>) {
    Extents extents = extents_of<T>(args.x_NHD);
    extents.vectors = vector_heads(args.x_NHD, args.y_NHD) && vector_rows(args.cos_PE, args.sin_PE);
    const Angles angles = angles_of(args.position_N, args.cos_PE, args.sin_PE);
    const Heads<T> x = heads_of<T>(args.x_NHD);
    const Heads<T> y = heads_of<T>(args.y_NHD);
    if (!args.gain_D.defined()) {
      launch_rotate<+1, T>({.extents = extents, .from = x, .to = y, .angles = angles}, queue, kName);
      return;
    }
    extents.vectors = extents.vectors && vector_rows(args.gain_D);
    const Staging staging = plan_heads(extents, 1);
    launch_heads(extents, 1, staging, queue, kName, normalise_and_rotate<T>,
                 NormForwardCall<T>{.extents = extents,
                                    .staging = staging,
                                    .x = x,
                                    .y = y,
                                    .angles = angles,
                                    .gain = args.gain_D.device_as<T>(),
                                    .rstd = rows_of<float>(args.rstd_NH),
                                    .eps = static_cast<float>(args.eps)});
  });
}

void rope_backward(const RopeBackwardArgs& args, Queue& queue) {
  constexpr const char* kName = "rope_backward";
  check_arguments(args);
  if (args.dy_NHD.dim(0) == 0) return;
  with_storage(args.dy_NHD, kName, [&]<class T>(std::type_identity<T>) {
    if (args.gain_D.defined()) {
      backward_normalised<T>(args, queue, kName);
      return;
    }
    Extents extents = extents_of<T>(args.dy_NHD);
    extents.vectors = vector_heads(args.dy_NHD, args.dx_NHD) && vector_rows(args.cos_PE, args.sin_PE);
    launch_rotate<-1, T>({.extents = extents,
                          .from = heads_of<T>(args.dy_NHD),
                          .to = heads_of<T>(args.dx_NHD),
                          .angles = angles_of(args.position_N, args.cos_PE, args.sin_PE)},
                         queue, kName);
  });
}

}  // namespace baekji::cuda
