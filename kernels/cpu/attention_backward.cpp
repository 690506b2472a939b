#include "kernels/cpu/attention_tasks.h"

namespace baekji::cpu {

template <class Element>
AttentionBackwardTask<Element>::Memory::Memory(ScratchCursor& cursor, const AttentionShape& shape) {
  const std::int64_t padded = shape.padded_dim();
  k_columns = cursor.take<std::byte>(packed_head_bytes<Element>(shape.keys, shape.head_dim));
  v_columns = cursor.take<std::byte>(packed_head_bytes<Element>(shape.keys, shape.head_dim));
  k_inner = cursor.take<std::byte>(packed_head_bytes<Element>(shape.head_dim, shape.keys));
  dk_rows = cursor.take<float>(shape.keys * padded);
  dv_rows = cursor.take<float>(shape.keys * padded);
  q_rows = cursor.take<Element>(kQueries * padded);
  dy_rows = cursor.take<Element>(kQueries * padded);
  q_inner = cursor.take<std::byte>(packed_head_bytes<Element>(shape.head_dim, kQueries));
  dy_inner = cursor.take<std::byte>(packed_head_bytes<Element>(shape.head_dim, kQueries));
  scores = cursor.take<float>(kQueries * kKeys);
  dweights = cursor.take<float>(kQueries * kKeys);
  if constexpr (kPacksTransposed) {
    weights = cursor.take<Element>(kQueries * kKeys);
    dscores = cursor.take<Element>(kQueries * kKeys);
    transposed = cursor.take<std::byte>(kKeys * kQueries / 2 * 4);
  } else {
    weights = scores;
    dscores = dweights;
    transposed = nullptr;
  }
  dq_rows = cursor.take<float>(kQueries * padded);
  lse = cursor.take<float>(kQueries);
  delta = cursor.take<float>(kQueries);
}

template <class Element>
AttentionBackwardTask<Element>::AttentionBackwardTask(const AttentionBackwardArgs& args, const AttentionShape& shape,
                                                      std::byte* scratch)
    : args_(args), shape_(shape), m_([&] {
        ScratchCursor cursor(scratch);
        return Memory(cursor, shape);
      }()) {
  k_columns_.panels = m_.k_columns;
  v_columns_.panels = m_.v_columns;
  k_inner_.panels = m_.k_inner;
  q_inner_.panels = m_.q_inner;
  dy_inner_.panels = m_.dy_inner;
}

template <class Element>
std::int64_t AttentionBackwardTask<Element>::scratch_bytes(const AttentionShape& shape) {
  ScratchCursor cursor(nullptr);
  Memory(cursor, shape);
  return cursor.used_bytes();
}

namespace {

// Rounds `rows` working rows into the rows of a head.
template <class Element>
void store_rows(const float* from, std::int64_t padded, std::int64_t rows, std::int64_t head_dim, Element* to,
                std::int64_t to_row) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t d = 0; d < head_dim; d += kLanes) {
      store_lanes(to + r * to_row + d, load_lanes(from + r * padded + d), std::min<std::int64_t>(kLanes, head_dim - d));
    }
  }
}

// a . b in 16 lanes.
template <class Element>
float lane_product(const Element* a, const Element* b, std::int64_t count) {
  LaneSums sums;
  for (std::int64_t d = 0; d < count; d += kLanes) {
    const std::int64_t left = std::min<std::int64_t>(kLanes, count - d);
    sums.add(static_cast<int>(d / kLanes % kSumVectors), load_lanes(a + d, left) * load_lanes(b + d, left));
  }
  return sums.total();
}

}  // namespace

template <class Element>
void AttentionBackwardTask<Element>::run(std::int64_t sequence, std::int64_t kv_head) {
  const HeadRows<Element> k(args_.k_BTKD, sequence, kv_head);
  const HeadRows<Element> v(args_.v_BTKD, sequence, kv_head);
  const std::int64_t padded = shape_.padded_dim();
  k_columns_.pack_rows_as_columns(k, shape_.keys, shape_.head_dim);
  v_columns_.pack_rows_as_columns(v, shape_.keys, shape_.head_dim);
  k_inner_.pack_rows_as_inner(k.data, k.row_elements, shape_.keys, shape_.head_dim);
  std::fill_n(m_.dk_rows, shape_.keys * padded, 0.0F);
  std::fill_n(m_.dv_rows, shape_.keys * padded, 0.0F);
  for (std::int64_t head = kv_head * shape_.group(); head < (kv_head + 1) * shape_.group(); ++head) {
    for (std::int64_t b = 0; b < shape_.query_blocks(); ++b) query_block(sequence, head, shape_.block(sequence, b));
  }
  const HeadRows<Element> dk(args_.dk_BTKD, sequence, kv_head);
  const HeadRows<Element> dv(args_.dv_BTKD, sequence, kv_head);
  store_rows(m_.dk_rows, padded, shape_.keys, shape_.head_dim, dk.data, dk.row_elements);
  store_rows(m_.dv_rows, padded, shape_.keys, shape_.head_dim, dv.data, dv.row_elements);
}

