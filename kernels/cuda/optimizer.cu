// Fixed-point sums, square sums and AdamW, for many ranges in one launch. Nothing here has been timed on a GPU; by
// count, all of it is bound by memory on H100, H200 and B200 (the bytes of an element stand at each kernel), whose fp64
// runs at half of fp32's rate. Square sums of fp32 contributions come close to the limit of conversions too: three an
// element, at 16 a clock and multiprocessor. Blackwell Ultra (B300) has 1/30 of that fp64 and would want the rounding
// in integers.

#include "kernels/cuda/optimizer.h"

#include <bit>
#include <cmath>
#include <initializer_list>
#include <type_traits>
#include <vector>

#include "kernels/check.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.cuh"

namespace baekji::cuda {
namespace {

// Neighbours that a thread takes: 16 bytes of bf16, twice 16 of fp32, four times 16 of integers.
constexpr int kGroup = 8;
constexpr unsigned kThreads = 256;
constexpr unsigned kWarp = 32;

static_assert(std::is_trivially_copyable_v<SquareSum>, "results come back as bytes");

/// A fp32 value as a count of units, to nearest, ties to even; an unusable value counts 0 (to_fixed in
/// kernels/reference/optimizer.h).
struct Rounding {
  double units_per_one = 1;
  double limit = 0x1p62;

  /// `usable` turns false and stays so.
  __device__ double round(float value, bool& usable) const {
    constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
    const double units = static_cast<double>(value) * units_per_one;
    const bool within = std::fabs(units) < limit;
    const double nearest = (units + kRound) - kRound;
    usable = usable && within;
    if (!within) return 0.0;
    return std::fabs(units) < 0x1p51 ? nearest : units;  // beyond, 24 bits leave no fraction
  }
  /// Unsigned, because the sum of an invalid step may wrap.
  __device__ std::uint64_t count(float value, bool& usable) const {
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(round(value, usable)));
  }
};
Rounding rounding_of(int unit_exponent, double limit) {
  return {std::ldexp(1.0, -unit_exponent), limit};
}

/// A GradientSource on the device. Addresses are those of the range's first element.
struct Source {
  const std::int64_t* partial = nullptr;  ///< null: the sum is still in contributions
  const float* contribution = nullptr;    ///< the first of them
  std::int64_t rest = 0;                  ///< index of the others in a table of addresses
  std::int32_t rest_count = 0;
  Rounding rounding;
  double scale = 1;

