#include "core/random.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "core/digest.h"
#include "core/error.h"
#include "core/functions.h"

namespace baekji {
namespace {

std::array<std::uint32_t, 2> derive_key(std::string_view domain, std::uint64_t seed, std::string_view name) {
  std::string text(domain);
  text.push_back('\0');
  append_little_endian(text, seed);
  text += name;
  const Digest digest = sha256(text);
  std::array<std::uint32_t, 2> key{};
  for (std::size_t i = 0; i < 8; ++i) key[i / 4] |= static_cast<std::uint32_t>(digest[i]) << (8 * (i % 4));
  return key;
}

// Horner without fma; coefficients from the highest power down.
double polynomial(std::span<const double> coefficients, double x) {
  double p = coefficients[0];
  for (std::size_t i = 1; i < coefficients.size(); ++i) p = p * x + coefficients[i];
  return p;
}

constexpr unsigned kFeistelRounds = 6;

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57U} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9U;
    key[1] += 0xBB67AE85U;
  }
  return counter;
}

RandomStream::RandomStream(std::string_view domain, std::uint64_t seed, std::string_view name)
    : key_(derive_key(domain, seed, name)) {}

std::uint64_t RandomStream::word(std::uint64_t index) const {
  const std::uint64_t block = index >> 1;
  const auto out = philox4x32({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0, 0}, key_);
  const std::size_t half = (index & 1) * 2;
  return (std::uint64_t{out[half + 1]} << 32) | out[half];
}

std::uint64_t RandomStream::below(std::uint64_t index, std::uint64_t bound) const {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((static_cast<Wide>(word(index)) * bound) >> 64);
}

double RandomStream::uniform(std::uint64_t index) const {
  return (static_cast<double>(word(index) >> 12) + 0.5) * 0x1p-52;
}

double RandomStream::normal(std::uint64_t index) const {
  return normal_quantile(uniform(index));
}

KeyedPermutation::KeyedPermutation(std::string_view domain, std::uint64_t seed, std::string_view name,
                                   std::uint64_t size)
    : key_(derive_key(domain, seed, name)), size_(size) {
  if (size == 0) throw Error("a permutation needs at least one element").values(">= 1", "0").at(name);
  const unsigned bits = size <= 1 ? 1U : static_cast<unsigned>(std::bit_width(size - 1));
  half_bits_ = (bits + 1) / 2;
}

std::uint64_t KeyedPermutation::operator()(std::uint64_t index) const {
  if (index >= size_) {
    throw Error("index outside the permutation").values(fmt::format("< {}", size_), fmt::format("{}", index));
  }
  std::uint64_t value = encrypt(index);
  while (value >= size_) value = encrypt(value);  // cycle walking: at most 4 steps on average
  return value;
}

std::uint64_t KeyedPermutation::encrypt(std::uint64_t value) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = value >> half_bits_;
  std::uint64_t right = value & mask;
  for (std::uint32_t round = 0; round < kFeistelRounds; ++round) {
    const auto out =
        philox4x32({static_cast<std::uint32_t>(right), static_cast<std::uint32_t>(right >> 32), round, 1}, key_);
    const std::uint64_t next = left ^ (((std::uint64_t{out[1]} << 32) | out[0]) & mask);
    left = right;
    right = next;
  }
  return (left << half_bits_) | right;
}

double normal_quantile(double p) {
  static constexpr double kCentralTop[] = {2.5090809287301226727e+3, 3.3430575583588128105e+4, 6.7265770927008700853e+4,
                                           4.5921953931549871457e+4, 1.3731693765509461125e+4, 1.9715909503065514427e+3,
                                           1.3314166789178437745e+2, 3.3871328727963666080e+0};
  static constexpr double kCentralBottom[] = {
      5.2264952788528545610e+3, 2.8729085735721942674e+4, 3.9307895800092710610e+4, 2.1213794301586595867e+4,
      5.3941960214247511077e+3, 6.8718700749205790830e+2, 4.2313330701600911252e+1, 1.0};
  static constexpr double kMiddleTop[] = {
      7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e+0,
      3.64784832476320460504e+0, 5.76949722146069140550e+0, 4.63033784615654529590e+0, 1.42343711074968357734e+0};
  static constexpr double kMiddleBottom[] = {
      1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
      6.89767334985100004550e-1, 1.67638483018380384940e+0, 2.05319162663775882187e+0, 1.0};
  static constexpr double kTailTop[] = {2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
                                        2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e+0,
                                        5.46378491116411436990e+0, 6.65790464350110377720e+0};
  static constexpr double kTailBottom[] = {
      2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
      1.48753612908506148525e-2,  1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0};
  const double q = p - 0.5;
  if (std::fabs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return polynomial(kCentralTop, r) * q / polynomial(kCentralBottom, r);
  }
  double r = std::sqrt(-log_f64(q <= 0.0 ? p : 1.0 - p));
  double x = 0;
  if (r <= 5.0) {
    r = r - 1.6;
    x = polynomial(kMiddleTop, r) / polynomial(kMiddleBottom, r);
  } else {
    r = r - 5.0;
    x = polynomial(kTailTop, r) / polynomial(kTailBottom, r);
  }
  return q < 0.0 ? -x : x;
}

}  // namespace baekji
