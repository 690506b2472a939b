#include "kernels/cuda/own_attention.cuh"

namespace baekji::cuda {
namespace {

// The blocks of keys that softmax goes over; part of the order of sums (own_attention.h).
constexpr int kKeyBlock = 128;
constexpr float kMasked = -std::numeric_limits<float>::infinity();

template <class Element>
struct ForwardArguments {
  Heads<const Element> q, k, v;
  Heads<Element> y;
  float* lse = nullptr;
  std::int64_t lse_sequence = 0;
  std::int64_t lse_head = 0;
  AttentionExtents extents;
};

template <int kWidth>
struct ForwardMemory {
  static constexpr int kScoreStride = kKeyBlock + 1;
  static constexpr std::int64_t kBytes = (2 * Tile<kWidth>::kFloats + Tile<kWidth>::kRows * kScoreStride) * 4;
};

// One row of a tile as the threads of its half warp hold it.
struct RunningRow {
  float largest = kMasked;
  float sum = 0;
};

// Turns a row's scores into exp(score - running maximum), rounded as they will be multiplied, and returns what the row
// has summed so far is to be multiplied by. A row that sees none of the block is left as it is.
template <class Element>
__device__ float softmax_row(float* scores, bool visible, RunningRow& row) {
  constexpr int kEach = kKeyBlock / kSide;
  float best = kMasked;
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    const float score = scores[tile_column() + j * kSide];
    best = score > best ? score : best;
  }
  for (int half = kSide / 2; half >= 1; half /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, best, half, kSide);
    best = other > best ? other : best;
  }
  const float largest = row.largest < best ? best : row.largest;
  float lane = 0;
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    float& score = scores[tile_column() + j * kSide];
    const float weight = visible ? exp_f32(score - largest) : 0.0F;
    lane = lane + weight;
    score = rounded<Element>(weight);
  }
  const float total = row_tree(lane);
  if (!visible) return 1.0F;
  const float rescale = exp_f32(row.largest - largest);
  row.largest = largest;
  row.sum = row.sum * rescale + total;
  return rescale;
}

// Scaled scores of keys key, key + 1 ... of a block, which begin at column `part` of the rows of scores.
template <int kWidth>
__device__ void store_scores(const typename Tile<kWidth>::Scores& products, const TileKeys<kWidth>& keys,
                             std::int64_t block, int part, float scale, float* scores) {
  using T = Tile<kWidth>;
#pragma unroll
  for (int i = 0; i < T::kRowsEach; ++i) {
    const int row = tile_row() * T::kRowsEach + i;
#pragma unroll
    for (int j = 0; j < T::kRowsEach; ++j) {
      const int column = part + tile_column() + j * kSide;
      const bool visible = keys.sees(row, block + column);
      scores[row * ForwardMemory<kWidth>::kScoreStride + column] = visible ? products[i][j] * scale : kMasked;
    }
  }
}

// Divides by the sums, and stores y and lse.
template <class Element, int kWidth>
__device__ void finish_rows(const ForwardArguments<Element>& a, const RunningRow* rows, typename Tile<kWidth>::Sums& y,
                            std::int64_t b, std::int64_t h, std::int64_t begin) {
  using T = Tile<kWidth>;
  const std::int64_t queries = a.extents.visible.queries;
#pragma unroll
  for (int i = 0; i < T::kRowsEach; ++i) {
#pragma unroll
    for (int j = 0; j < T::kColumnsEach; ++j) y[i][j] = y[i][j] / rows[i].sum;
  }
  store_rows<kWidth>(y, a.y, b, h, begin, queries, a.extents.width);
#pragma unroll
  for (int i = 0; i < T::kRowsEach; ++i) {
    const std::int64_t t = begin + tile_row() * T::kRowsEach + i;
    if (tile_column() != 0 || t >= queries) continue;
    // The largest weight is exp(0): a finite sum is at least 1. Anything else stays visible.
    const float sum = rows[i].sum;
    const bool finite = sum <= std::numeric_limits<float>::max();
    const float log = finite ? static_cast<float>(log_f64(static_cast<double>(sum))) : sum;
    a.lse[b * a.lse_sequence + h * a.lse_head + t] = rows[i].largest + log;
  }
}

