#include "core/functions.h"
#include "kernels/cpu/attention_tasks.h"

namespace baekji::cpu {

template <class Element>
AttentionForwardTask<Element>::Memory::Memory(ScratchCursor& cursor, const AttentionShape& shape) {
  k_panels = cursor.take<std::byte>(packed_head_bytes<Element>(shape.keys, shape.head_dim));
  v_panels = cursor.take<std::byte>(packed_head_bytes<Element>(shape.head_dim, shape.keys));
  q_rows = cursor.take<Element>(kQueries * shape.padded_dim());
  scores = cursor.take<float>(kQueries * kKeys);
  if constexpr (std::is_same_v<Element, float>)
    weights = scores;
  else
    weights = cursor.take<Element>(kQueries * kKeys);
  y_rows = cursor.take<float>(kQueries * shape.padded_dim());
  largest = cursor.take<float>(kQueries);
  sum = cursor.take<float>(kQueries);
}

template <class Element>
AttentionForwardTask<Element>::AttentionForwardTask(const AttentionForwardArgs& args, const AttentionShape& shape,
                                                    std::byte* scratch)
    : args_(args), shape_(shape), m_([&] {
        ScratchCursor cursor(scratch);
        return Memory(cursor, shape);
      }()) {
  k_.panels = m_.k_panels;
  v_.panels = m_.v_panels;
}

template <class Element>
std::int64_t AttentionForwardTask<Element>::scratch_bytes(const AttentionShape& shape) {
  ScratchCursor cursor(nullptr);
  Memory(cursor, shape);
  return cursor.used_bytes();
}

template <class Element>
void AttentionForwardTask<Element>::run(const AttentionShare& share) {
  const HeadRows<Element> k(args_.k_BTKD, share.sequence, share.kv_head);
  const HeadRows<Element> v(args_.v_BTKD, share.sequence, share.kv_head);
  k_.pack_rows_as_columns(k, shape_.keys, shape_.head_dim);
  v_.pack_rows_as_inner(v.data, v.row_elements, shape_.keys, shape_.head_dim);
  for (std::int64_t item = share.begin; item < share.end; ++item) {
    const std::int64_t head = share.kv_head * shape_.group() + item / shape_.query_blocks();
    query_block(share.sequence, head, shape_.block(share.sequence, item % shape_.query_blocks()));
  }
}

template <class Element>
void AttentionForwardTask<Element>::query_block(std::int64_t sequence, std::int64_t head, const QueryBlock& block) {
  const HeadRows<Element> q(args_.q_BTHD, sequence, head);
  const std::int64_t padded = shape_.padded_dim();
  copy_rows(q.row(block.begin), q.row_elements, block.rows, shape_.head_dim, m_.q_rows, padded);
  std::fill_n(m_.y_rows, block.rows * padded, 0.0F);
  std::fill_n(m_.largest, block.rows, kMasked);
  std::fill_n(m_.sum, block.rows, 0.0F);
  const QueryBlock::Keys visible = block.visible(0, block.rows);
  for (std::int64_t key = visible.begin / kKeys * kKeys; key < visible.end; key += kKeys) key_block(block, key);
  finish(sequence, head, block);
}

template <class Element>
void AttentionForwardTask<Element>::key_block(const QueryBlock& block, std::int64_t key) {
  constexpr auto kBytes = static_cast<std::int64_t>(sizeof(Element));
  constexpr std::int64_t kStep = PackedHead<Element>::kStep;
  const std::int64_t padded = shape_.padded_dim();
  const BlockProduct scores{.a = reinterpret_cast<const std::byte*>(m_.q_rows),
                            .a_row = padded * kBytes,
                            .a_step = 4,
                            .panels = k_.panels + key / kTileColumns * k_.panel_bytes,
                            .panel_bytes = k_.panel_bytes,
                            .steps = ceil_div(shape_.head_dim, kStep),
                            .out = m_.scores,
                            .out_row = kKeys,
                            .rows = block.rows};
  BlockProduct output{.a_row = kKeys * kBytes,
                      .a_step = 4,
                      .panel_bytes = v_.panel_bytes,
                      .out = m_.y_rows,
                      .out_row = padded,
                      .rows = block.rows,
                      .resume = true};
  const RowGroups groups = block_groups<Element>(block.rows);
  for (std::int64_t g = 0; g < groups.count(); ++g) {
    const RowGroup rows = groups.group(g);
    const QueryBlock::Keys columns = visible_columns(block.visible(rows.begin, rows.count), key, shape_.keys);
    if (columns.begin >= columns.end) continue;
    multiply_group<Element>(scores, rows, columns.begin, round_up(columns.end, kSumLanes));
    for (std::int64_t r = rows.begin; r < rows.begin + rows.count; ++r) softmax_row(block, r, key, columns);
    output.a = reinterpret_cast<const std::byte*>(m_.weights + columns.begin);
    output.panels = v_.from(key + columns.begin);
    output.steps = ceil_div(columns.end - columns.begin, kStep);
    multiply_group<Element>(output, rows, 0, shape_.head_dim);
  }
}

// Turns the scores of a row into exp(score - running maximum), and rescales what the row has summed so far.
template <class Element>
void AttentionForwardTask<Element>::softmax_row(const QueryBlock& block, std::int64_t row, std::int64_t key,
                                                QueryBlock::Keys columns) {
  const auto at = static_cast<std::size_t>(row);
  const std::int64_t first = block.first[at];
  const std::int64_t end = block.end[at];
  float* scores = m_.scores + row * kKeys;
  Element* weights = m_.weights + row * kKeys;
  const std::int64_t stop = round_up(columns.end, kSumLanes);
  if (first >= key + columns.end || end <= key + columns.begin) {  // others of the group see this block, this row none
    std::fill(weights + columns.begin, weights + stop, Element());
    return;
  }
  const F32 scale = broadcast(static_cast<float>(args_.scale));
  const bool whole = first <= key + columns.begin && end >= key + stop;
  F32 best = broadcast(kMasked);
  for (std::int64_t c = columns.begin; c < stop; c += kLanes) {
    F32 score = load_lanes(scores + c) * scale;
    if (!whole) score = where_visible(score, broadcast(kMasked), key + c, first, end);
    best = score > best ? score : best;
    store_lanes(scores + c, score);
  }
  const float largest = std::max(m_.largest[row], largest_lane(best));
  LaneSums sums;
  for (std::int64_t c = columns.begin; c < stop; c += kSumLanes) {
    for (int v = 0; v < kSumVectors; ++v) {
      const F32 weight = exp_lanes(load_lanes(scores + c + v * kLanes) - broadcast(largest));
      sums.add(v, weight);
      store_lanes(weights + c + v * kLanes, weight);
    }
  }
  const float rescale = exp_f32(m_.largest[row] - largest);
  m_.largest[row] = largest;
  m_.sum[row] = m_.sum[row] * rescale + sums.total();
  if (rescale == 1.0F) return;
  float* y = m_.y_rows + row * shape_.padded_dim();
  for (std::int64_t d = 0; d < shape_.padded_dim(); d += kLanes) {
    store_lanes(y + d, load_lanes(y + d) * broadcast(rescale));
  }
}

template <class Element>
void AttentionForwardTask<Element>::finish(std::int64_t sequence, std::int64_t head, const QueryBlock& block) {
  const HeadRows<Element> y(args_.y_BTHD, sequence, head);
  const Tensor& lse_BHT = args_.lse_BHT;
  float* lse = lse_BHT.as<float>() + sequence * lse_BHT.stride(0) + head * lse_BHT.stride(1) + block.begin;
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const float sum = m_.sum[r];
    const float* from = m_.y_rows + r * shape_.padded_dim();
    Element* to = y.row(block.begin + r);
    for (std::int64_t d = 0; d < shape_.head_dim; d += kLanes) {
      store_lanes(to + d, load_lanes(from + d) / broadcast(sum), std::min<std::int64_t>(kLanes, shape_.head_dim - d));
    }
    // The largest weight is exp(0): a finite sum is at least 1. Anything else stays visible.
    const bool finite = sum <= std::numeric_limits<float>::max();
    lse[r] = m_.largest[r] + (finite ? static_cast<float>(log_f64(static_cast<double>(sum))) : sum);
  }
}

template class AttentionForwardTask<float>;
template class AttentionForwardTask<Bfloat16>;

}  // namespace baekji::cpu