  __device__ float gradient(std::uint64_t sum) const {
    return static_cast<float>(static_cast<double>(static_cast<std::int64_t>(sum)) * scale);
  }
  /// The gradients of kCount elements whose integers or contributions `load` fetches, all of one before those of the
  /// next.
  template <int kCount, class Load>
  __device__ bool read(const float* const* table, float (&gradients)[kCount], const Load& load) const {
    bool usable = true;
    if (partial != nullptr) {
      std::int64_t sums[kCount];
      load(partial, sums);
#pragma unroll
      for (int i = 0; i < kCount; ++i) gradients[i] = gradient(static_cast<std::uint64_t>(sums[i]));
      return true;
    }
    float values[kCount];
    load(contribution, values);
    if (rest_count == 0) {  // the rounded fp64 is the integer
#pragma unroll
      for (int i = 0; i < kCount; ++i) gradients[i] = static_cast<float>(rounding.round(values[i], usable) * scale);
      return usable;
    }
    std::uint64_t sums[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums[i] = rounding.count(values[i], usable);
    for (std::int32_t c = 0; c < rest_count; ++c) {
      load(table[rest + c], values);
#pragma unroll
      for (int i = 0; i < kCount; ++i) sums[i] += rounding.count(values[i], usable);
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) gradients[i] = gradient(sums[i]);
    return usable;
  }
};

/// The addresses of further contributions are appended to `table`.
Source source_of(const GradientSource& gradient, std::int64_t begin, std::vector<const float*>& table) {
  Source source{.rounding = rounding_of(gradient.unit_exponent, gradient.limit), .scale = gradient.scale};
  if (gradient.partial.defined()) {
    source.partial = gradient.partial.device_as<std::int64_t>() + begin;
    return source;
  }
  source.contribution = gradient.contributions.front().device_as<float>() + begin;
  source.rest = static_cast<std::int64_t>(table.size());
  source.rest_count = narrow<std::int32_t>(gradient.contributions.size() - 1);
  for (const Tensor& t : gradient.contributions.subspan(1)) table.push_back(t.device_as<float>() + begin);
  return source;
}

/// A call's tables in the queue's working memory: room for results, then ranges, then addresses.
template <class Range>
struct Tables {
  void* results = nullptr;
  const Range* ranges = nullptr;
  const float* const* addresses = nullptr;
};
template <class Range>
Tables<Range> upload_tables(const std::vector<Range>& ranges, const std::vector<const float*>& addresses,
                            std::int64_t result_bytes, Queue& queue) {
  static_assert(std::is_trivially_copyable_v<Range>);
  const auto range_bytes = static_cast<std::int64_t>(ranges.size() * sizeof(Range));
  const auto address_bytes = static_cast<std::int64_t>(addresses.size() * sizeof(const float*));
  const std::int64_t ranges_at = round_up(result_bytes, 256);
  const std::int64_t addresses_at = ranges_at + round_up(range_bytes, 256);
  auto* memory = static_cast<std::byte*>(queue.scratch(addresses_at + address_bytes));
  queue.upload(ranges.data(), memory + ranges_at, range_bytes);
  queue.upload(addresses.data(), memory + addresses_at, address_bytes);
  return {memory, static_cast<const Range*>(static_cast<void*>(memory + ranges_at)),
          static_cast<const float* const*>(static_cast<void*>(memory + addresses_at))};
}

/// Up to kGroup neighbours; none when the size is not positive.
struct Piece {
  std::int64_t at = 0;
  int size = 0;
  bool whole = false;  ///< all of kGroup, at 16 bytes in every tensor
};
/// Those of one tensor; what a piece lacks is 0. Sums are 64-bit integers, which Group does not hold.
__device__ void load_integers(const std::int64_t* from, const Piece& piece, std::int64_t (&to)[kGroup]) {
#pragma unroll
  for (int i = 0; i < kGroup; i += 2) {
    if (piece.whole) {
      const Pack<std::int64_t, 2> pair = load_pack<std::int64_t, 2>(from + piece.at + i);
      to[i] = pair.value[0];
      to[i + 1] = pair.value[1];
    } else {
      to[i] = i < piece.size ? from[piece.at + i] : 0;
      to[i + 1] = i + 1 < piece.size ? from[piece.at + i + 1] : 0;
    }
  }
}
__device__ void store_integers(const std::int64_t (&from)[kGroup], const Piece& piece, std::int64_t* to) {
#pragma unroll
  for (int i = 0; i < kGroup; i += 2) {
    if (piece.whole) {
      store_pack<std::int64_t, 2>(to + piece.at + i, {{from[i], from[i + 1]}});
    } else {
      if (i < piece.size) to[piece.at + i] = from[i];
      if (i + 1 < piece.size) to[piece.at + i + 1] = from[i + 1];
    }
  }
}

/// How the elements of a range fall into groups of kGroup: the first is shorter by `shift`, so that the others are
/// aligned to 16 bytes in all of the range's tensors, if one shift does that.
struct Grouping {
  std::int64_t count = 0;
  std::int32_t shift = 0;
  bool aligned = false;

