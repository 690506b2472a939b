#include "model/rope_table.h"

#include <vector>

#include "core/functions.h"

namespace baekji {
namespace {

template <class T>
void fill(const RopeTable& table, double theta, Kernels& kernels) {
  const std::int64_t positions = table.cos_PE.dim(0);
  const std::int64_t pairs = table.cos_PE.dim(1);
  std::vector<T> cosines(static_cast<std::size_t>(positions * pairs));
  std::vector<T> sines(cosines.size());
  for (std::int64_t i = 0; i < pairs; ++i) {
    const double frequency = pow_f64(theta, -static_cast<double>(i) / static_cast<double>(pairs));
    for (std::int64_t p = 0; p < positions; ++p) {
      const SinCos angle = sin_cos_f64(static_cast<double>(p) * frequency);
      cosines[static_cast<std::size_t>(p * pairs + i)] = static_cast<T>(angle.cos);
      sines[static_cast<std::size_t>(p * pairs + i)] = static_cast<T>(angle.sin);
    }
  }
  kernels.upload({.from = cosines.data(), .to = table.cos_PE});
  kernels.upload({.from = sines.data(), .to = table.sin_PE});
}

}  // namespace

void RopeTable::bind(const Shape& shape, Kernels& kernels, Arena& arena) {
  cos_PE = arena.allocate("rotary tables", shape.type, {shape.positions, shape.head_width / 2});
  sin_PE = arena.allocate("rotary tables", shape.type, {shape.positions, shape.head_width / 2});
  if (arena.mode() == Arena::Mode::kMeasure) return;
  switch (shape.type) {
    case DType::kFloat32:
      return fill<float>(*this, shape.theta, kernels);
    case DType::kFloat64:
      return fill<double>(*this, shape.theta, kernels);
    case DType::kComplex128:
      return fill<Complex>(*this, shape.theta, kernels);
    default:
      throw Error("rotary tables have no such type").values("fp32, fp64 or c128", std::string(name_of(shape.type)));
  }
}

}  // namespace baekji
