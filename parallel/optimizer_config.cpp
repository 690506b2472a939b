#include "parallel/optimizer_config.h"

#include <algorithm>

#include "core/error.h"
#include "core/functions.h"

namespace baekji {

void validate(const OptimizerConfig& c, const std::string& place) {
  const auto require = [&](bool ok, const char* rule, const std::string& came) {
    if (!ok) throw Error("the optimizer cannot run like this").values(rule, came).at(place);
  };
  require(c.lr > 0, "lr > 0", fmt::format("lr = {}", c.lr));
  require(c.betas.size() == 2, "betas = [beta1, beta2]", fmt::format("{} values", c.betas.size()));
  for (const double beta : c.betas) require(beta >= 0 && beta < 1, "0 <= beta < 1", fmt::format("{}", beta));
  require(c.eps > 0, "eps > 0", fmt::format("eps = {}", c.eps));
  require(c.weight_decay >= 0, "weight_decay >= 0", fmt::format("weight_decay = {}", c.weight_decay));
  require(c.clip >= 0, "clip >= 0", fmt::format("clip = {}", c.clip));
  require(c.warmup >= 0, "warmup >= 0", fmt::format("warmup = {}", c.warmup));
  require(c.decay >= 1, "decay >= 1", fmt::format("decay = {}", c.decay));
  require(c.stable >= 0, "stable >= 0", fmt::format("stable = {}", c.stable));
  require(c.stable == 0 || c.schedule == "wsd", "stable only with schedule = \"wsd\"",
          fmt::format("stable = {}", c.stable));
  require(c.min_lr_ratio >= 0 && c.min_lr_ratio <= 1, "0 <= min_lr_ratio <= 1",
          fmt::format("min_lr_ratio = {}", c.min_lr_ratio));
}

double learning_rate(const OptimizerConfig& c, std::int64_t step) {
  if (step <= c.warmup) return c.lr * static_cast<double>(step) / static_cast<double>(c.warmup);
  const std::int64_t into_decay = std::max<std::int64_t>(step - c.warmup - c.stable, 0);
  const double progress = std::min(1.0, static_cast<double>(into_decay) / static_cast<double>(c.decay));
  constexpr double kPi = 3.14159265358979323846;
  const double share = c.schedule == "cosine" ? 0.5 * (1.0 + sin_cos_f64(kPi * progress).cos) : 1.0 - progress;
  return c.lr * (c.min_lr_ratio + (1.0 - c.min_lr_ratio) * share);
}

}  // namespace baekji
