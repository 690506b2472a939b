#include "kernels/cpu/optimizer.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>

#include "kernels/check.h"
#include "kernels/cpu/row_lanes.h"

namespace baekji::cpu {
namespace {

constexpr std::int64_t kBlock = 1024;  // elements of a gradient held in the first-level cache; a multiple of the lanes
using Lanes8 = double __attribute__((vector_size(8 * sizeof(double))));

/// Rounds a count of units to the nearest integer, ties to even, and judges it; an unusable value counts 0.
struct Rounding {
  double units_per_one = 1;  ///< 2^-unit_exponent
  double limit = 0x1p62;

  bool usable(double units) const { return std::fabs(units) < limit; }
  double round(double units) const {
    constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
    const double nearest = (units + kRound) - kRound;
    const double whole = std::fabs(units) < 0x1p51 ? nearest : units;  // beyond, 24 bits leave no fraction
    return usable(units) ? whole : 0.0;
  }
};

Rounding rounding_of(int unit_exponent, double limit) {
  return {std::ldexp(1.0, -unit_exponent), limit};
}

// sum [+]= fixed(values); true when all were usable. The addition is unsigned because an invalid step may wrap.
template <bool Overwrite>
bool add_fixed(const float* values, std::uint64_t* sum, std::int64_t size, Rounding rounding) {
  std::int64_t unusable = 0;
  BAEKJI_INDEPENDENT
  for (std::int64_t i = 0; i < size; ++i) {
    const double units = static_cast<double>(values[i]) * rounding.units_per_one;
    const std::uint64_t count = static_cast<std::uint64_t>(static_cast<std::int64_t>(rounding.round(units)));
    unusable += rounding.usable(units) ? 0 : 1;
    sum[i] = Overwrite ? count : sum[i] + count;
  }
  return unusable == 0;
}

// With one contribution the integer need not be formed: the rounded double is that integer.
bool single_gradient(const float* values, float* gradient, std::int64_t size, Rounding rounding, double scale) {
  std::int64_t unusable = 0;
  BAEKJI_INDEPENDENT
  for (std::int64_t i = 0; i < size; ++i) {
    const double units = static_cast<double>(values[i]) * rounding.units_per_one;
    unusable += rounding.usable(units) ? 0 : 1;
    gradient[i] = static_cast<float>(rounding.round(units) * scale);
  }
  return unusable == 0;
}

void scaled_sum(const std::int64_t* sum, float* gradient, std::int64_t size, double scale) {
  BAEKJI_INDEPENDENT
  for (std::int64_t i = 0; i < size; ++i) gradient[i] = static_cast<float>(static_cast<double>(sum[i]) * scale);
}

// Elements [begin, begin + size) of the gradient, size <= kBlock; true when every contribution was usable.
bool read_gradient(const GradientSource& source, std::int64_t begin, std::int64_t size, float* gradient) {
  if (source.partial.defined()) {
    scaled_sum(source.partial.as<std::int64_t>() + begin, gradient, size, source.scale);
    return true;
  }
  const Rounding rounding = rounding_of(source.unit_exponent, source.limit);
  if (source.contributions.size() == 1) {
    return single_gradient(source.contributions.front().as<float>() + begin, gradient, size, rounding, source.scale);
  }
  std::array<std::int64_t, kBlock> sum;  // NOLINT(cppcoreguidelines-pro-type-member-init): the first pass overwrites it
  std::uint64_t* words = reinterpret_cast<std::uint64_t*>(sum.data());
  bool usable = true;
  bool first = true;
  for (const Tensor& contribution : source.contributions) {
    const float* values = contribution.as<float>() + begin;
    usable =
        (first ? add_fixed<true>(values, words, size, rounding) : add_fixed<false>(values, words, size, rounding)) &&
        usable;
    first = false;
  }
  scaled_sum(sum.data(), gradient, size, source.scale);
  return usable;
}

SquareSum square_sum(const SquareSumArgs& args) {
  std::array<float, kBlock> gradient;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  SquareSum result;
  Lanes8 lanes{};
  for (std::int64_t done = 0; done < args.count; done += kBlock) {
    const std::int64_t size = std::min(kBlock, args.count - done);
    result.valid = read_gradient(args.gradient, args.begin + done, size, gradient.data()) && result.valid;
    for (std::int64_t i = size; i < round_up(size, 8); ++i) gradient[static_cast<std::size_t>(i)] = 0.0F;
    for (std::int64_t i = 0; i < size; i += 8) {
      using Floats8 = float __attribute__((vector_size(8 * sizeof(float))));
      Floats8 values;
      std::memcpy(&values, gradient.data() + i, sizeof values);
      const Lanes8 wide = __builtin_convertvector(values, Lanes8);
      lanes += wide * wide;
    }
  }
  result.sum = baekji::lane_tree(std::bit_cast<std::array<double, 8>>(lanes));
  return result;
}

/// The scalars of a step, and the addresses of one block.
struct Step {
  float clip, learning_rate, beta1, beta2, rest1, rest2, unbias1, unbias2, eps, weight_decay;
};

constexpr std::int64_t kPiece = 64;  // elements between whose moves the first additions are made in registers

Lanes8 load_lanes(const double* from) {
  Lanes8 lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

// Sums of neighbours: those of `a`, then those of `b`.
Lanes8 add_pairs(Lanes8 a, Lanes8 b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
}

// The pair tree of kPiece values, up to its three highest levels.
Lanes8 piece_tree(const double* values) {
  const auto pairs = [&](std::int64_t at) { return add_pairs(load_lanes(values + at), load_lanes(values + at + 8)); };
  return add_pairs(add_pairs(pairs(0), pairs(16)), add_pairs(pairs(32), pairs(48)));
}

// The pair tree of kBlock values, of which kPiece at a time came to eight. Overwrites them.
double block_tree(std::array<double, kBlock / 8>& values) {
  for (std::int64_t count = kBlock / 8; count > 8; count /= 2) {
    for (std::int64_t i = 0; i < count; i += 16) {
      const Lanes8 sum = add_pairs(load_lanes(values.data() + i), load_lanes(values.data() + i + 8));
      std::memcpy(values.data() + i / 2, &sum, sizeof sum);
    }
  }
  const double* const v = values.data();
  return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

// The pair tree of values that come one after another: a stack of the trees of 2^level values, the largest first.
class PairTree {
 public:
  void add(double value) {
    for (std::uint64_t full = count_++; (full & 1U) != 0; full >>= 1U) value = open_[--height_] + value;
    open_[height_++] = value;
  }
  // A tree without a neighbour takes +0 up to its sister's level, which leaves a square as it is.
  double root() const {
    double sum = 0;
    for (std::size_t i = height_; i > 0; --i) sum = open_[i - 1] + sum;
    return sum;
  }

 private:
  std::array<double, 64> open_{};
  std::size_t height_ = 0;
  std::uint64_t count_ = 0;
};

void adamw_piece(const float* gradient, float* master, float* moment1, float* moment2, double* squares,
                 std::int64_t size, const Step& step) {
  const Step s = step;
  BAEKJI_INDEPENDENT
  for (std::int64_t i = 0; i < size; ++i) {
    const float g = gradient[i] * s.clip;
    const float m = s.beta1 * moment1[i] + s.rest1 * g;
    const float v = s.beta2 * moment2[i] + s.rest2 * (g * g);
    const float direction = (m * s.unbias1) / (std::sqrt(v * s.unbias2) + s.eps);
    moment1[i] = m;
    moment2[i] = v;
    const float moved = master[i] - s.learning_rate * (direction + s.weight_decay * master[i]);
    const double change = static_cast<double>(moved) - static_cast<double>(master[i]);
    squares[i] = change * change;
    master[i] = moved;
  }
}

// Returns the block's square move. Piece by piece, so that its additions pass while the next piece comes from memory.
double adamw_block(const float* gradient, float* master, float* moment1, float* moment2, std::int64_t size,
                   const Step& step) {
  std::array<double, kBlock / 8> sums{};
  std::array<double, kPiece> squares;  // NOLINT(cppcoreguidelines-pro-type-member-init): written before it is read
  for (std::int64_t at = 0; at < size; at += kPiece) {
    if (size - at >= kPiece) {
      adamw_piece(gradient + at, master + at, moment1 + at, moment2 + at, squares.data(), kPiece, step);
    } else {
      squares.fill(0.0);
      adamw_piece(gradient + at, master + at, moment1 + at, moment2 + at, squares.data(), size - at, step);
    }
    const Lanes8 eight = piece_tree(squares.data());
    std::memcpy(sums.data() + at / 8, &eight, sizeof eight);
  }
  return block_tree(sums);
}

template <class T>
void round_weights(const float* master, T* weight, std::int64_t size) {
  BAEKJI_INDEPENDENT
  for (std::int64_t i = 0; i < size; ++i) weight[i] = from_float<T>(master[i]);
}

double adamw_range(const AdamwArgs& args) {
  const Step step{.clip = args.clip,
                  .learning_rate = args.learning_rate,
                  .beta1 = args.beta1,
                  .beta2 = args.beta2,
                  .rest1 = 1.0F - args.beta1,
                  .rest2 = 1.0F - args.beta2,
                  .unbias1 = 1.0F / args.correction1,
                  .unbias2 = 1.0F / args.correction2,
                  .eps = args.eps,
                  .weight_decay = args.weight_decay};
  float* master = args.master.as<float>();
  float* moment1 = args.moment1.as<float>();
  float* moment2 = args.moment2.as<float>();
  std::array<float, kBlock> gradient;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  PairTree moved;
  const std::int64_t end = args.begin + args.count;
  for (std::int64_t begin = args.begin; begin < end; begin += kBlock) {
    const std::int64_t size = std::min(kBlock, end - begin);
    read_gradient(args.gradient, begin, size, gradient.data());  // its verdict is square_sums' business
    moved.add(adamw_block(gradient.data(), master + begin, moment1 + begin, moment2 + begin, size, step));
    if (args.weight.defined()) {
      with_storage(args.weight, "adamw", [&]<class T>(std::type_identity<T>) {
        round_weights(static_cast<const float*>(master + begin), args.weight.as<T>() + begin, size);
      });
    }
  }
  return moved.root();
}

}  // namespace

void fixed_point_accumulate(const FixedPointArgs& args, ThreadPool& pool) {
  check_arguments(args);
  const float* gradient = args.gradient.as<float>();
  // Signed and unsigned views of one integer may alias; the additions are unsigned so that wrapping is defined.
  std::uint64_t* partial = reinterpret_cast<std::uint64_t*>(args.partial.as<std::int64_t>());
  const Rounding rounding = rounding_of(args.unit_exponent, args.limit);
  std::atomic<bool> usable{true};
  constexpr std::int64_t kPieceElements = 32768;
  pool.for_ranges(args.gradient.size(), kPieceElements, [&](std::int64_t begin, std::int64_t end) {
    const bool all = args.overwrite ? add_fixed<true>(gradient + begin, partial + begin, end - begin, rounding)
                                    : add_fixed<false>(gradient + begin, partial + begin, end - begin, rounding);
    if (!all) usable.store(false, std::memory_order_relaxed);
  });
  if (!usable.load()) *args.unusable.as<std::int32_t>() = 1;
}

void square_sums(std::span<const SquareSumArgs> args, std::span<SquareSum> results, ThreadPool& pool) {
  require_equal(args.size(), results.size(), "one result for each range", "square_sums");
  for (const SquareSumArgs& range : args) check_arguments(range);
  pool.run(static_cast<std::int64_t>(args.size()), [&](std::int64_t i) {
    results[static_cast<std::size_t>(i)] = square_sum(args[static_cast<std::size_t>(i)]);
  });
}

void adamw(std::span<const AdamwArgs> args, std::span<double> square_moves, ThreadPool& pool) {
  require_equal(args.size(), square_moves.size(), "one result for each range", "adamw");
  for (const AdamwArgs& range : args) check_arguments(range);
  pool.run(static_cast<std::int64_t>(args.size()), [&](std::int64_t i) {
    square_moves[static_cast<std::size_t>(i)] = adamw_range(args[static_cast<std::size_t>(i)]);
  });
}

}  // namespace baekji::cpu
