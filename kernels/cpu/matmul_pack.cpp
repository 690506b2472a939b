#include "kernels/cpu/matmul_pack.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>

namespace baekji::cpu {
namespace {

// `count` words of one step from a source that runs [inner, columns].
[[gnu::always_inline]] inline U32 step_words(const float* row, const float* /*next*/, std::int64_t count) {
  return bits_of<U32>(count >= kLanes ? load_vector<F32>(row) : load_first(row, count));
}
[[gnu::always_inline]] inline U32 step_words(const Bfloat16* row, const Bfloat16* next, std::int64_t count) {
  const U16 low = count >= kLanes ? load_vector<U16>(row) : load_first(row, count);
  U16 high{};
  if (next != nullptr) high = count >= kLanes ? load_vector<U16>(next) : load_first(next, count);
  return __builtin_convertvector(low, U32) | (__builtin_convertvector(high, U32) << 16);
}

// Panels of a source that runs [inner, columns], some steps at a time: few enough that the source rows, each on a page
// of its own, stay in the first-level caches while all panels take their part; enough that panels are written in runs.
template <class Element>
void pack_across(const PackArgs& args, std::span<const RowGroup> panels, std::byte* to) {
  constexpr std::int64_t kStep = step_elements(dtype_of<Element>());
  constexpr std::int64_t kRun = 16 * kStep;
  const Element* source = reinterpret_cast<const Element*>(args.source);
  for (std::int64_t run = 0; run < args.inner; run += kRun) {
    const std::int64_t end = std::min(run + kRun, args.inner);
    std::byte* panel_out = to + run / kStep * args.stored_width * 4;
    if (getenv("PF1") && *getenv("PF1") == '1') {
      const auto* from = reinterpret_cast<const std::byte*>(source + panels.front().begin);
      const std::int64_t width = (panels.back().begin + panels.back().count - panels.front().begin) * static_cast<std::int64_t>(sizeof(Element));
      for (std::int64_t i = end; i < std::min(end + kRun, args.inner); ++i)
        for (std::int64_t at = 0; at < width; at += 64) __builtin_prefetch(from + i * args.row_elements * static_cast<std::int64_t>(sizeof(Element)) + at, 0, 3);
    }
    for (const RowGroup& panel : panels) {
      std::byte* out = panel_out;
      if (getenv("PF2") && *getenv("PF2") == '1') for (std::int64_t i = 0; i < 16 * args.stored_width * 4; i += 64) __builtin_prefetch(out + args.panel_bytes + i, 1, 3);
      for (std::int64_t i = run; i < end; i += kStep) {
        const Element* row = source + i * args.row_elements + panel.begin;
        const Element* next = kStep == 2 && i + 1 < args.inner ? row + args.row_elements : nullptr;
        for (std::int64_t c = 0; c < args.stored_width; c += kLanes) {
          const std::int64_t left = panel.count - c;
          store_vector(out + c * 4, left > 0 ? step_words(row + c, next == nullptr ? nullptr : next + c, left) : U32{});
        }
        out += args.stored_width * 4;
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