// A query tile of one head: blockIdx is (tile, head, sequence).
template <class Element, int kWidth>
__global__ void __launch_bounds__(kTileThreads) forward_kernel(const ForwardArguments<Element> a) {
  using T = Tile<kWidth>;
  constexpr int kScoreStride = ForwardMemory<kWidth>::kScoreStride;
  __shared__ TileKeys<kWidth> keys;
  float* const q = dynamic_shared<float>();
  float* const kv = q + T::kFloats;
  float* const scores = kv + T::kFloats;
  const AttentionExtents& e = a.extents;
  const std::int64_t b = blockIdx.z;
  const std::int64_t h = blockIdx.y;
  const std::int64_t begin = std::int64_t{blockIdx.x} * T::kRows;
  keys.load(e.visible, b, begin);
  load_tile<kWidth>(q, a.q, b, h, begin, e.visible.queries, e.width);
  __syncthreads();
  const std::int64_t least = keys.least();
  const std::int64_t past = keys.past();
  const auto sees_part = [&](std::int64_t key) { return key < past && key + T::kRows > least; };

  RunningRow rows[T::kRowsEach];
  typename T::Sums y{};
  for (std::int64_t block = least / kKeyBlock * kKeyBlock; block < past; block += kKeyBlock) {
    for (int part = 0; part < kKeyBlock; part += T::kRows) {
      typename T::Scores products{};
      if (sees_part(block + part)) {
        __syncthreads();  // the last users of kv are done
        load_tile<kWidth>(kv, a.k, b, h / e.group, block + part, e.visible.keys, e.width);
        __syncthreads();
        multiply_rows<kWidth>(q, kv, e.width, products);
      }
      store_scores<kWidth>(products, keys, block, part, e.scale, scores);
    }
    // A row of scores belongs to the half warp that has just written it.
    __syncwarp();
#pragma unroll
    for (int i = 0; i < T::kRowsEach; ++i) {
      const int row = tile_row() * T::kRowsEach + i;
      const bool visible = keys.sees_any(row, block, block + kKeyBlock);
      const float rescale = softmax_row<Element>(scores + row * kScoreStride, visible, rows[i]);
#pragma unroll
      for (int j = 0; j < T::kColumnsEach; ++j) y[i][j] = y[i][j] * rescale;
    }
    __syncwarp();
    for (int part = 0; part < kKeyBlock; part += T::kRows) {
      if (!sees_part(block + part)) continue;
      __syncthreads();
      load_tile<kWidth>(kv, a.v, b, h / e.group, block + part, e.visible.keys, e.width);
      __syncthreads();
      add_weighted_rows<kWidth>(scores + part, kScoreStride, kv, y);
    }
    __syncwarp();  // the next block's scores come into rows that are still being read
  }
  finish_rows<Element, kWidth>(a, rows, y, b, h, begin);
}

struct Forward {
  template <class Element, int kWidth>
  static void run(const AttentionForwardArgs& args, Queue& queue) {
    const Tensor& q = args.q_BTHD;
    const ForwardArguments<Element> arguments{.q = heads_of<const Element>(q),
                                              .k = heads_of<const Element>(args.k_BTKD),
                                              .v = heads_of<const Element>(args.v_BTKD),
                                              .y = heads_of<Element>(args.y_BTHD),
                                              .lse = args.lse_BHT.device_as<float>(),
                                              .lse_sequence = args.lse_BHT.stride(0),
                                              .lse_head = args.lse_BHT.stride(1),
                                              .extents = extents_of(q, args.k_BTKD, args.first_BT, args.scale)};
    constexpr std::int64_t kBytes = ForwardMemory<kWidth>::kBytes;
    const dim3 grid(blocks_for(q.dim(1), Tile<kWidth>::kRows), narrow<unsigned>(q.dim(2)), narrow<unsigned>(q.dim(0)));
    allow_shared_bytes(forward_kernel<Element, kWidth>, kBytes, "attention_forward");
    launch({.grid = grid, .block = dim3(kTileThreads), .shared_bytes = kBytes}, queue.stream(), "attention_forward",
           forward_kernel<Element, kWidth>, arguments);
  }
};

}  // namespace

void own_attention_forward(const AttentionForwardArgs& args, Queue& queue) {
  launch_for_shape<Forward>(args, queue);
}

}  // namespace baekji::cuda
