#pragma once
// A small whole model on the reference kernels in any scalar type: the gradient oracle of the model tests.

#include <memory>
#include <string>
#include <vector>

#include "core/random.h"
#include "model/transformer_stage.h"

namespace baekji::oracle {

struct Setup {
  ModelConfig model;
  std::int64_t grains = 1;
  BatchShape shape{.sequences = 2, .context = 6};
  std::int64_t loss_chunk = 5;  // does not divide the tokens: the last chunk is short
  Recompute recompute = Recompute::kNone;
  bool split_backward = false;  ///< input and weight gradients in two passes
  bool bf16 = false;            ///< T = float only: weights and activations in bf16
  bool float8 = false;          ///< with bf16: linear layers in 8 bits
};

/// Where a model runs when not on one rank with reference kernels.
struct Place {
  Kernels* kernels = nullptr;
  Communicator* tensor_group = nullptr;
};

inline ModelConfig small_model() {
  ModelConfig m;
  m.layers = 2;
  m.hidden = 16;
  m.heads = 4;
  m.kv_heads = 2;
  m.ffn = 12;
  m.vocab = 19;  // odd: padded for two grains
  m.context = 6;
  m.init_std = 0.3;
  return m;
}

/// The model (a rank's slices of it), its parameters and one micro-batch; T (double, Complex or float) is the type of
/// its accumulators.
template <class T>
class OracleModel {
 public:
  explicit OracleModel(const Setup& setup, const Place& place = {})
      : setup_(setup),
        own_kernels_(place.kernels != nullptr ? nullptr : make_reference_kernels(scalar_kind())),
        kernels_(place.kernels != nullptr ? *place.kernels : *own_kernels_),
        own_group_(make_self_communicator()),
        group_(place.tensor_group != nullptr ? *place.tensor_group : *own_group_),
        grains_(kernels_, group_, GrainMap(setup.grains, group_.size(), group_.rank())),
        declared_(declare_parameters(setup.model, setup.grains)),
        store_({.groups = declared_.groups,
                .types = types(),
                .first_slice = grains_.map().first(),
                .slice_count = grains_.map().count()},
               kernels_, arena_),
        common_({.context = {.kernels = kernels_,
                             .parameters = store_,
                             .grains = grains_,
                             .model = setup_.model,
                             .types = types(),
                             .shape = setup.shape},
                 .rope_theta = 100.0,
                 .loss_chunk = setup.loss_chunk,
                 .whole_backward = !setup.split_backward},
                arena_),
        stage_({.declared = declared_,
                .range = whole_model(setup_.model),
                .recompute = setup.recompute,
                .pending = setup.split_backward ? 1 : 0},
               common_, arena_),
        gradient_NC_(arena_.allocate("workspace", types().residual,
                                     {setup.shape.tokens() / group_.size(), setup.model.hidden})) {
    fill_weights();
    fill_batch();
  }

  static ScalarKind scalar_kind() {
    if constexpr (std::is_same_v<T, float>) return ScalarKind::kFloat;
    return std::is_same_v<T, double> ? ScalarKind::kDouble : ScalarKind::kComplex;
  }
  ElementTypes types() const {
    const DType compute = setup_.bf16 ? DType::kBfloat16 : dtype_of<T>();
    return {.compute = compute, .residual = compute, .accumulator = dtype_of<T>(), .float8_linear = setup_.float8};
  }

  std::span<const ParameterSlice> slices() const { return store_.slices(); }
  T& weight(std::size_t slice, std::int64_t i) { return store_.slices()[slice].weight.template as<T>()[i]; }

  /// The loss of each sequence by a forward and a backward pass, which leaves the gradients in slices().
  std::vector<double> train() {
    std::vector<double> losses(static_cast<std::size_t>(setup_.shape.sequences));
    for (const GradientPhase phase : kGradientPhases) store_.begin_replica(0, phase);
    stage_.forward(batch_, 0);
    const Stage::BackwardArgs args{.batch = batch_, .gradient_NC = gradient_NC_, .loss_B = host_losses(losses)};
    if (setup_.split_backward) {
      stage_.backward_input(args);
      stage_.backward_weight(0, 0);
    } else {
      stage_.backward(args);
    }
    return losses;
  }

