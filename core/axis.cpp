#include "core/axis.h"

#include <initializer_list>

namespace baekji {

double axis_step(double least) {
  double power = 1;
  while (power * 10 <= least) power *= 10;
  while (power > least) power /= 10;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= least) return factor * power;
  }
  return 10 * power;
}

}  // namespace baekji