template <class Element>
void AttentionBackwardTask<Element>::query_block(std::int64_t sequence, std::int64_t head, const QueryBlock& block) {
  const std::int64_t padded = shape_.padded_dim();
  load_queries(sequence, head, block);
  std::fill_n(m_.dq_rows, block.rows * padded, 0.0F);
  const QueryBlock::Keys visible = block.visible(0, block.rows);
  for (std::int64_t key = visible.begin / kKeys * kKeys; key < visible.end; key += kKeys) key_block(block, key);
  const HeadRows<Element> dq(args_.dq_BTHD, sequence, head);
  store_rows(m_.dq_rows, padded, block.rows, shape_.head_dim, dq.row(block.begin), dq.row_elements);
}

template <class Element>
void AttentionBackwardTask<Element>::load_queries(std::int64_t sequence, std::int64_t head, const QueryBlock& block) {
  const std::int64_t padded = shape_.padded_dim();
  const HeadRows<Element> q(args_.q_BTHD, sequence, head);
  const HeadRows<Element> y(args_.y_BTHD, sequence, head);
  const HeadRows<Element> dy(args_.dy_BTHD, sequence, head);
  copy_rows(q.row(block.begin), q.row_elements, block.rows, shape_.head_dim, m_.q_rows, padded);
  copy_rows(dy.row(block.begin), dy.row_elements, block.rows, shape_.head_dim, m_.dy_rows, padded);
  q_inner_.pack_rows_as_inner(m_.q_rows, padded, block.rows, shape_.head_dim);
  dy_inner_.pack_rows_as_inner(m_.dy_rows, padded, block.rows, shape_.head_dim);
  const Tensor& lse_BHT = args_.lse_BHT;
  const float* lse = lse_BHT.as<float>() + sequence * lse_BHT.stride(0) + head * lse_BHT.stride(1) + block.begin;
  std::copy_n(lse, block.rows, m_.lse);
  for (std::int64_t r = 0; r < block.rows; ++r) {
    m_.delta[r] = lane_product(dy.row(block.begin + r), y.row(block.begin + r), shape_.head_dim);
  }
}

template <class Element>
void AttentionBackwardTask<Element>::key_block(const QueryBlock& block, std::int64_t key) {
  constexpr auto kBytes = static_cast<std::int64_t>(sizeof(Element));
  constexpr std::int64_t kStep = PackedHead<Element>::kStep;
  const std::int64_t padded = shape_.padded_dim();
  BlockProduct scores{.a = reinterpret_cast<const std::byte*>(m_.q_rows),
                      .a_row = padded * kBytes,
                      .a_step = 4,
                      .panels = k_columns_.panels + key / kTileColumns * k_columns_.panel_bytes,
                      .panel_bytes = k_columns_.panel_bytes,
                      .steps = ceil_div(shape_.head_dim, kStep),
                      .out = m_.scores,
                      .out_row = kKeys,
                      .rows = block.rows};
  BlockProduct dweights = scores;
  dweights.a = reinterpret_cast<const std::byte*>(m_.dy_rows);
  dweights.panels = v_columns_.panels + key / kTileColumns * v_columns_.panel_bytes;
  dweights.out = m_.dweights;
  BlockProduct dq{.a_row = kKeys * kBytes,
                  .a_step = 4,
                  .panel_bytes = k_inner_.panel_bytes,
                  .out = m_.dq_rows,
                  .out_row = padded,
                  .rows = block.rows,
                  .resume = true};
  const RowGroups groups = block_groups<Element>(block.rows);
  for (std::int64_t g = 0; g < groups.count(); ++g) {
    const RowGroup rows = groups.group(g);
    const QueryBlock::Keys columns = visible_columns(block.visible(rows.begin, rows.count), key, shape_.keys);
    multiply_group<Element>(scores, rows, columns.begin, round_up(columns.end, kSumLanes));
    multiply_group<Element>(dweights, rows, columns.begin, round_up(columns.end, kSumLanes));
    for (std::int64_t r = rows.begin; r < rows.begin + rows.count; ++r) weights_of_row(block, r, key, columns);
    if (columns.begin >= columns.end) continue;
    dq.a = reinterpret_cast<const std::byte*>(m_.dscores + columns.begin);
    dq.panels = k_inner_.from(key + columns.begin);
    dq.steps = ceil_div(columns.end - columns.begin, kStep);
    multiply_group<Element>(dq, rows, 0, shape_.head_dim);
  }
  add_to_keys(block, key, m_.weights, dy_inner_, m_.dv_rows + key * padded);
  add_to_keys(block, key, m_.dscores, q_inner_, m_.dk_rows + key * padded);
}

