#include "model/norm.h"

namespace baekji {

void Norm::forward(const Tensor& x_NC, const Tensor& y_NC, const Tensor& rstd_N) const {
  c_.kernels.rms_norm_forward({.x_NC = x_NC,
                               .gain_C = c_.parameters.weight(gain_, 0),
                               .y_NC = y_NC,
                               .rstd_N = rstd_N,
                               .eps = c_.model.norm_eps});
}

void Norm::backward(const BackwardArgs& args) const {
  const GrainMap& map = c_.grains.map();
  const std::int64_t rows = map.grain_tokens(c_.tokens());
  for (std::int64_t grain = 0; grain < map.count(); ++grain) {
    const std::int64_t begin = grain * rows;
    c_.kernels.rms_norm_backward({.x_NC = args.x_NC.rows(begin, rows),
                                  .gain_C = c_.parameters.weight(gain_, 0),
                                  .rstd_N = args.rstd_N.rows(begin, rows),
                                  .dy_NC = args.dy_NC.rows(begin, rows),
                                  .dx_NC = args.dx_NC.rows(begin, rows),
                                  .dgain_C = c_.parameters.gradient(gain_, 0, map.first() + grain),
                                  .accumulate = args.accumulate});
  }
}

}  // namespace baekji
