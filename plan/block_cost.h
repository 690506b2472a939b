#pragma once
// What one transformer block, and the ends of the model, take for a micro-batch on one rank.

#include "plan/device_cost.h"
#include "plan/network_cost.h"

namespace baekji {

/// Seconds of a pass, by what they are spent on.
struct PassSeconds {
  double products = 0;
  double attention = 0;
  double pointwise = 0;
  double tensor_exchange = 0;
  double context_exchange = 0;
  double layer_gather = 0;  ///< waiting for weights or for gradient sums of a divided layer

  double total() const { return products + attention + pointwise + tensor_exchange + context_exchange + layer_gather; }
  PassSeconds& operator+=(const PassSeconds& other);
};
PassSeconds operator*(double count, const PassSeconds& pass);

struct BlockSeconds {
  PassSeconds forward;
  PassSeconds backward_input;  ///< recomputation not in it
  PassSeconds backward_weight;
  PassSeconds recomputed;
};

/// What a cost is asked of, together.
struct CostContext {
  const Workload& workload;
  const ImplementationProfile& profile;
  const DeviceCost& device;
  const NetworkCost& network;
};

/// What a collective of `moved` seconds adds to passes of `compute` seconds that run beside it: what is longer than
/// they are, and the contention for the rest.
double exposed_seconds(const ImplementationProfile& profile, double moved, double compute);

BlockSeconds block_seconds(const CostContext& context);
/// Norm, head and loss: forward, and both gradients.
BlockSeconds head_seconds(const CostContext& context);

/// Parameters of a block, and of a vocabulary's table, that one tensor rank holds.
double block_parameters_of_rank(const Workload& workload);
double table_parameters_of_rank(const Workload& workload);

}  // namespace baekji