  std::int64_t groups() const { return count == 0 ? 0 : ceil_div(count + shift, kGroup); }
  /// The elements of one group. `aligned` is for one that is whole.
  __device__ Piece piece(std::int64_t group) const {
    const std::int64_t begin = group * kGroup - shift;
    const std::int64_t first = begin < 0 ? 0 : begin;
    const std::int64_t end = begin + kGroup < count ? begin + kGroup : count;
    return {first, static_cast<int>(end - first), aligned && end - first == kGroup};
  }
};
struct Operand {
  const void* data = nullptr;  ///< null: none
  std::int64_t element_bytes = 0;
};
template <class T>
Operand operand(const T* data) {
  return {data, sizeof(T)};
}
bool aligned_after(const Operand& operand, std::int64_t elements) {
  const std::uintptr_t address = std::bit_cast<std::uintptr_t>(operand.data);
  return operand.data == nullptr || (address + static_cast<std::uintptr_t>(elements * operand.element_bytes)) % 16 == 0;
}
Grouping grouping_of(std::int64_t count, std::initializer_list<Operand> operands) {
  for (std::int32_t head = 0; head < kGroup; ++head) {
    bool aligned = true;
    for (const Operand& o : operands) aligned = aligned && aligned_after(o, head);
    if (aligned) return {.count = count, .shift = (kGroup - head) % kGroup, .aligned = true};
  }
  return {.count = count};
}
/// The same where a sum fixes the groups (the pair tree): the first is as long as the others. Operands are those of a
/// source too; `table` as filled by source_of.
Grouping fixed_grouping_of(std::int64_t count, const Source& source, const std::vector<const float*>& table,
                           std::initializer_list<Operand> others) {
  bool aligned = aligned_after(operand(source.partial), 0) && aligned_after(operand(source.contribution), 0);
  for (std::int32_t c = 0; c < source.rest_count; ++c)
    aligned = aligned && aligned_after(operand(table[static_cast<std::size_t>(source.rest + c)]), 0);
  for (const Operand& o : others) aligned = aligned && aligned_after(o, 0);
  return {.count = count, .aligned = aligned};
}

/// Loads for Source::read: a piece.
struct PieceLoad {
  Piece piece;

  __device__ void operator()(const std::int64_t* from, std::int64_t (&to)[kGroup]) const {
    load_integers(from, piece, to);
  }
  __device__ void operator()(const float* from, float (&to)[kGroup]) const {
    const Group<kGroup> group = load_group<kGroup>(from + piece.at, piece.size, piece.whole);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) to[i] = group.value[i];
  }
};

// 4 bytes read, 8 read and 8 written: 20 an element, 12 when overwriting.
template <bool kOverwrite>
__global__ void __launch_bounds__(kThreads)
    add_fixed(const float* gradient, std::int64_t* partial, const Grouping grouping, const Rounding rounding,
              std::int32_t* unusable) {
  const Piece piece = grouping.piece(std::int64_t{blockIdx.x} * kThreads + threadIdx.x);
  if (piece.size <= 0) return;
  bool usable = true;
  const Group<kGroup> values = load_group<kGroup>(gradient + piece.at, piece.size, piece.whole);
  std::int64_t sums[kGroup] = {};
  if constexpr (!kOverwrite) load_integers(partial, piece, sums);
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {  // what a piece lacks is 0, and usable
    const std::uint64_t count = rounding.count(values.value[i], usable);
    sums[i] = static_cast<std::int64_t>(static_cast<std::uint64_t>(sums[i]) + count);
  }
  store_integers(sums, piece, partial);
  if (!usable) *unusable = 1;  // whoever writes it, writes the same
}

struct SumRange {
  Source source;
  std::int64_t count = 0;
};

// One thread for each of a range's 8 lanes, four ranges to a warp. The contract's order makes 8 serial chains of a
// range, of 8,192 additions where it is a whole chunk: some 80 us for the last one, whatever else happens. Chains of
// many ranges overlap instead: some 650 threads of a multiprocessor, by their registers, are on it at once, with kSteps
// loads each on the way: 40 KiB, where Little's law asks for 20 on H100 and 43 on B200. Eight neighbouring threads read
// whole sectors of 32 or 64 bytes, so bytes are read once: 8 an element from integers, or 4 for each contribution.
// Nothing passes through shared memory, and no thread waits for another's.
constexpr unsigned kSumThreads = 128;
constexpr int kLanes = 8;
constexpr int kSteps = 16;

/// Loads for Source::read: the next kSteps elements of a lane.
template <bool kWhole>
struct LaneLoad {
  std::int64_t at = 0;
  std::int64_t count = 0;

