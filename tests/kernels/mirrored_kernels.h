#pragma once
// MirroredKernels: the kernels of a device, for tests whose tensors are the host's.

#include <deque>
#include <utility>
#include <vector>

#include "core/device.h"
#include "kernels/kernels.h"
#include "tests/kernels/test_tensors.h"

namespace baekji {

/// Runs each operation on the device's copies of the memory blocks that its tensors lie in: whole blocks go there
/// before and come back after, at the same offsets, so that strides, gaps between rows and tensors that share memory
/// stay what they are, and what an operation writes beside its tensors is seen.
class MirroredKernels final : public Kernels {
 public:
  /// Tensors are those of `memory`; both outlive this.
  MirroredKernels(Kernels& inner, const TestTensors& memory) : inner_(inner), memory_(memory) {}
  ~MirroredKernels() override {
    for (const Mirror& mirror : mirrors_) free_memory(inner_.device(), mirror.there, bytes(mirror));
  }
  MirroredKernels(const MirroredKernels&) = delete;
  MirroredKernels& operator=(const MirroredKernels&) = delete;

  std::string describe() const override { return inner_.describe(); }
  std::int64_t packed_weight_bytes(const Tensor& weight) const override { return inner_.packed_weight_bytes(weight); }
  std::int64_t scratch_bytes(const WorkShape& shape) const override { return inner_.scratch_bytes(shape); }
  void weights_changed() override { inner_.weights_changed(); }