// p = exp(scale q.k - lse) and ds = p (dy.v - delta) scale of one row; zero in every column that the row does not see.
template <class Element>
void AttentionBackwardTask<Element>::weights_of_row(const QueryBlock& block, std::int64_t row, std::int64_t key,
                                                    QueryBlock::Keys columns) {
  const auto at = static_cast<std::size_t>(row);
  const std::int64_t first = block.first[at];
  const std::int64_t end = block.end[at];
  const float* scores = m_.scores + row * kKeys;
  const float* dweights = m_.dweights + row * kKeys;
  Element* weights = m_.weights + row * kKeys;
  Element* dscores = m_.dscores + row * kKeys;
  const F32 scale = broadcast(static_cast<float>(args_.scale));
  const F32 lse = broadcast(m_.lse[row]);
  const F32 delta = broadcast(m_.delta[row]);
  const std::int64_t stop = round_up(columns.end, kLanes);
  const bool whole = first <= key + columns.begin && end >= key + stop;
  for (std::int64_t c = columns.begin; c < stop; c += kLanes) {
    F32 p = exp_lanes(load_lanes(scores + c) * scale - lse);
    F32 ds = p * (load_lanes(dweights + c) - delta) * scale;
    if (!whole) {
      p = where_visible(p, F32{}, key + c, first, end);
      ds = where_visible(ds, F32{}, key + c, first, end);
    }
    store_lanes(weights + c, p);
    store_lanes(dscores + c, ds);
  }
  for (Element* from : {weights, dscores}) {
    std::fill(from, from + columns.begin, Element());
    std::fill(from + stop, from + kKeys, Element());
  }
}

// out[key rows] += from^T rows, folding over the queries of the block.
template <class Element>
void AttentionBackwardTask<Element>::add_to_keys(const QueryBlock& block, std::int64_t key, const Element* from,
                                                 const PackedHead<Element>& rows, float* out) {
  constexpr std::int64_t kStep = PackedHead<Element>::kStep;
  constexpr std::int64_t kPanelBytes = kRowPanel * kQueries / kStep * 4;
  constexpr std::int64_t kAmxPanelBytes = kAmxRows * kQueries / kStep * 4;
  const bool amx = uses_amx(dtype_of<Element>());
  const std::int64_t keys = std::min(kKeys, shape_.keys - key);
  BlockProduct product{.a = reinterpret_cast<const std::byte*>(from),
                       .a_row = 4,
                       .a_step = kKeys * 4,
                       .panel_bytes = rows.panel_bytes,
                       .out = out,
                       .out_row = shape_.padded_dim(),
                       .rows = keys,
                       .resume = true};
  if constexpr (kPacksTransposed) {
    const PackArgs args{.source = reinterpret_cast<const std::byte*>(from),
                        .type = DType::kBfloat16,
                        .row_elements = kKeys,
                        .inner = block.rows,
                        .columns = keys,
                        .panels = m_.transposed,
                        .panel_bytes = amx ? kAmxPanelBytes : kPanelBytes,
                        .width = amx ? kAmxRows : kRowPanel};
    amx ? pack_amx_rows(args) : pack(args);
    product.a = m_.transposed;
    product.a_panel = args.panel_bytes;
    product.a_row = amx ? kAmxInner * 2 : 4;
    product.a_step = amx ? kAmxRows * 4 : kRowPanel * 4;
  }
  // Steps are left out in the units that the fold of AMX has.
  const std::int64_t unit = amx ? kAmxInner : kStep;
  const std::byte* const a = product.a;
  const RowGroups groups = block_groups<Element>(keys);
  for (std::int64_t g = 0; g < groups.count(); ++g) {
    const RowGroup group = groups.group(g);
    // Queries before the group's first key do not see it.
    const std::int64_t hidden = key + group.begin + 1 - block.end[0];
    const std::int64_t step = std::clamp<std::int64_t>(hidden, 0, block.rows) / unit * (unit / kStep);
    product.a = a + step * product.a_step;
    product.panels = rows.from(step * kStep);
    product.steps = ceil_div(block.rows, kStep) - step;
    multiply_group<Element>(product, group, 0, shape_.head_dim);
  }
}

template class AttentionBackwardTask<float>;
template class AttentionBackwardTask<Bfloat16>;

}  // namespace baekji::cpu