  template <class T>
  __device__ void operator()(const T* from, T (&to)[kSteps]) const {
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      if constexpr (kWhole)
        to[i] = from[at + i * kLanes];
      else
        to[i] = at + i * kLanes < count ? from[at + i * kLanes] : T{0};
    }
  }
};

template <bool kWhole>
__device__ void add_steps(const SumRange& range, const float* const* table, std::int64_t at, double& sum,
                          bool& usable) {
  float gradients[kSteps];
  usable = range.source.read(table, gradients, LaneLoad<kWhole>{at, range.count}) && usable;
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {  // the zeros behind the end change no lane: lanes start at +0
    const double g = static_cast<double>(gradients[i]);
    sum += g * g;
  }
}

__global__ void __launch_bounds__(kSumThreads)
    sum_squares(const SumRange* ranges, const float* const* table, SquareSum* results, const std::int64_t count) {
  const std::int64_t thread = std::int64_t{blockIdx.x} * kSumThreads + threadIdx.x;
  const std::int64_t index = thread / kLanes;
  double sum = 0;
  bool usable = true;
  if (index < count) {
    const SumRange range = ranges[index];
    constexpr std::int64_t kBatch = kSteps * kLanes;
    std::int64_t done = 0;
    for (; done + kBatch <= range.count; done += kBatch) {
      add_steps<true>(range, table, done + thread % kLanes, sum, usable);
    }
    if (done < range.count) add_steps<false>(range, table, done + thread % kLanes, sum, usable);
  }
  int all_usable = usable ? 1 : 0;
#pragma unroll
  for (unsigned half = kLanes / 2; half >= 1; half /= 2) {  // lane_tree
    sum = sum + __shfl_down_sync(kWholeWarp, sum, half, kLanes);
    all_usable &= __shfl_down_sync(kWholeWarp, all_usable, half, kLanes);
  }
  if (index < count && thread % kLanes == 0) results[index] = {.sum = sum, .valid = all_usable != 0};
}

/// The scalars of a step.
struct Step {
  float clip, learning_rate, beta1, beta2, rest1, rest2, unbias1, unbias2, eps, weight_decay;
};

struct AdamwRange {
  Source source;
  Grouping grouping;
  std::int64_t first_tile = 0;  ///< among those of all ranges
  float* master = nullptr;
  float* moment1 = nullptr;
  float* moment2 = nullptr;
  float* weight_fp32 = nullptr;
  Bfloat16* weight_bf16 = nullptr;
  Step step;
};

// A block takes one tile: 8,192 elements of one range.
constexpr int kTileTurns = 4;
constexpr std::int64_t kTileGroups = kTileTurns * kThreads;

/// Returns the piece's square move.
__device__ double step_piece(const AdamwRange& r, const float* const* table, const Piece& piece) {
  float gradients[kGroup];
  r.source.read(table, gradients, PieceLoad{piece});  // its verdict is square_sums' business
  const auto load = [&](const float* from) { return load_group<kGroup>(from + piece.at, piece.size, piece.whole); };
  Group<kGroup> w = load(r.master);
  Group<kGroup> m = load(r.moment1);
  Group<kGroup> v = load(r.moment2);
  const Step& s = r.step;
  double squares[kGroup];
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {  // what a piece lacks is not stored; its move is left out below
    const float g = gradients[i] * s.clip;
    m.value[i] = s.beta1 * m.value[i] + s.rest1 * g;
    v.value[i] = s.beta2 * v.value[i] + s.rest2 * (g * g);
    // Square root and division round correctly unless nvcc is told otherwise.
    const float direction = (m.value[i] * s.unbias1) / (std::sqrt(v.value[i] * s.unbias2) + s.eps);
    const float moved = w.value[i] - s.learning_rate * (direction + s.weight_decay * w.value[i]);
    const double change = static_cast<double>(moved) - static_cast<double>(w.value[i]);
    squares[i] = i < piece.size ? change * change : 0.0;
    w.value[i] = moved;
  }
  store_group(r.moment1 + piece.at, m, piece.size, piece.whole);
  store_group(r.moment2 + piece.at, v, piece.size, piece.whole);
  store_group(r.master + piece.at, w, piece.size, piece.whole);
  if (r.weight_bf16 != nullptr) store_group(r.weight_bf16 + piece.at, w, piece.size, piece.whole);
  if (r.weight_fp32 != nullptr) store_group(r.weight_fp32 + piece.at, w, piece.size, piece.whole);
#pragma unroll
  for (int count = kGroup / 2; count >= 1; count /= 2) {
#pragma unroll
    for (int i = 0; i < kGroup / 2; ++i) {
      if (i < count) squares[i] = squares[2 * i] + squares[2 * i + 1];
    }
  }
  return squares[0];
}