  void matmul(const MatmulArgs& args) override {
    MatmulArgs a = args;
    translate({&a.a, &a.b, &a.c, &a.scale_a, &a.scale_b});
    finish([&] { inner_.matmul(a); });
  }
  void absolute_max(const AbsoluteMaxArgs& args) override {
    AbsoluteMaxArgs a = args;
    translate({&a.in, &a.max});
    finish([&] { inner_.absolute_max(a); });
  }
  void quantise(const QuantiseArgs& args) override {
    QuantiseArgs a = args;
    translate({&a.in_NC, &a.max, &a.out_NC, &a.transposed_CN, &a.scale});
    finish([&] { inner_.quantise(a); });
  }
  void rms_norm_forward(const RmsNormForwardArgs& args) override {
    RmsNormForwardArgs a = args;
    translate({&a.x_NC, &a.gain_C, &a.y_NC, &a.rstd_N});
    finish([&] { inner_.rms_norm_forward(a); });
  }
  void rms_norm_backward(const RmsNormBackwardArgs& args) override {
    RmsNormBackwardArgs a = args;
    translate({&a.x_NC, &a.gain_C, &a.rstd_N, &a.dy_NC, &a.dx_NC, &a.dgain_C});
    finish([&] { inner_.rms_norm_backward(a); });
  }
  void rope_forward(const RopeForwardArgs& args) override {
    RopeForwardArgs a = args;
    translate({&a.x_NHD, &a.y_NHD, &a.position_N, &a.cos_PE, &a.sin_PE, &a.gain_D, &a.rstd_NH});
    finish([&] { inner_.rope_forward(a); });
  }
  void rope_backward(const RopeBackwardArgs& args) override {
    RopeBackwardArgs a = args;
    translate({&a.dy_NHD, &a.dx_NHD, &a.position_N, &a.cos_PE, &a.sin_PE, &a.x_NHD, &a.gain_D, &a.rstd_NH, &a.dgain_D});
    finish([&] { inner_.rope_backward(a); });
  }
  void attention_forward(const AttentionForwardArgs& args) override {
    AttentionForwardArgs a = args;
    translate({&a.q_BTHD, &a.k_BTKD, &a.v_BTKD, &a.y_BTHD, &a.lse_BHT, &a.first_BT});
    finish([&] { inner_.attention_forward(a); });
  }
  void attention_backward(const AttentionBackwardArgs& args) override {
    AttentionBackwardArgs a = args;
    translate({&a.q_BTHD, &a.k_BTKD, &a.v_BTKD, &a.y_BTHD, &a.lse_BHT, &a.first_BT, &a.dy_BTHD, &a.dq_BTHD, &a.dk_BTKD,
               &a.dv_BTKD});
    finish([&] { inner_.attention_backward(a); });
  }
  void swiglu_forward(const SwigluForwardArgs& args) override {
    SwigluForwardArgs a = args;
    translate({&a.gate_NF, &a.up_NF, &a.y_NF});
    finish([&] { inner_.swiglu_forward(a); });
  }
  void swiglu_backward(const SwigluBackwardArgs& args) override {
    SwigluBackwardArgs a = args;
    translate({&a.gate_NF, &a.up_NF, &a.dy_NF, &a.dgate_NF, &a.dup_NF});
    finish([&] { inner_.swiglu_backward(a); });
  }
  void embedding_forward(const EmbeddingForwardArgs& args) override {
    EmbeddingForwardArgs a = args;
    translate({&a.token_N, &a.table_VC, &a.y_NC});
    finish([&] { inner_.embedding_forward(a); });
  }
  void embedding_backward(const EmbeddingBackwardArgs& args) override {
    EmbeddingBackwardArgs a = args;
    translate({&a.token_N, &a.dy_NC, &a.dtable_VC});
    finish([&] { inner_.embedding_backward(a); });
  }
  void logits_max(const LogitsMaxArgs& args) override {
    LogitsMaxArgs a = args;
    translate({&a.logits_NV, &a.max_N});
    finish([&] { inner_.logits_max(a); });
  }
  void logits_exp_sum(const LogitsExpSumArgs& args) override {
    LogitsExpSumArgs a = args;
    translate({&a.logits_NV, &a.max_N, &a.sum_N, &a.target_N, &a.target_logit_N});
    finish([&] { inner_.logits_exp_sum(a); });
  }
  void logits_gradient(const LogitsGradientArgs& args) override {
    LogitsGradientArgs a = args;
    translate({&a.exp_NV, &a.sum_N, &a.target_N, &a.dlogits_NV});
    finish([&] { inner_.logits_gradient(a); });
  }
  void token_loss(const TokenLossArgs& args) override {
    TokenLossArgs a = args;
    translate({&a.sum_N, &a.target_logit_N, &a.loss_N});
    finish([&] { inner_.token_loss(a); });
  }
  void tree_add(const TreeAddArgs& args) override {
    TreeAddArgs a = args;
    a.leaves_NC = translated(args.leaves_NC);
    translate({&a.out_NC, &a.residual_NC});
    finish([&] { inner_.tree_add(a); });
  }
  void cast(const CastArgs& args) override {
    CastArgs a = args;
    translate({&a.in, &a.out});
    finish([&] { inner_.cast(a); });
  }
  void fill_zero(const Tensor& tensor) override {
    Tensor there = tensor;
    translate({&there});
    finish([&] { inner_.fill_zero(there); });
  }
  void copy(const CopyArgs& args) override {
    CopyArgs a = args;
    translate({&a.from, &a.to});
    finish([&] { inner_.copy(a); });
  }
  void upload(const UploadArgs& args) override {
    UploadArgs a = args;
    translate({&a.to});
    finish([&] { inner_.upload(a); });
  }
  void download(const DownloadArgs& args) override {
    DownloadArgs a = args;
    translate({&a.from});
    inner_.download(a);  // nothing of the device comes back but what it gives
    used_.clear();
  }
  void sequence_loss(const SequenceLossArgs& args) override {
    SequenceLossArgs a = args;
    translate({&a.loss_BT, &a.sum_B});
    finish([&] { inner_.sequence_loss(a); });
  }
  void fixed_point_accumulate(const FixedPointArgs& args) override {
    FixedPointArgs a = args;
    translate({&a.gradient, &a.partial, &a.unusable});
    finish([&] { inner_.fixed_point_accumulate(a); });
  }
  void square_sums(std::span<const SquareSumArgs> args, std::span<SquareSum> results) override {
    std::vector<SquareSumArgs> all(args.begin(), args.end());
    for (SquareSumArgs& a : all) translate_source(a.gradient);
    finish([&] { inner_.square_sums(all, results); });
  }
  void adamw(std::span<const AdamwArgs> args, std::span<double> square_moves) override {
    std::vector<AdamwArgs> all(args.begin(), args.end());
    for (AdamwArgs& a : all) {
      translate_source(a.gradient);
      translate({&a.master, &a.moment1, &a.moment2, &a.weight});
    }
    finish([&] { inner_.adamw(all, square_moves); });
  }

