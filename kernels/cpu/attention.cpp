#include "kernels/cpu/attention.h"

#include "kernels/check.h"
#include "kernels/cpu/attention_blocks.h"
#include "kernels/cpu/attention_tasks.h"

namespace baekji {
namespace cpu {

void check_visibility(const AttentionShape& shape, std::int64_t sequences) {
  if (shape.keys < shape.queries) {
    throw Error("attention needs a key for every query")
        .values(fmt::format("at least {} keys", shape.queries), fmt::format("{}", shape.keys))
        .at("attention");
  }
  if (!shape.first_BT.defined()) return;
  const std::int32_t* first = shape.first_BT.as<std::int32_t>();
  for (std::int64_t b = 0; b < sequences; ++b) {
    for (std::int64_t t = 0; t < shape.queries; ++t) {
      const std::int64_t last = t + (shape.keys - shape.queries);
      const std::int64_t at = first[b * shape.first_BT.stride(0) + t];
      if (at >= 0 && at <= last) continue;
      throw Error("a query must see at least its own key")
          .values(fmt::format("first key in 0..{}", last), fmt::format("{}", at))
          .at(fmt::format("attention, sequence {}, query {}", b, t));
    }
  }
}

}  // namespace cpu

namespace {

// Where one (sequence, key head) is not enough to keep the threads busy, its query blocks are shared out too; each
// share packs the keys again.
constexpr std::int64_t kEnoughTasks = 32;

cpu::AttentionShape shape_of(const Tensor& q_BTHD, const Tensor& k_BTKD, const Tensor& first_BT) {
  return {.queries = q_BTHD.dim(1),
          .keys = k_BTKD.dim(1),
          .heads = q_BTHD.dim(2),
          .kv_heads = k_BTKD.dim(2),
          .head_dim = q_BTHD.dim(3),
          .first_BT = first_BT};
}

void require_types(std::initializer_list<const Tensor*> tensors, const Tensor& lse, std::string_view operation) {
  const DType type = (*tensors.begin())->type();
  for (const Tensor* t : tensors) {
    if (t->type() == type && (type == DType::kFloat32 || type == DType::kBfloat16)) continue;
    throw Error("no CPU attention for these element types")
        .values("all fp32, or all bf16", fmt::format("{} and {}", name_of(type), name_of(t->type())))
        .at(operation);
  }
  require_equal(name_of(DType::kFloat32), name_of(lse.type()), "lse must be fp32", operation);
}

template <class Element>
void run_forward(ThreadPool& pool, cpu::TaskScratch& scratch, const AttentionForwardArgs& args) {
  const cpu::AttentionShape shape = shape_of(args.q_BTHD, args.k_BTKD, args.first_BT);
  const std::int64_t pairs = args.q_BTHD.dim(0) * shape.kv_heads;
  const std::int64_t items = shape.group() * shape.query_blocks();
  const std::int64_t shares = std::clamp<std::int64_t>(kEnoughTasks / pairs, 1, items);
  scratch.reserve(cpu::AttentionForwardTask<Element>::scratch_bytes(shape));
  pool.run(pairs * shares, [&](std::int64_t index) {
    const cpu::TaskScratch::Lease lease(scratch);
    const cpu::AmxTask tiles;
    const std::int64_t share = index % shares;
    cpu::AttentionForwardTask<Element> task(args, shape, lease.data());
    task.run({.sequence = index / shares / shape.kv_heads,
              .kv_head = index / shares % shape.kv_heads,
              .begin = items * share / shares,
              .end = items * (share + 1) / shares});
  });
}

template <class Element>
void run_backward(ThreadPool& pool, cpu::TaskScratch& scratch, const AttentionBackwardArgs& args) {
  const cpu::AttentionShape shape = shape_of(args.q_BTHD, args.k_BTKD, args.first_BT);
  scratch.reserve(cpu::AttentionBackwardTask<Element>::scratch_bytes(shape));
  pool.run(args.q_BTHD.dim(0) * shape.kv_heads, [&](std::int64_t index) {
    const cpu::TaskScratch::Lease lease(scratch);
    const cpu::AmxTask tiles;
    cpu::AttentionBackwardTask<Element>(args, shape, lease.data()).run(index / shape.kv_heads, index % shape.kv_heads);
  });
}

}  // namespace

void CpuAttention::forward(const AttentionForwardArgs& args) {
  check_arguments(args);
  require_types({&args.q_BTHD, &args.k_BTKD, &args.v_BTKD, &args.y_BTHD}, args.lse_BHT, "attention_forward");
  if (args.q_BTHD.size() == 0) return;
  cpu::check_visibility(shape_of(args.q_BTHD, args.k_BTKD, args.first_BT), args.q_BTHD.dim(0));
  if (args.q_BTHD.type() == DType::kBfloat16)
    run_forward<Bfloat16>(pool_, scratch_, args);
  else
    run_forward<float>(pool_, scratch_, args);
}

void CpuAttention::backward(const AttentionBackwardArgs& args) {
  check_arguments(args);
  require_types({&args.q_BTHD, &args.k_BTKD, &args.v_BTKD, &args.y_BTHD, &args.dy_BTHD, &args.dq_BTHD, &args.dk_BTKD,
                 &args.dv_BTKD},
                args.lse_BHT, "attention_backward");
  if (args.q_BTHD.size() == 0) return;
  cpu::check_visibility(shape_of(args.q_BTHD, args.k_BTKD, args.first_BT), args.q_BTHD.dim(0));
  if (args.q_BTHD.type() == DType::kBfloat16)
    run_backward<Bfloat16>(pool_, scratch_, args);
  else
    run_backward<float>(pool_, scratch_, args);
}

std::int64_t CpuAttention::scratch_bytes_of(std::int64_t keys, std::int64_t head_dim, int threads) {
  const cpu::AttentionShape shape{.queries = keys, .keys = keys, .heads = 1, .kv_heads = 1, .head_dim = head_dim};
  const std::int64_t block = std::max({cpu::AttentionForwardTask<float>::scratch_bytes(shape),
                                       cpu::AttentionForwardTask<Bfloat16>::scratch_bytes(shape),
                                       cpu::AttentionBackwardTask<float>::scratch_bytes(shape),
                                       cpu::AttentionBackwardTask<Bfloat16>::scratch_bytes(shape)});
  return threads * cpu::aligned_size_bytes(block);
}

}  // namespace baekji