/// The pair tree over the lanes of a warp; the first lane has it.
__device__ double warp_pairs(double value) {
#pragma unroll
  for (unsigned apart = 1; apart < kWarp; apart *= 2) value = value + __shfl_down_sync(kWholeWarp, value, apart);
  return value;
}

// Moves add a few fp64 operations an element, and 8 bytes a tile to be read by the host.
// Bytes an element: 8 (integers) or 4 for each contribution; three values of 4 read and written, 24; a bf16 weight, 2:
// 34 or 30. A range of any length takes as many blocks as it needs; a block finds its range by bisection, some 17 reads
// for 280 KB of the rest.
__global__ void __launch_bounds__(kThreads)
    adamw_tiles(const AdamwRange* ranges, const std::int64_t count, const float* const* table, double* square_moves) {
  constexpr unsigned kWarps = kThreads / kWarp;
  static_assert(kTileTurns * kWarps == kWarp, "one warp adds what the others have");
  __shared__ double warps[kTileTurns * kWarps];  // in the order of their elements
  const std::int64_t tile = blockIdx.x;
  std::int64_t low = 0;  // the last range that begins at or before the tile; empty ones begin where the next one does
  for (std::int64_t high = count; high - low > 1;) {
    const std::int64_t middle = (low + high) / 2;
    if (ranges[middle].first_tile <= tile)
      low = middle;
    else
      high = middle;
  }
  const AdamwRange range = ranges[low];
  const std::int64_t first = (tile - range.first_tile) * kTileGroups + threadIdx.x;
  for (unsigned turn = 0; turn < kTileTurns; ++turn) {
    const Piece piece = range.grouping.piece(first + std::int64_t{turn} * kThreads);
    const double sum = warp_pairs(piece.size > 0 ? step_piece(range, table, piece) : 0.0);
    if (threadIdx.x % kWarp == 0) warps[turn * kWarps + threadIdx.x / kWarp] = sum;
  }
  __syncthreads();
  if (threadIdx.x >= kWarp) return;
  const double sum = warp_pairs(warps[threadIdx.x]);
  if (threadIdx.x == 0) square_moves[tile] = sum;
}

AdamwRange adamw_range(const AdamwArgs& args, std::int64_t first_tile, std::vector<const float*>& table) {
  AdamwRange range{.source = source_of(args.gradient, args.begin, table),
                   .first_tile = first_tile,
                   .master = args.master.device_as<float>() + args.begin,
                   .moment1 = args.moment1.device_as<float>() + args.begin,
                   .moment2 = args.moment2.device_as<float>() + args.begin,
                   .step = {.clip = args.clip,
                            .learning_rate = args.learning_rate,
                            .beta1 = args.beta1,
                            .beta2 = args.beta2,
                            .rest1 = 1.0F - args.beta1,
                            .rest2 = 1.0F - args.beta2,
                            .unbias1 = 1.0F / args.correction1,
                            .unbias2 = 1.0F / args.correction2,
                            .eps = args.eps,
                            .weight_decay = args.weight_decay}};
  if (args.weight.defined()) {
    with_storage(args.weight, "adamw", [&]<class T>(std::type_identity<T>) {
      if constexpr (std::is_same_v<T, float>)
        range.weight_fp32 = args.weight.device_as<T>() + args.begin;
      else
        range.weight_bf16 = args.weight.device_as<T>() + args.begin;
    });
  }
  range.grouping = fixed_grouping_of(args.count, range.source, table,
                                     {operand(range.weight_bf16), operand(range.weight_fp32), operand(range.master),
                                      operand(range.moment1), operand(range.moment2)});
  return range;
}

}  // namespace

