#include "kernels/cpu/matmul_pack.h"

#include <algorithm>

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

// One panel (columns [begin, begin + count)) of a source that runs [inner, columns].
template <class Element>
void pack_panel_across(const PackArgs& args, std::int64_t begin, std::int64_t count, std::byte* to) {
  constexpr std::int64_t kStep = step_elements(dtype_of<Element>());
  const Element* source = reinterpret_cast<const Element*>(args.source) + begin;
  for (std::int64_t i = 0; i < args.inner; i += kStep) {
    const Element* row = source + i * args.row_elements;
    const Element* next = kStep == 2 && i + 1 < args.inner ? row + args.row_elements : nullptr;
    for (std::int64_t c = 0; c < args.stored_width; c += kLanes) {
      const std::int64_t left = std::max<std::int64_t>(count - c, 0);
      const Element* second = next == nullptr ? nullptr : next + c;
      store_vector(to + c * 4, left > 0 ? step_words(row + c, second, left) : U32{});
    }
    to += args.stored_width * 4;
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

void pack_panel(const PackArgs& args, std::int64_t begin, std::int64_t count, std::byte* to) {
  if (args.inner_is_last) return pack_panel_along(args, begin, count, to);
  if (args.type == DType::kBfloat16) return pack_panel_across<Bfloat16>(args, begin, count, to);
  pack_panel_across<float>(args, begin, count, to);
}

}  // namespace

void pack_columns(const PackArgs& args) {
  std::byte* to = args.panels;
  for (std::int64_t begin = 0; begin < args.columns; begin += kTileColumns, to += args.panel_bytes) {
    pack_panel(args, begin, std::min(kTileColumns, args.columns - begin), to);
  }
}

void pack_row_groups(const PackArgs& args) {
  PackArgs group_args = args;
  group_args.stored_width = kStoredRows;
  for (std::int64_t g = 0; g < row_groups(args.columns); ++g) {
    const RowGroup group = row_group(args.columns, g);
    pack_panel(group_args, group.begin, group.count, args.panels + g * args.panel_bytes);
  }
}

}  // namespace baekji::cpu
