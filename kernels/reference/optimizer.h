#pragma once
// Reference fixed-point sums, square sums and AdamW. fp32 only: these are the contract's own arithmetic, not maths to
// be differentiated.

#include <cmath>
#include <vector>

#include "kernels/check.h"
#include "kernels/reference/reduce.h"
#include "kernels/reference/scalar.h"

namespace baekji::reference {

/// One fp32 value as a count of 2^unit_exponent, to nearest, ties to even. `valid` is false, and the count 0, when the
/// value is not finite or its magnitude reaches `limit` units.
struct Fixed {
  std::int64_t count = 0;
  bool valid = true;
};
inline Fixed to_fixed(float value, int unit_exponent, double limit) {
  const double units = static_cast<double>(value) * std::ldexp(1.0, -unit_exponent);  // exact: a power of two
  if (!(std::fabs(units) < limit)) return {0, false};
  // A magnitude of 2^51 or more has no fraction in a value of 24 bits; below, 1.5 * 2^52 leaves the nearest integer.
  constexpr double kRound = 6755399441055744.0;
  const double rounded = std::fabs(units) < 0x1p51 ? (units + kRound) - kRound : units;
  return {static_cast<std::int64_t>(rounded), true};
}

/// The fp32 gradient values [begin, begin + count) of a source; `valid` turns false when a contribution may not be
/// used.
inline std::vector<float> read_gradient(const GradientSource& source, std::int64_t begin, std::int64_t count,
                                        bool& valid) {
  std::vector<float> gradient(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t sum = 0;
    if (source.partial.defined()) {
      sum = source.partial.as<std::int64_t>()[begin + i];
    } else {
      for (const Tensor& contribution : source.contributions) {
        const Fixed fixed = to_fixed(contribution.as<float>()[begin + i], source.unit_exponent, source.limit);
        valid = valid && fixed.valid;
        sum += fixed.count;
      }
    }
    gradient[static_cast<std::size_t>(i)] = static_cast<float>(static_cast<double>(sum) * source.scale);
  }
  return gradient;
}

inline void fixed_point_accumulate(const FixedPointArgs& args) {
  check_arguments(args);
  const float* gradient = args.gradient.as<float>();
  std::int64_t* partial = args.partial.as<std::int64_t>();
  bool valid = true;
  for (std::int64_t i = 0; i < args.gradient.size(); ++i) {
    const Fixed fixed = to_fixed(gradient[i], args.unit_exponent, args.limit);
    valid = valid && fixed.valid;
    // Unsigned: the sum of an invalid step may wrap, and is then not used.
    const std::uint64_t old = args.overwrite ? 0 : static_cast<std::uint64_t>(partial[i]);
    partial[i] = static_cast<std::int64_t>(old + static_cast<std::uint64_t>(fixed.count));
  }
  if (!valid) *args.unusable.as<std::int32_t>() = 1;
}

inline SquareSum square_sum(const SquareSumArgs& args) {
  check_arguments(args);
  SquareSum result;
  const std::vector<float> gradient = read_gradient(args.gradient, args.begin, args.count, result.valid);
  std::array<double, 8> lanes{};
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    const double g = static_cast<double>(gradient[i]);
    lanes[i % lanes.size()] += g * g;
  }
  result.sum = lane_tree(lanes);
  return result;
}

/// Returns the range's square move.
inline double adamw(const AdamwArgs& args) {
  check_arguments(args);
  bool valid = true;  // square_sums has judged the step already
  const std::vector<float> gradient = read_gradient(args.gradient, args.begin, args.count, valid);
  float* master = args.master.as<float>() + args.begin;
  float* moment1 = args.moment1.as<float>() + args.begin;
  float* moment2 = args.moment2.as<float>() + args.begin;
  const float rest1 = 1.0F - args.beta1;
  const float rest2 = 1.0F - args.beta2;
  const float unbias1 = 1.0F / args.correction1;
  const float unbias2 = 1.0F / args.correction2;
  std::vector<double> squares(gradient.size());
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    const float g = gradient[i] * args.clip;
    moment1[i] = args.beta1 * moment1[i] + rest1 * g;
    moment2[i] = args.beta2 * moment2[i] + rest2 * (g * g);
    const float direction = (moment1[i] * unbias1) / (std::sqrt(moment2[i] * unbias2) + args.eps);
    const float moved = master[i] - args.learning_rate * (direction + args.weight_decay * master[i]);
    const double change = static_cast<double>(moved) - static_cast<double>(master[i]);
    squares[i] = change * change;
    master[i] = moved;
  }
  if (args.weight.defined()) write_row(args.weight, args.begin, std::vector<float>(master, master + args.count));
  return pair_tree(squares);
}

}  // namespace baekji::reference
