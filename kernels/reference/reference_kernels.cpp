#include "kernels/reference/reference_kernels.h"

namespace baekji {

std::unique_ptr<Kernels> make_reference_kernels(ScalarKind kind) {
  switch (kind) {
    case ScalarKind::kFloat:
      return std::make_unique<ReferenceKernels<float>>();
    case ScalarKind::kDouble:
      return std::make_unique<ReferenceKernels<double>>();
    case ScalarKind::kComplex:
      return std::make_unique<ReferenceKernels<Complex>>();
  }
  throw Error("no such scalar kind");
}

}  // namespace baekji