  static Tensor host_losses(std::vector<double>& losses) {
    return {losses.data(), DType::kFloat64, {std::ssize(losses)}};
  }

  /// Sum of the token losses.
  T loss() {
    std::vector<double> ignored(static_cast<std::size_t>(setup_.shape.sequences));
    stage_.evaluate(batch_, host_losses(ignored));
    T sum{};
    for (std::int64_t n = 0; n < setup_.shape.tokens(); ++n) sum += stage_.head().token_loss().template as<T>()[n];
    return sum;
  }

  /// Gradients of loss() by slice, in the order of slices().
  std::vector<std::vector<T>> gradients() {
    train();
    std::vector<std::vector<T>> result;
    for (const ParameterSlice& slice : slices()) {
      std::vector<T> sum(static_cast<std::size_t>(slice.weight.size()));
      for (const Tensor& contribution : slice.contributions) {
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += contribution.as<T>()[i];
      }
      result.push_back(std::move(sum));
    }
    return result;
  }

 private:
  void fill_weights() {
    for (const ParameterSlice& slice : slices()) {
      const LogicalTensor& t = slice.spec->logical;
      const RandomStream stream("test", 7, t.name);
      for (std::int64_t i = 0; i < slice.weight.size(); ++i) {
        const std::int64_t logical = t.logical_index(slice.slice, i);
        const double noise = logical < 0 ? 0.0 : stream.normal(static_cast<std::uint64_t>(logical));
        const bool gain = slice.spec->initialisation.kind == Initialisation::Kind::kConstant;
        const double value = gain ? 1.0 + 0.2 * noise : slice.spec->initialisation.value * noise;
        if (setup_.bf16)
          slice.weight.as<Bfloat16>()[i] = Bfloat16(static_cast<float>(value));
        else
          slice.weight.as<T>()[i] = T(value);
      }
    }
  }

  void fill_batch() {
    const std::int64_t b = setup_.shape.sequences;
    const std::int64_t t = setup_.shape.context;
    const auto ids = [&] { return arena_.allocate("batches", DType::kInt32, {b, t}); };
    batch_ = {.token_BT = ids(), .target_BT = ids(), .position_BT = ids(), .first_BT = ids()};
    const RandomStream stream("test", 3, "tokens");
    const std::int64_t break_at = 2;  // with a document mask, a new document starts here
    for (std::int64_t n = 0; n < b * t; ++n) {
      const std::int64_t position = n % t;
      const bool second = setup_.model.document_mask && position >= break_at;
      const auto vocab = static_cast<std::uint64_t>(setup_.model.vocab);
      batch_.token_BT.as<std::int32_t>()[n] =
          static_cast<std::int32_t>(stream.below(static_cast<std::uint64_t>(2 * n), vocab));
      batch_.target_BT.as<std::int32_t>()[n] =
          static_cast<std::int32_t>(stream.below(static_cast<std::uint64_t>(2 * n + 1), vocab));
      batch_.position_BT.as<std::int32_t>()[n] = static_cast<std::int32_t>(second ? position - break_at : position);
      batch_.first_BT.as<std::int32_t>()[n] = static_cast<std::int32_t>(second ? break_at : 0);
    }
  }

  Setup setup_;
  std::unique_ptr<Kernels> own_kernels_;
  Kernels& kernels_;
  std::unique_ptr<Communicator> own_group_;
  Communicator& group_;
  GrainTree grains_;
  ModelParameters declared_;
  Arena arena_{Arena::Mode::kAllocate};
  ParameterStore store_;
  StageCommon common_;
  TransformerStage stage_;
  Tensor gradient_NC_;
  MicroBatch batch_;
};

}  // namespace baekji::oracle