void fixed_point_accumulate(const FixedPointArgs& args, Queue& queue) {
  check_arguments(args);
  const float* gradient = args.gradient.device_as<float>();
  auto* partial = args.partial.device_as<std::int64_t>();
  const Grouping grouping = grouping_of(args.gradient.size(), {operand(gradient), operand(partial)});
  launch({.grid = dim3(blocks_for(grouping.groups(), kThreads)), .block = dim3(kThreads)}, queue.stream(),
         "fixed_point_accumulate", args.overwrite ? add_fixed<true> : add_fixed<false>, gradient, partial, grouping,
         rounding_of(args.unit_exponent, args.limit), args.unusable.device_as<std::int32_t>());
}

void square_sums(std::span<const SquareSumArgs> args, std::span<SquareSum> results, Queue& queue) {
  require_equal(args.size(), results.size(), "one result for each range", "square_sums");
  if (args.empty()) return;
  std::vector<SumRange> ranges;
  ranges.reserve(args.size());
  std::vector<const float*> addresses;
  for (const SquareSumArgs& range : args) {
    check_arguments(range);
    ranges.push_back({.source = source_of(range.gradient, range.begin, addresses), .count = range.count});
  }
  const auto count = static_cast<std::int64_t>(args.size());
  const auto result_bytes = static_cast<std::int64_t>(results.size_bytes());
  const Tables<SumRange> tables = upload_tables(ranges, addresses, result_bytes, queue);
  launch({.grid = dim3(blocks_for(count * kLanes, kSumThreads)), .block = dim3(kSumThreads)}, queue.stream(),
         "square_sums", sum_squares, tables.ranges, tables.addresses, static_cast<SquareSum*>(tables.results), count);
  queue.download(tables.results, results.data(), result_bytes);
}

void adamw(std::span<const AdamwArgs> args, std::span<double> square_moves, Queue& queue) {
  require_equal(args.size(), square_moves.size(), "one result for each range", "adamw");
  if (args.empty()) return;
  std::vector<AdamwRange> ranges;
  ranges.reserve(args.size());
  std::vector<const float*> addresses;
  std::int64_t tiles = 0;
  for (const AdamwArgs& range : args) {
    check_arguments(range);
    ranges.push_back(adamw_range(range, tiles, addresses));
    tiles += ceil_div(ranges.back().grouping.groups(), kTileGroups);
  }
  const std::int64_t result_bytes = tiles * static_cast<std::int64_t>(sizeof(double));
  const Tables<AdamwRange> tables = upload_tables(ranges, addresses, result_bytes, queue);
  launch({.grid = dim3(narrow<unsigned>(tiles)), .block = dim3(kThreads)}, queue.stream(), "adamw", adamw_tiles,
         tables.ranges, static_cast<std::int64_t>(ranges.size()), tables.addresses,
         static_cast<double*>(tables.results));
  // A tile is an aligned block of its range's pair tree.
  std::vector<double> by_tile(static_cast<std::size_t>(tiles));
  queue.download(tables.results, by_tile.data(), result_bytes);
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const auto first = static_cast<std::size_t>(ranges[i].first_tile);
    const auto end = i + 1 < ranges.size() ? static_cast<std::size_t>(ranges[i + 1].first_tile) : by_tile.size();
    square_moves[i] = pair_tree(std::span(by_tile).subspan(first, end - first));
  }
}

}  // namespace baekji::cuda
