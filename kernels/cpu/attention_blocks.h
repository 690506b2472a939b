#pragma once
// What the forward and the backward pass of CPU attention share: block operands, which keys a row sees, exponentials.

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/matmul_pack.h"
#include "kernels/cpu/row_lanes.h"

namespace baekji::cpu {

inline constexpr std::int64_t kQueries = CpuAttention::kQueryBlock;
inline constexpr std::int64_t kKeys = CpuAttention::kKeyBlock;
/// Lanes of every sum along a row, whatever the vector length: element i goes to lane i % 16.
inline constexpr int kSumLanes = 16;
inline constexpr int kSumVectors = kSumLanes / kLanes;
/// What a group of rows sees of a key block is computed in ranges that begin at multiples of this: whole panels, and
/// lane 0 of a sum.
inline constexpr std::int64_t kKeyAlignment = 32;
static_assert(kKeyAlignment % kTileColumns == 0 && kKeyAlignment % kSumLanes == 0 && kKeys % kKeyAlignment == 0);
inline constexpr float kMasked = -std::numeric_limits<float>::infinity();

/// exp_f32 of each lane, the same operations in the same order.
[[gnu::always_inline]] inline F32 exp_lanes(F32 x) {
  const F32 low = broadcast(-87.33F);
  const F32 high = broadcast(88.37F);
  F32 clamped = x < low ? low : x;
  clamped = clamped > high ? high : clamped;
  const F32 round = broadcast(12582912.0F);
  const F32 shifted = fused(clamped, broadcast(1.44269504088896341F), round);
  const F32 n = shifted - round;
  F32 r = fused(n, broadcast(-0.693359375F), clamped);
  r = fused(n, broadcast(2.12194440e-4F), r);
  F32 p = broadcast(1.9875691500e-4F);
  p = fused(p, r, broadcast(1.3981999507e-3F));
  p = fused(p, r, broadcast(8.3334519073e-3F));
  p = fused(p, r, broadcast(4.1665795894e-2F));
  p = fused(p, r, broadcast(1.6666665459e-1F));
  p = fused(p, r, broadcast(5.0000001201e-1F));
  p = fused(p, r * r, r);
  p = p + broadcast(1.0F);
  const F32 scaled = bits_of<F32>(bits_of<U32>(p) + (bits_of<U32>(shifted) << 23));
  const F32 finite = x < low ? F32{} : scaled;
  return x != x ? x : finite;
}

/// 16 running values along a row, folded by a balanced tree: lane i takes lane i + half, for half = 8, 4, 2, 1.
class LaneSums {
 public:
  [[gnu::always_inline]] void add(int vector, F32 x) { lanes_[vector] = lanes_[vector] + x; }
  float total() const {
    RowLanes lanes;
    std::memcpy(&lanes, lanes_, sizeof lanes);
    return lane_tree(lanes);
  }

 private:
  F32 lanes_[kSumVectors]{};
};

namespace detail {

template <int Half, int... Lane>
[[gnu::always_inline]] inline F32 larger_of_halves(F32 x, std::integer_sequence<int, Lane...> lanes) {
  const F32 other = __builtin_shufflevector(x, x, (Lane ^ Half)...);
  const F32 larger = x > other ? x : other;
  if constexpr (Half > 1)
    return larger_of_halves<Half / 2>(larger, lanes);
  else
    return larger;
}

}  // namespace detail

/// Of lanes that are numbers; of others, any.
[[gnu::always_inline]] inline float largest_lane(F32 x) {
  return detail::larger_of_halves<kLanes / 2>(x, std::make_integer_sequence<int, kLanes>())[0];
}

/// The rows of one head of one sequence: row t at data + t * row_elements.
template <class Element>
struct HeadRows {
  Element* data = nullptr;
  std::int64_t row_elements = 0;

  HeadRows(const Tensor& x_BTHD, std::int64_t b, std::int64_t h)
      : data(x_BTHD.as<Element>() + b * x_BTHD.stride(0) + h * x_BTHD.stride(2)), row_elements(x_BTHD.stride(1)) {}
  Element* row(std::int64_t t) const { return data + t * row_elements; }
};

/// A block product: rows of `a` against packed columns, every element a fold over `steps` steps. Rows come either from
/// `a` with strides, or from packed row panels.
struct BlockProduct {
  const std::byte* a = nullptr;
  std::int64_t a_row = 0;    ///< bytes
  std::int64_t a_step = 0;   ///< bytes
  std::int64_t a_panel = 0;  ///< bytes between packed row panels (of AMX: of kAmxRows rows); 0: not packed
  const std::byte* panels = nullptr;
  std::int64_t panel_bytes = 0;
  std::int64_t steps = 0;
  float* out = nullptr;
  std::int64_t out_row = 0;  ///< floats
  std::int64_t rows = 0;
  bool resume = false;  ///< out goes on folding instead of starting from +0
};

/// The rows of a block in groups of one register tile.
template <class Element>
RowGroups block_groups(std::int64_t rows) {
  return {rows, uses_amx(dtype_of<Element>())};
}

/// One group of rows of a product, columns [begin, end) of the packed operand; begin is a multiple of kTileColumns.
template <class Element>
void multiply_group(const BlockProduct& p, RowGroup rows, std::int64_t begin, std::int64_t end) {
  const bool amx = uses_amx(dtype_of<Element>());
  const std::int64_t panel_rows = amx ? kAmxRows : kRowPanel;
  TileArgs tile{.a = p.a_panel != 0 ? p.a + rows.begin / panel_rows * p.a_panel + rows.begin % panel_rows * 4
                                    : p.a + rows.begin * p.a_row,
                .a_row = p.a_row,
                .a_step = p.a_step,
                .b_step = kTileColumns * 4,
                .steps = p.steps,
                .resume = p.resume,
                .partial_row = p.out_row,
                .a_panel = p.a_panel};
  for (std::int64_t c = begin; c < end; c += kTileColumns) {
    tile.b = p.panels + c / kTileColumns * p.panel_bytes;
    tile.partial = p.out + rows.begin * p.out_row + c;
    const std::int64_t vectors = end - c > kLanes ? 2 : 1;
    if (amx)
      amx_fold(tile, rows.count, vectors);
    else
      tile_function<Element, float>(rows.count, vectors)(tile, TileOutput::kPartial, {});
  }
}

/// Which keys the rows of one query block see.
struct QueryBlock {
  std::int64_t begin = 0;  ///< query index of row 0
  std::int64_t rows = 0;
  std::array<std::int64_t, kQueries> first{};  ///< first visible key of each row
  std::array<std::int64_t, kQueries> end{};    ///< past the last one

