#pragma once
// Axes of the pictures that we draw.

namespace baekji {

/// The distance between ticks: the smallest multiple of a power of ten by 1, 2, 5 or 10 that is `least` or more, for a
/// finite `least` above 0.
double axis_step(double least);

}  // namespace baekji
