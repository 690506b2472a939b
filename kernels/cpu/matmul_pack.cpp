#include "kernels/cpu/matmul_pack.h"

#include <algorithm>
#include <array>
#include <cstring>

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
void pack_across(const PackArgs& args) {
  constexpr std::int64_t kSteps = 8;
  constexpr std::int64_t kRun = kSteps * step_elements(dtype_of<Element>());
  const Element* source = reinterpret_cast<const Element*>(args.source);
  for (std::int64_t run = 0; run < args.inner; run += kRun, source += kRun * args.row_elements) {
    StripArgs strip{
        .row_elements = args.row_elements, .inner = std::min(kRun, args.inner - run), .to_step = args.width * 4};
    const std::int64_t steps = ceil_div(strip.inner, step_elements(dtype_of<Element>()));
    prefetch_rows(
        source + kRun * args.row_elements,
        {.row_elements = args.row_elements, .inner = std::min(kRun, args.inner - run - kRun), .count = args.columns});
    std::byte* panel = args.panels + run / kRun * kSteps * strip.to_step;
    for (std::int64_t begin = 0; begin < args.columns; begin += args.width, panel += args.panel_bytes) {
      for (std::int64_t c = 0; c < args.width; c += kLanes) {
        strip.count = args.columns - begin - c;
        strip.to = panel + c * 4;
        if (strip.count >= kLanes) {
          pack_strip<true>(source + begin + c, strip);
        } else if (strip.count > 0) {
          pack_strip<false>(source + begin + c, strip);
        } else {
          for (std::int64_t s = 0; s < steps; ++s) store_vector(strip.to + s * strip.to_step, F32{});
        }
      }
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
void pack_panel_along(const PackArgs& args, std::int64_t begin, std::byte* to) {
  const std::int64_t count = std::min(args.width, args.columns - begin);
  const std::int64_t element_bytes = size_of(args.type);
  const std::int64_t row_bytes = args.row_elements * element_bytes;
  const std::int64_t inner_bytes = args.inner * element_bytes;
  const std::int64_t steps = ceil_div(inner_bytes, 4);
  for (std::int64_t c = 0; c < args.width; c += kLanes) {
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
        if (r < rows) store_vector(to + ((s + r) * args.width + c) * 4, block[r]);
      }
    }
  }
}

template <class Element>
constexpr std::array<float, 256> widened_bytes() {
  std::array<float, 256> values{};
  Element element{};
  for (std::size_t i = 0; i < values.size(); ++i) {
    element.bits = static_cast<std::uint8_t>(i);
    values[i] = static_cast<float>(element);
  }
  return values;
}

// One panel of fp32 words from a source of 8-bit elements that runs [columns, inner].
template <class Element>
void pack_panel_widened(const PackArgs& args, std::int64_t begin, std::byte* to) {
  static constexpr std::array<float, 256> kValues = widened_bytes<Element>();
  const std::int64_t count = std::min(args.width, args.columns - begin);
  for (std::int64_t c = 0; c < args.width; ++c) {
    const std::byte* from = args.source + (begin + c) * args.row_elements;
    for (std::int64_t s = 0; s < args.inner; ++s) {
      const float value = c < count ? kValues[static_cast<std::size_t>(from[s])] : 0.0F;
      std::memcpy(to + (s * args.width + c) * 4, &value, sizeof(value));
    }
  }
}

void pack_panel(const PackArgs& args, std::int64_t begin, std::byte* to) {
  if (args.type == DType::kFloat8E4M3)
    pack_panel_widened<Float8E4M3>(args, begin, to);
  else if (args.type == DType::kFloat8E5M2)
    pack_panel_widened<Float8E5M2>(args, begin, to);
  else
    pack_panel_along(args, begin, to);
}

#if defined(BAEKJI_AMX)
// Rows of a tile of `count` columns x `inner` (up to kAmxInner) elements: pairs of inner neighbours, transposed in
// registers.
void pack_amx_block(const Bfloat16* from, const PackArgs& args, std::int64_t inner, std::int64_t count, std::byte* to) {
  F32 block[kLanes];
#pragma GCC unroll 16
  for (int pair = 0; pair < kLanes; ++pair) {
    const Bfloat16* row = from + 2 * pair * args.row_elements;
    const U16 even = 2 * pair < inner ? load_first(row, count) : U16{};
    const U16 odd = 2 * pair + 1 < inner ? load_first(row + args.row_elements, count) : U16{};
    block[pair] = bits_of<F32>(pair_up(even, odd));
  }
  transpose_block(block);
#pragma GCC unroll 16
  for (int row = 0; row < kLanes; ++row) store_vector(to + row * 64, block[row]);
}
#endif

}  // namespace

void pack_amx_rows([[maybe_unused]] const PackArgs& args) {
#if defined(BAEKJI_AMX)
  const auto* from = reinterpret_cast<const Bfloat16*>(args.source);
  for (std::int64_t i = 0; i < args.inner; i += kAmxInner, from += kAmxInner * args.row_elements) {
    const std::int64_t inner = std::min(kAmxInner, args.inner - i);
    std::byte* to = args.panels + i / kAmxInner * kAmxRows * 64;
    for (std::int64_t c = 0; c < args.columns; c += kAmxRows, to += args.panel_bytes)
      pack_amx_block(from + c, args, inner, std::min(kAmxRows, args.columns - c), to);
  }
#endif
}

void pack(const PackArgs& args) {
  if (args.inner_is_last) {
    for (std::int64_t begin = 0; begin < args.columns; begin += args.width) {
      pack_panel(args, begin, args.panels + begin / args.width * args.panel_bytes);
    }
  } else if (args.type == DType::kBfloat16) {
    pack_across<Bfloat16>(args);
  } else {
    pack_across<float>(args);
  }
}

}  // namespace baekji::cpu