 private:
  struct Mirror {
    std::span<std::byte> here;
    void* there = nullptr;
  };
  static std::int64_t bytes(const Mirror& mirror) { return static_cast<std::int64_t>(mirror.here.size()); }

  /// Each tensor becomes the same view of the device's copy of its block, which is up to date then.
  void translate(std::initializer_list<Tensor*> tensors) {
    for (Tensor* tensor : tensors) {
      if (!tensor->defined()) continue;
      const Mirror& mirror = mirror_of(static_cast<std::byte*>(tensor->data()));
      const std::ptrdiff_t offset = static_cast<std::byte*>(tensor->data()) - mirror.here.data();
      *tensor = tensor->relocated(static_cast<std::byte*>(mirror.there) + offset, inner_.device());
    }
  }
  std::span<const Tensor> translated(std::span<const Tensor> tensors) {
    std::vector<Tensor>& list = lists_.emplace_back(tensors.begin(), tensors.end());
    for (Tensor& tensor : list) translate({&tensor});
    return list;
  }
  void translate_source(GradientSource& source) {
    translate({&source.partial});
    source.contributions = translated(source.contributions);
  }

  const Mirror& mirror_of(const std::byte* data) {
    const auto holds = [&](std::span<std::byte> block) {
      return data >= block.data() && data < block.data() + block.size();
    };
    for (const Mirror* mirror : used_) {
      if (holds(mirror->here)) return *mirror;
    }
    const Mirror* found = nullptr;
    for (const Mirror& mirror : mirrors_) {
      if (holds(mirror.here)) found = &mirror;
    }
    if (found == nullptr) {
      for (const std::span<std::byte> block : memory_.blocks()) {
        if (holds(block)) found = &mirrors_.emplace_back(Mirror{.here = block, .there = allocate(block.size())});
      }
    }
    if (found == nullptr) throw Error("a tensor of a device test must come from its TestTensors");
    copy_memory({.data = found->there, .device = inner_.device()}, {.data = found->here.data()}, bytes(*found));
    used_.push_back(found);
    return *found;
  }
  void* allocate(std::size_t size_bytes) const {
    void* const memory = allocate_memory(inner_.device(), static_cast<std::int64_t>(size_bytes));
    if (memory == nullptr) throw Error("out of memory").at(inner_.device().describe());
    return memory;
  }

  /// Runs the operation and brings the blocks back, after a failure too: a refused operation has written nothing.
  template <class Operation>
  void finish(const Operation& operation) {
    const std::vector<const Mirror*> used = std::exchange(used_, {});
    const std::deque<std::vector<Tensor>> lists = std::exchange(lists_, {});
    const auto bring_back = [&] {
      for (const Mirror* mirror : used)
        copy_memory({.data = mirror->here.data()}, {.data = mirror->there, .device = inner_.device()}, bytes(*mirror));
    };
    try {
      operation();
    } catch (const Error&) {
      bring_back();
      throw;
    }
    bring_back();
  }

  Kernels& inner_;
  const TestTensors& memory_;
  std::deque<Mirror> mirrors_;
  std::vector<const Mirror*> used_;        // in the operation that is being prepared
  std::deque<std::vector<Tensor>> lists_;  // what its spans look at
};

}  // namespace baekji
