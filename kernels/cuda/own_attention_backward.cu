#include "kernels/cuda/own_attention.cuh"
#include "kernels/cuda_planning.h"

namespace baekji::cuda {
namespace {

template <class Element>
struct BackwardArguments {
  Heads<const Element> q, k, v, y, dy;
  Heads<Element> dq, dk, dv;
  const float* lse = nullptr;
  std::int64_t lse_sequence = 0;
  std::int64_t lse_head = 0;
  float* delta_BHT = nullptr;  ///< dy . y of every query
  AttentionExtents extents;
};

template <int kWidth>
struct BackwardMemory {
  static constexpr int kSquareStride = Tile<kWidth>::kRows + 1;
  static constexpr int kSquareFloats = Tile<kWidth>::kRows * kSquareStride;
  static constexpr std::int64_t kQueryBytes = (4 * Tile<kWidth>::kFloats + kSquareFloats) * 4;
  static constexpr std::int64_t kKeyBytes = (4 * Tile<kWidth>::kFloats + 2 * kSquareFloats) * 4;
};

// What a tile of queries has of each row: lse and delta.
template <int kWidth>
struct TileStatistics {
  float lse[Tile<kWidth>::kRows];
  float delta[Tile<kWidth>::kRows];

  template <class Element>
  __device__ void load(const BackwardArguments<Element>& a, std::int64_t b, std::int64_t h, std::int64_t begin) {
    const std::int64_t queries = a.extents.visible.queries;
    for (int r = static_cast<int>(threadIdx.x); r < Tile<kWidth>::kRows; r += static_cast<int>(kTileThreads)) {
      const std::int64_t t = begin + r;
      const bool inside = t < queries;
      lse[r] = inside ? a.lse[b * a.lse_sequence + h * a.lse_head + t] : 0.0F;
      delta[r] = inside ? a.delta_BHT[(b * a.extents.heads + h) * queries + t] : 0.0F;
    }
  }
};

// p = exp(scale q.k - lse) and ds = p (dy.v - delta) scale, rounded as they will be multiplied (Dao et al. 2022,
// "FlashAttention", appendix B).
struct WeightGradient {
  float weight = 0;
  float dscore = 0;
};
template <class Element>
__device__ WeightGradient weight_gradient(float score, float dweight, float scale, float lse, float delta) {
  const float p = exp_f32(score * scale - lse);
  return {.weight = rounded<Element>(p), .dscore = rounded<Element>(p * (dweight - delta) * scale)};
}

// delta = dy . y in 16 lanes; 16 rows to a block.
template <class Element>
__global__ void __launch_bounds__(kTileThreads) delta_kernel(const BackwardArguments<Element> a, std::int64_t rows) {
  const AttentionExtents& e = a.extents;
  const std::int64_t row = std::int64_t{blockIdx.x} * kSide + tile_row();
  const bool inside = row < rows;
  float lane = 0;
  if (inside) {
    const std::int64_t t = row % e.visible.queries;
    const std::int64_t h = row / e.visible.queries % e.heads;
    const std::int64_t b = row / e.visible.queries / e.heads;
    const Element* y = a.y.at(b, t, h);
    const Element* dy = a.dy.at(b, t, h);
    for (int d = tile_column(); d < e.width; d += kSide) {
      lane = lane + static_cast<float>(dy[d]) * static_cast<float>(y[d]);
    }
  }
  const float total = row_tree(lane);
  if (inside && tile_column() == 0) a.delta_BHT[row] = total;
}

// dq of a query tile of one head: blockIdx is (tile, head, sequence).
template <class Element, int kWidth>
__global__ void __launch_bounds__(kTileThreads) query_gradient_kernel(const BackwardArguments<Element> a) {
  using T = Tile<kWidth>;
  constexpr int kSquareStride = BackwardMemory<kWidth>::kSquareStride;
  __shared__ TileKeys<kWidth> keys;
  __shared__ TileStatistics<kWidth> rows;
  float* const q = dynamic_shared<float>();
  float* const dy = q + T::kFloats;
  float* const k = dy + T::kFloats;
  float* const v = k + T::kFloats;
  float* const dscores = v + T::kFloats;
  const AttentionExtents& e = a.extents;
  const std::int64_t b = blockIdx.z;
  const std::int64_t h = blockIdx.y;
  const std::int64_t begin = std::int64_t{blockIdx.x} * T::kRows;
  keys.load(e.visible, b, begin);
  rows.load(a, b, h, begin);
  load_tile<kWidth>(q, a.q, b, h, begin, e.visible.queries, e.width);
  load_tile<kWidth>(dy, a.dy, b, h, begin, e.visible.queries, e.width);
  __syncthreads();
  const std::int64_t past = keys.past();

  typename T::Sums dq{};
  for (std::int64_t key = keys.least() / T::kRows * T::kRows; key < past; key += T::kRows) {
    __syncthreads();  // the last users of k are done
    load_tile<kWidth>(k, a.k, b, h / e.group, key, e.visible.keys, e.width);
    load_tile<kWidth>(v, a.v, b, h / e.group, key, e.visible.keys, e.width);
    __syncthreads();
    typename T::Scores scores;
    typename T::Scores dweights;
    multiply_rows<kWidth>(q, k, e.width, scores);
    multiply_rows<kWidth>(dy, v, e.width, dweights);
#pragma unroll
    for (int i = 0; i < T::kRowsEach; ++i) {
      const int row = tile_row() * T::kRowsEach + i;
#pragma unroll
      for (int j = 0; j < T::kRowsEach; ++j) {
        const int column = tile_column() + j * kSide;
        const WeightGradient g =
            weight_gradient<Element>(scores[i][j], dweights[i][j], e.scale, rows.lse[row], rows.delta[row]);
        dscores[row * kSquareStride + column] = keys.sees(row, key + column) ? g.dscore : 0.0F;
      }
    }
    __syncwarp();  // a row belongs to half a warp
    add_weighted_rows<kWidth>(dscores, kSquareStride, k, dq);
  }
  store_rows<kWidth>(dq, a.dq, b, h, begin, e.visible.queries, e.width);
}

// Weights and score gradients of one tile, transposed: [key, query].
template <class Element, int kWidth>
__device__ void store_transposed(const typename Tile<kWidth>::Scores& scores,
                                 const typename Tile<kWidth>::Scores& dweights, const TileKeys<kWidth>& keys,
                                 const TileStatistics<kWidth>& rows, std::int64_t key, float scale, float* weights) {
  using T = Tile<kWidth>;
  constexpr int kSquareStride = BackwardMemory<kWidth>::kSquareStride;
  float* const dscores = weights + BackwardMemory<kWidth>::kSquareFloats;
#pragma unroll
  for (int i = 0; i < T::kRowsEach; ++i) {
    const int column = tile_row() * T::kRowsEach + i;
#pragma unroll
    for (int j = 0; j < T::kRowsEach; ++j) {
      const int row = tile_column() + j * kSide;
      const WeightGradient g =
          weight_gradient<Element>(scores[i][j], dweights[i][j], scale, rows.lse[row], rows.delta[row]);
      const bool visible = keys.sees(row, key + column);
      weights[column * kSquareStride + row] = visible ? g.weight : 0.0F;
      dscores[column * kSquareStride + row] = visible ? g.dscore : 0.0F;
    }
  }
}

// dk and dv of a key tile of one key head: blockIdx is (tile, key head, sequence). Query heads come one after the
// other, and in each its queries, so that every element is one fold.
template <class Element, int kWidth>
__global__ void __launch_bounds__(kTileThreads) key_gradient_kernel(const BackwardArguments<Element> a) {
  using T = Tile<kWidth>;
  constexpr int kSquareStride = BackwardMemory<kWidth>::kSquareStride;
  __shared__ TileKeys<kWidth> keys;
  __shared__ TileStatistics<kWidth> rows;
  float* const k = dynamic_shared<float>();
  float* const v = k + T::kFloats;
  float* const q = v + T::kFloats;
  float* const dy = q + T::kFloats;
  float* const weights = dy + T::kFloats;
  const AttentionExtents& e = a.extents;
  const Visibility& visible = e.visible;
  const std::int64_t b = blockIdx.z;
  const std::int64_t kv_head = blockIdx.y;
  const std::int64_t key = std::int64_t{blockIdx.x} * T::kRows;
  load_tile<kWidth>(k, a.k, b, kv_head, key, visible.keys, e.width);
  load_tile<kWidth>(v, a.v, b, kv_head, key, visible.keys, e.width);
  // Queries before this one end before the tile's first key.
  const std::int64_t seeing = key - (visible.keys - visible.queries);
  const std::int64_t start = seeing > 0 ? seeing / T::kRows * T::kRows : 0;

  typename T::Sums dk{};
  typename T::Sums dv{};
  for (std::int64_t h = kv_head * e.group; h < (kv_head + 1) * e.group; ++h) {
    for (std::int64_t t = start; t < visible.queries; t += T::kRows) {
      __syncthreads();  // the last users of the query tile are done
      keys.load(visible, b, t);
      __syncthreads();
      if (keys.least() >= key + T::kRows) continue;  // all in later documents
      rows.load(a, b, h, t);
      load_tile<kWidth>(q, a.q, b, h, t, visible.queries, e.width);
      load_tile<kWidth>(dy, a.dy, b, h, t, visible.queries, e.width);
      __syncthreads();
      typename T::Scores scores;
      typename T::Scores dweights;
      multiply_rows<kWidth>(k, q, e.width, scores);
      multiply_rows<kWidth>(v, dy, e.width, dweights);
      store_transposed<Element, kWidth>(scores, dweights, keys, rows, key, e.scale, weights);
      __syncwarp();  // a row belongs to half a warp
      add_weighted_rows<kWidth>(weights, kSquareStride, dy, dv);
      add_weighted_rows<kWidth>(weights + BackwardMemory<kWidth>::kSquareFloats, kSquareStride, q, dk);
    }
  }
  store_rows<kWidth>(dk, a.dk, b, kv_head, key, visible.keys, e.width);
  store_rows<kWidth>(dv, a.dv, b, kv_head, key, visible.keys, e.width);
}

template <class Element>
BackwardArguments<Element> arguments_of(const AttentionBackwardArgs& args, float* delta_BHT) {
  return {.q = heads_of<const Element>(args.q_BTHD),
          .k = heads_of<const Element>(args.k_BTKD),
          .v = heads_of<const Element>(args.v_BTKD),
          .y = heads_of<const Element>(args.y_BTHD),
          .dy = heads_of<const Element>(args.dy_BTHD),
          .dq = heads_of<Element>(args.dq_BTHD),
          .dk = heads_of<Element>(args.dk_BTKD),
          .dv = heads_of<Element>(args.dv_BTKD),
          .lse = args.lse_BHT.device_as<float>(),
          .lse_sequence = args.lse_BHT.stride(0),
          .lse_head = args.lse_BHT.stride(1),
          .delta_BHT = delta_BHT,
          .extents = extents_of(args.q_BTHD, args.k_BTKD, args.first_BT, args.scale)};
}

struct Backward {
  template <class Element, int kWidth>
  static void run(const AttentionBackwardArgs& args, Queue& queue) {
    constexpr std::int64_t kQueryBytes = BackwardMemory<kWidth>::kQueryBytes;
    constexpr std::int64_t kKeyBytes = BackwardMemory<kWidth>::kKeyBytes;
    const Tensor& q = args.q_BTHD;
    const Tensor& k = args.k_BTKD;
    void* const scratch = queue.scratch(cuda_own_attention_scratch_bytes(q.dim(0), q.dim(2), q.dim(1)));
    const BackwardArguments<Element> arguments = arguments_of<Element>(args, static_cast<float*>(scratch));
    const std::int64_t rows = q.dim(0) * q.dim(2) * q.dim(1);
    const auto sequences = narrow<unsigned>(q.dim(0));
    const dim3 block(kTileThreads);
    launch({.grid = dim3(blocks_for(rows, kSide)), .block = block}, queue.stream(), "attention_backward delta",
           delta_kernel<Element>, arguments, rows);
    const dim3 queries(blocks_for(q.dim(1), Tile<kWidth>::kRows), narrow<unsigned>(q.dim(2)), sequences);
    allow_shared_bytes(query_gradient_kernel<Element, kWidth>, kQueryBytes, "attention_backward dq");
    launch({.grid = queries, .block = block, .shared_bytes = kQueryBytes}, queue.stream(), "attention_backward dq",
           query_gradient_kernel<Element, kWidth>, arguments);
    const dim3 keys(blocks_for(k.dim(1), Tile<kWidth>::kRows), narrow<unsigned>(k.dim(2)), sequences);
    allow_shared_bytes(key_gradient_kernel<Element, kWidth>, kKeyBytes, "attention_backward dk, dv");
    launch({.grid = keys, .block = block, .shared_bytes = kKeyBytes}, queue.stream(), "attention_backward dk, dv",
           key_gradient_kernel<Element, kWidth>, arguments);
  }
};

}  // namespace

void own_attention_backward(const AttentionBackwardArgs& args, Queue& queue) {
  launch_for_shape<Backward>(args, queue);
}

}  // namespace baekji::cuda
