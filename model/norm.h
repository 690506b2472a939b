#pragma once
// RMSNorm over the residual stream, computed where the tokens live (sequence parallelism).

#include "model/layer_context.h"

namespace baekji {

class Norm {
 public:
  Norm(const LayerContext& context, GroupId gain) : c_(context), gain_(gain) {}

  /// y (own tokens) = norm(x); rstd: one value per own token.
  void forward(const Tensor& x_NC, const Tensor& y_NC, const Tensor& rstd_N) const;

  struct BackwardArgs {
    Tensor x_NC;
    Tensor rstd_N;
    Tensor dy_NC;
    Tensor dx_NC;
    bool accumulate = false;  ///< dx is *accumulated*
  };
  /// All tensors hold the own tokens. The gain's gradient has one sum per token grain.
  void backward(const BackwardArgs& args) const;

 private:
  const LayerContext& c_;
  GroupId gain_;
};

}  // namespace baekji
