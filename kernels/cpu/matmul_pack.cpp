#include "kernels/cpu/matmul_pack.h"

#include <algorithm>
#include <array>
#include <span>

namespace baekji::cpu {
namespace {

// Up to kLanes columns of `inner` source rows, from [inner, columns] to one vector per step, `to_step` bytes apart.
struct StripArgs {
  std::int64_t row_elements = 0;
  std::int64_t inner = 0;
  std::int64_t count = 0;  ///< columns, at least 1
  std::byte* to = nullptr;
  std::int64_t to_step = 0;
};

template <bool kWhole>
void pack_strip(const float* from, StripArgs args) {
  for (std::int64_t i = 0; i < args.inner; ++i, from += args.row_elements, args.to += args.to_step) {
    store_vector(args.to, kWhole ? load_vector<F32>(from) : load_first(from, args.count));
  }
}

template <bool kWhole>
void pack_strip(const Bfloat16* from, StripArgs args) {
  const auto load = [&](const Bfloat16* row) { return kWhole ? load_vector<U16>(row) : load_first(row, args.count); };
  for (std::int64_t i = 0; i + 1 < args.inner; i += 2, from += 2 * args.row_elements, args.to += args.to_step) {
    store_vector(args.to, pair_up(load(from), load(from + args.row_elements)));
  }
  if (args.inner % 2 != 0) store_vector(args.to, pair_up(load(from), U16{}));
}

template <class Element>
void prefetch_rows(const Element* from, const StripArgs& args) {
  constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(Element));
  for (std::int64_t i = 0; i < args.inner; ++i, from += args.row_elements) {
    for (std::int64_t c = 0; c < args.count; c += kLine) __builtin_prefetch(from + c, 0, 3);
  }
}

// Panels of a source that runs [inner, columns], some steps at a time: few enough that the source rows, each on a page
// of its own, stay in the first-level caches while all panels take their part; enough that panels are written in runs.
template <class Element>
void pack_across(const PackArgs& args, std::span<const RowGroup> panels, std::byte* to) {
  constexpr std::int64_t kSteps = 8;
  constexpr std::int64_t kRun = kSteps * step_elements(dtype_of<Element>());
  const Element* source = reinterpret_cast<const Element*>(args.source);
  for (std::int64_t run = 0; run < args.inner; run += kRun) {
    StripArgs strip{
        .row_elements = args.row_elements, .inner = std::min(kRun, args.inner - run), .to_step = args.stored_width * 4};
    std::byte* panel_out = to + run / kRun * kSteps * strip.to_step;
    prefetch_rows(source + (run + kRun) * args.row_elements + panels.front().begin,
                  {.row_elements = args.row_elements,
                   .inner = std::min(kRun, args.inner - run - kRun),
                   .count = panels.back().begin + panels.back().count - panels.front().begin});
    for (const RowGroup& panel : panels) {
      const Element* from = source + run * args.row_elements + panel.begin;
      for (std::int64_t c = 0; c < args.stored_width; c += kLanes) {
        strip.count = panel.count - c;
        strip.to = panel_out + c * 4;
        if (strip.count >= kLanes) {
          pack_strip<true>(from + c, strip);
        } else if (strip.count > 0) {
          pack_strip<false>(from + c, strip);
        } else {
          const std::int64_t steps = ceil_div(strip.inner, step_elements(dtype_of<Element>()));
          for (std::int64_t s = 0; s < steps; ++s) store_vector(strip.to + s * strip.to_step, F32{});
        }
      }
      panel_out += args.panel_bytes;
    }
  }
}

// kLanes steps of one source row that runs along the inner dim, zero beyond `bytes`.
[[gnu::always_inline]] inline F32 words_along(const std::byte* from, std::int64_t bytes) {
  if (bytes >= kLanes * 4) return load_vector<F32>(from);
  F32 words{};
  if (bytes > 0) std::memcpy(&words, from, static_cast<std::size_t>(bytes));
  return words;
}

// One panel of a source that runs [columns, inner]: blocks of kLanes columns x kLanes steps, transposed in registers.
void pack_panel_along(const PackArgs& args, std::int64_t begin, std::int64_t count, std::byte* to) {
  const std::int64_t element_bytes = size_of(args.type);
  const std::int64_t row_bytes = args.row_elements * element_bytes;
  const std::int64_t inner_bytes = args.inner * element_bytes;
  const std::int64_t steps = ceil_div(inner_bytes, 4);
  for (std::int64_t c = 0; c < args.stored_width; c += kLanes) {
    for (std::int64_t s = 0; s < steps; s += kLanes) {
      F32 block[kLanes];
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) {
        const std::byte* from = args.source + (begin + c + r) * row_bytes + s * 4;
        block[r] = c + r < count ? words_along(from, inner_bytes - s * 4) : F32{};
      }
      transpose_block(block);
      const std::int64_t rows = std::min<std::int64_t>(kLanes, steps - s);
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) {
        if (r < rows) store_vector(to + ((s + r) * args.stored_width + c) * 4, block[r]);
      }
    }
  }
}

// Panels in batches, whose ranges are worked out once for all steps.
template <class RangeOf>
void pack(const PackArgs& args, std::int64_t count, const RangeOf& range_of) {
  constexpr std::int64_t kBatch = 32;
  std::array<RowGroup, kBatch> ranges;
  for (std::int64_t first = 0; first < count; first += kBatch) {
    const std::int64_t batch = std::min(kBatch, count - first);
    for (std::int64_t i = 0; i < batch; ++i) ranges[static_cast<std::size_t>(i)] = range_of(first + i);
    const std::span<const RowGroup> panels(ranges.data(), static_cast<std::size_t>(batch));
    std::byte* to = args.panels + first * args.panel_bytes;
    if (args.inner_is_last) {
      for (const RowGroup& panel : panels) {
        pack_panel_along(args, panel.begin, panel.count, to);
        to += args.panel_bytes;
      }
    } else if (args.type == DType::kBfloat16) {
      pack_across<Bfloat16>(args, panels, to);
    } else {
      pack_across<float>(args, panels, to);
    }
  }
}

}  // namespace

void pack_columns(const PackArgs& args) {
  pack(args, ceil_div(args.columns, kTileColumns), [&](std::int64_t panel) {
    const std::int64_t begin = panel * kTileColumns;
    return RowGroup{.begin = begin, .count = std::min(kTileColumns, args.columns - begin)};
  });
}

void pack_row_groups(const PackArgs& args) {
  PackArgs group_args = args;
  group_args.stored_width = kStoredRows;
  pack(group_args, row_groups(args.columns), [&](std::int64_t group) { return row_group(args.columns, group); });
}

}  // namespace baekji::cpu
