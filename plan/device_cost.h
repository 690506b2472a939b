#pragma once
// What an operation takes on a device: its arithmetic and its bytes against the device's ceilings, whichever is longer.

#include <cstdint>

#include "plan/cluster.h"
#include "plan/profile.h"
#include "plan/workload.h"

namespace baekji {

/// C(rows, columns) = A(rows, inner) B(inner, columns).
struct ProductShape {
  double rows = 1;
  double columns = 1;
  double inner = 1;
};

/// One sequence's causal attention, `count` heads of it, fused: queries of this rank against all keys.
struct AttentionShape {
  double queries = 1;   ///< tokens of the micro-batch on this rank
  double sequence = 1;  ///< tokens of a sequence
  double heads = 1;     ///< query heads on this rank
  double head_width = 1;
};

class DeviceCost {
 public:
  /// Throws when the device cannot compute in `precision`.
  DeviceCost(const Cluster& cluster, const ImplementationProfile& profile, Precision precision);

  /// Seconds of a product in the workload's precision, or in 16 bits (head, attention).
  double product_s(const ProductShape& shape) const { return product_s(shape, precision_); }
  double product_16_s(const ProductShape& shape) const;
  double attention_forward_s(const AttentionShape& shape) const;
  double attention_backward_s(const AttentionShape& shape) const;
  /// Seconds of moving so many bytes in one operation.
  double bytes_s(double bytes) const;
  /// The same as a part of another operation.
  double bytes_inside_s(double bytes) const;

  Precision precision() const { return precision_; }
  double ceiling_flops() const { return ceiling(precision_); }

  /// Whether the device is the machine's own processor.
  bool is_host() const { return device_.kind == "cpu"; }

 private:
  double ceiling(Precision precision) const;
  double product_s(const ProductShape& shape, Precision precision) const;
  double fused_attention_s(const AttentionShape& shape, double figure_tflops, double share, double products) const;
  double score_products_s(const AttentionShape& shape, double products) const;

  const DeviceFigures& device_;
  const ImplementationProfile& profile_;
  Precision precision_;
};

}  // namespace baekji
