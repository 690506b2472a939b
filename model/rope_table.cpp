#include "model/rope_table.h"

#include "core/functions.h"

namespace baekji {
namespace {

template <class T>
void fill(const RopeTable& table, double theta) {
  const std::int64_t positions = table.cos_PE.dim(0);
  const std::int64_t pairs = table.cos_PE.dim(1);
  for (std::int64_t i = 0; i < pairs; ++i) {
    const double frequency = pow_f64(theta, -static_cast<double>(i) / static_cast<double>(pairs));
    for (std::int64_t p = 0; p < positions; ++p) {
      const SinCos angle = sin_cos_f64(static_cast<double>(p) * frequency);
      table.cos_PE.as<T>()[p * pairs + i] = static_cast<T>(angle.cos);
      table.sin_PE.as<T>()[p * pairs + i] = static_cast<T>(angle.sin);
    }
  }
}

}  // namespace

void RopeTable::bind(Arena& arena, DType type, std::int64_t positions, std::int64_t head_width, double theta) {
  cos_PE = arena.allocate("rotary tables", type, {positions, head_width / 2});
  sin_PE = arena.allocate("rotary tables", type, {positions, head_width / 2});
  if (arena.mode() == Arena::Mode::kMeasure) return;
  switch (type) {
    case DType::kFloat32:
      return fill<float>(*this, theta);
    case DType::kFloat64:
      return fill<double>(*this, theta);
    case DType::kComplex128:
      return fill<Complex>(*this, theta);
    default:
      throw Error("rotary tables have no such type").values("fp32, fp64 or c128", std::string(name_of(type)));
  }
}

}  // namespace baekji