  struct Keys {
    std::int64_t begin = 0;
    std::int64_t end = 0;
  };
  /// The keys that rows [row, row + count) see at all.
  Keys visible(std::int64_t row, std::int64_t count) const {
    Keys keys{.begin = std::numeric_limits<std::int64_t>::max()};
    for (std::int64_t r = row; r < row + count; ++r) {
      keys.begin = std::min(keys.begin, first[static_cast<std::size_t>(r)]);
      keys.end = std::max(keys.end, end[static_cast<std::size_t>(r)]);
    }
    return keys;
  }
};

struct AttentionShape {
  std::int64_t queries = 0;
  std::int64_t keys = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  Tensor first_BT;

  std::int64_t group() const { return heads / kv_heads; }
  std::int64_t query_blocks() const { return ceil_div(queries, kQueries); }
  /// Floats (or elements) of one row of a head in working memory.
  std::int64_t padded_dim() const { return round_up(head_dim, kTileColumns); }
  std::int64_t padded_keys() const { return round_up(keys, kKeys); }

  QueryBlock block(std::int64_t sequence, std::int64_t index) const {
    QueryBlock block{.begin = index * kQueries};
    block.rows = std::min(kQueries, queries - block.begin);
    for (std::int64_t r = 0; r < block.rows; ++r) {
      const auto at = static_cast<std::size_t>(r);
      block.end[at] = block.begin + r + (keys - queries) + 1;
      block.first[at] =
          first_BT.defined() ? first_BT.as<std::int32_t>()[sequence * first_BT.stride(0) + block.begin + r] : 0;
    }
    return block;
  }
};

/// Throws unless every query sees at least its own key.
void check_visibility(const AttentionShape& shape, std::int64_t sequences);

/// Hands out pieces of a task's scratch; with data null it only measures.
class ScratchCursor {
 public:
  explicit ScratchCursor(std::byte* data) : data_(data) {}
  template <class T>
  T* take(std::int64_t count) {
    T* piece = data_ == nullptr ? nullptr : reinterpret_cast<T*>(data_ + used_bytes_);
    used_bytes_ += round_up(count * static_cast<std::int64_t>(sizeof(T)), 256);
    return piece;
  }
  std::int64_t used_bytes() const { return used_bytes_; }

 private:
  std::byte* data_;
  std::int64_t used_bytes_ = 0;
};

/// Copies `rows` head rows into dense rows of `padded` elements, zero beyond head_dim.
template <class Element>
void copy_rows(const Element* from, std::int64_t from_row, std::int64_t rows, std::int64_t head_dim, Element* to,
               std::int64_t padded) {
  for (std::int64_t r = 0; r < rows; ++r) {
    std::copy_n(from + r * from_row, head_dim, to + r * padded);
    std::fill(to + r * padded + head_dim, to + (r + 1) * padded, Element());
  }
}

/// A packed operand whose columns are the keys (or whose columns are d), over one head's rows.
template <class Element>
struct PackedHead {
  std::byte* panels = nullptr;
  std::int64_t panel_bytes = 0;

  static constexpr std::int64_t kStep = step_elements(dtype_of<Element>());

  /// Columns are rows of the head, the inner dim is d.
  void pack_rows_as_columns(const HeadRows<Element>& head, std::int64_t rows, std::int64_t head_dim) {
    panel_bytes = ceil_div(head_dim, kStep) * kTileColumns * 4;
    pack({.source = reinterpret_cast<const std::byte*>(head.data),
          .type = dtype_of<Element>(),
          .row_elements = head.row_elements,
          .inner_is_last = true,
          .inner = head_dim,
          .columns = rows,
          .panels = panels,
          .panel_bytes = panel_bytes});
  }
  /// Columns are d, the inner dim is the head's rows.
  void pack_rows_as_inner(const Element* data, std::int64_t row_elements, std::int64_t rows, std::int64_t head_dim) {
    panel_bytes = ceil_div(rows, kStep) * kTileColumns * 4;
    pack({.source = reinterpret_cast<const std::byte*>(data),
          .type = dtype_of<Element>(),
          .row_elements = row_elements,
          .inner = rows,
          .columns = head_dim,
          .panels = panels,
          .panel_bytes = panel_bytes});
  }
  /// Panels from inner index `inner` (a multiple of kStep) on.
  const std::byte* from(std::int64_t inner) const { return panels + inner / kStep * kTileColumns * 4; }
};

/// Bytes that `columns` x `inner` elements take packed; keys as columns may be read up to the next kKeyAlignment.
template <class Element>
constexpr std::int64_t packed_head_bytes(std::int64_t columns, std::int64_t inner) {
  return round_up(columns, kKeyAlignment) * ceil_div(inner, PackedHead<Element>::kStep) * 4;
}

}  // namespace baekji::cpu
