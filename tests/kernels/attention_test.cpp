// Attention against the reference (DeviceAttention: on any device), and what the CPU promises about its bits.

#include "kernels/cpu/attention.h"

#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/cpu/attention_blocks.h"
#include "kernels/reference/attention.h"
#include "tests/kernels/device_under_test.h"

namespace baekji {
namespace {

using DeviceAttention = DeviceCase;

struct Problem {
  std::int64_t sequences = 1, queries = 1, keys = 1, heads = 1, kv_heads = 1, head_dim = 8;
  bool documents = false;
  DType type = DType::kFloat32;
  double spread = 1;

  std::string describe() const {
    return fmt::format("B{} Tq{} Tk{} H{} K{} D{}{} {}", sequences, queries, keys, heads, kv_heads, head_dim,
                       documents ? " documents" : "", name_of(type));
  }
};

struct Tensors {
  Tensor q, k, v, y, lse, first, dy, dq, dk, dv;
  double scale = 1;

  AttentionForwardArgs forward() const {
    return {.q_BTHD = q, .k_BTKD = k, .v_BTKD = v, .y_BTHD = y, .lse_BHT = lse, .first_BT = first, .scale = scale};
  }
  AttentionBackwardArgs backward() const {
    return {.q_BTHD = q,
            .k_BTKD = k,
            .v_BTKD = v,
            .y_BTHD = y,
            .lse_BHT = lse,
            .first_BT = first,
            .dy_BTHD = dy,
            .dq_BTHD = dq,
            .dk_BTKD = dk,
            .dv_BTKD = dv,
            .scale = scale};
  }
};

/// Documents of uneven lengths; each query sees its own from its start.
std::vector<std::int32_t> document_starts(const Problem& p) {
  std::vector<std::int32_t> first;
  for (std::int64_t b = 0; b < p.sequences; ++b) {
    std::int64_t start = 0;
    for (std::int64_t t = 0; t < p.queries; ++t) {
      const std::int64_t position = t + p.keys - p.queries;
      if (position % (37 + 61 * b) == 5) start = position;
      first.push_back(static_cast<std::int32_t>(start));
    }
  }
  return first;
}

/// q, k and v as column ranges of one fused buffer when there is a query for every key.
Tensors build(TestTensors& memory, const Problem& p) {
  Tensors t;
  const std::int64_t width = p.head_dim;
  t.scale = 1 / std::sqrt(static_cast<double>(width));
  if (p.queries == p.keys) {
    const std::int64_t q = p.heads * width;
    const std::int64_t k = p.kv_heads * width;
    const auto fused = [&](Tensor& a, Tensor& b, Tensor& c, const char* name) {
      const Tensor all = memory.filled(memory.matrix(p.type, p.sequences * p.keys, q + 2 * k), name, p.spread);
      a = all.columns(0, q).split_last(p.heads).split_first(p.sequences);
      b = all.columns(q, k).split_last(p.kv_heads).split_first(p.sequences);
      c = all.columns(q + k, k).split_last(p.kv_heads).split_first(p.sequences);
    };
    fused(t.q, t.k, t.v, "qkv");
    fused(t.dq, t.dk, t.dv, "dqkv");
  } else {
    const auto make = [&](std::int64_t rows, std::int64_t heads, const char* name) {
      return memory.filled(memory.sequences(p.type, p.sequences, rows, heads, width, 3), name, p.spread);
    };
    t.q = make(p.queries, p.heads, "q");
    t.k = make(p.keys, p.kv_heads, "k");
    t.v = make(p.keys, p.kv_heads, "v");
    t.dq = make(p.queries, p.heads, "dq");
    t.dk = make(p.keys, p.kv_heads, "dk");
    t.dv = make(p.keys, p.kv_heads, "dv");
  }
  t.y = memory.sequences(p.type, p.sequences, p.queries, p.heads, width, 2);
  t.dy = memory.filled(memory.sequences(p.type, p.sequences, p.queries, p.heads, width), "dy", 1);
  t.lse = memory.vector(DType::kFloat32, p.sequences * p.heads * p.queries).view({p.sequences, p.heads, p.queries});
  if (p.documents) t.first = memory.integers(document_starts(p)).view({p.sequences, p.queries});
  return t;
}

std::vector<Problem> problems() {
  std::vector<Problem> list;
  for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
    for (const bool documents : {false, true}) {
      list.push_back({.heads = 2, .kv_heads = 1, .documents = documents, .type = type});
      list.push_back({.sequences = 2,
                      .queries = 40,
                      .keys = 40,
                      .heads = 4,
                      .kv_heads = 2,
                      .head_dim = 20,
                      .documents = documents,
                      .type = type});
      list.push_back({.sequences = 2,
                      .queries = 131,
                      .keys = 131,
                      .heads = 2,
                      .kv_heads = 2,
                      .head_dim = 33,
                      .documents = documents,
                      .type = type});
      list.push_back({.queries = 300,
                      .keys = 300,
                      .heads = 3,
                      .kv_heads = 1,
                      .head_dim = 64,
                      .documents = documents,
                      .type = type});
      list.push_back({.queries = 260,
                      .keys = 260,
                      .heads = 1,
                      .kv_heads = 1,
                      .head_dim = 128,
                      .documents = documents,
                      .type = type});
      list.push_back({.sequences = 2,
                      .queries = 5,
                      .keys = 290,
                      .heads = 4,
                      .kv_heads = 2,
                      .head_dim = 32,
                      .documents = documents,
                      .type = type});
      list.push_back({.sequences = 1,
                      .queries = 140,
                      .keys = 200,
                      .heads = 2,
                      .kv_heads = 1,
                      .head_dim = 7,
                      .documents = documents,
                      .type = type});
      list.push_back(
          {.queries = 1, .keys = 257, .heads = 2, .kv_heads = 1, .head_dim = 64, .documents = documents, .type = type});
    }
  }
  return list;
}

void expect_equal(const Tensors& got, const Tensors& want, const std::string& what) {
  for (const auto& [a, b, name] : {std::tuple{got.y, want.y, "y"},
                                   {got.lse, want.lse, "lse"},
                                   {got.dq, want.dq, "dq"},
                                   {got.dk, want.dk, "dk"},
                                   {got.dv, want.dv, "dv"}}) {
    expect_same_bits(a, b, fmt::format("{} {}", name, what));
  }
}

TEST_F(DeviceAttention, StaysNearTheReference) {
  KernelsUnderTest device;
  double worst = 0;
  for (const Problem& p : problems()) {
    TestTensors memory;
    const Tensors got = build(memory, p);
    Tensors want = build(memory, p);
    device.on(memory).attention_forward(got.forward());
    reference::attention_forward<float>(want.forward());
    SCOPED_TRACE(p.describe());
    expect_close("attention_forward", got.y, want.y);
    EXPECT_LE(relative_error(got.lse, want.lse), tolerance_of("attention_forward", DType::kFloat32));
    device.on(memory).attention_backward(got.backward());
    reference::attention_backward<float>(want.backward());
    for (const auto& [a, b] : {std::pair{got.dq, want.dq}, {got.dk, want.dk}, {got.dv, want.dv}}) {
      expect_close("attention_backward", a, b);
      if (p.type == DType::kFloat32) worst = std::max(worst, relative_error(a, b));
    }
  }
  fmt::print("{} problems; largest fp32 gradient error {:.1e}\n", problems().size(), worst);
}

/// Our own kernels on a GPU keep the order of sums of the CPU (kernels/cuda/own_attention.h); fp32 is theirs.
TEST_F(DeviceAttention, Fp32HasTheBitsOfTheCpu) {
  ThreadPool pool(2);
  CpuAttention attention(pool);
  KernelsUnderTest device;
  std::vector<Problem> list = problems();
  list.push_back({.queries = 150, .keys = 150, .heads = 2, .kv_heads = 1, .head_dim = 200, .documents = true});
  for (const Problem& p : list) {
    if (p.type != DType::kFloat32) continue;
    TestTensors memory;
    const Tensors want = build(memory, p);
    const Tensors got = build(memory, p);
    attention.forward(want.forward());
    attention.backward(want.backward());
    device.on(memory).attention_forward(got.forward());
    device.on(memory).attention_backward(got.backward());
    expect_equal(got, want, p.describe());
    if (HasFatalFailure()) return;
  }
}

TEST_F(DeviceAttention, SameBitsWhateverElseIsInTheCall) {
  KernelsUnderTest device;
  for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
    const Problem p{
        .queries = 296, .keys = 296, .heads = 2, .kv_heads = 1, .head_dim = 32, .documents = true, .type = type};
    TestTensors memory;
    const Tensors a = build(memory, p);
    const Tensors b = build(memory, p);
    const std::int64_t from = 190;  // 190 = 5 * 37 + 5 begins a document
    for (const Tensor& x : {b.q, b.k, b.v}) {
      for (std::int64_t t = 0; t < from; ++t) {
        for (std::int64_t d = 0; d < x.dim(2) * 32; ++d) set_element(x, t * x.stride(1) + d, 0.5);
      }
    }
    for (const Tensors& t : {a, b}) {
      device.on(memory).attention_forward(t.forward());
      device.on(memory).attention_backward(t.backward());
    }
    for (const auto& [x, y] : {std::pair{a.y, b.y}, {a.dq, b.dq}, {a.dk, b.dk}, {a.dv, b.dv}}) {
      // Rows of one sequence: what is left of them after `from`.
      const auto rest = [&](const Tensor& z) { return z.rows(0, 1).columns(0, z.dim(3)); };
      const std::vector<double> left = values_of(rest(x));
      const std::vector<double> right = values_of(rest(y));
      const std::size_t first = static_cast<std::size_t>(from * x.dim(2) * x.dim(3));
      for (std::size_t i = first; i < left.size(); ++i) ASSERT_EQ(left[i], right[i]) << p.describe() << " " << i;
    }
  }
}

TEST_F(DeviceAttention, NotANumberShowsInTheRowsThatSeeIt) {
  KernelsUnderTest device;
  TestTensors memory;
  const Tensors t = build(memory, {.queries = 150, .keys = 150, .heads = 1, .kv_heads = 1, .head_dim = 16});
  t.k.as<float>()[140 * t.k.stride(1)] = std::nanf("");
  device.on(memory).attention_forward(t.forward());
  for (std::int64_t row = 0; row < 150; ++row) {
    EXPECT_EQ(std::isnan(t.y.as<float>()[row * t.y.stride(1)]), row >= 140) << row;
    EXPECT_EQ(std::isnan(t.lse.as<float>()[row]), row >= 140) << row;
  }
}

TEST_F(DeviceAttention, RefusesWhatDoesNotGoTogether) {
  KernelsUnderTest device;
  TestTensors memory;
  const Problem p{.queries = 40, .keys = 40, .heads = 2, .kv_heads = 1, .head_dim = 16};
  Tensors t = build(memory, p);
  t.y = memory.sequences(DType::kBfloat16, 1, 40, 2, 16);
  EXPECT_THROW(device.on(memory).attention_forward(t.forward()), Error);
  EXPECT_THROW(device.on(memory).attention_backward(t.backward()), Error);
  const Tensors longer = build(memory, {.queries = 50, .keys = 40, .heads = 1, .kv_heads = 1, .head_dim = 16});
  EXPECT_THROW(device.on(memory).attention_forward(longer.forward()), Error);
}

TEST(Attention, SameBitsOnAnyThreads) {
  for (const Problem& p : problems()) {
    TestTensors memory;
    const Tensors want = build(memory, p);
    {
      ThreadPool pool(1);
      CpuAttention attention(pool);
      attention.forward(want.forward());
      attention.backward(want.backward());
    }
    for (const int threads : {2, 3, 8}) {
      ThreadPool pool(threads);
      CpuAttention attention(pool);
      for (int repeat = 0; repeat < 2; ++repeat) {  // what an earlier call left in scratch must not show
        const Tensors got = build(memory, p);
        attention.forward(got.forward());
        attention.backward(got.backward());
        expect_equal(got, want, fmt::format("{}, {} threads", p.describe(), threads));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(Attention, DecodingGivesTheBitsOfTheWholeSequence) {
  ThreadPool pool(2);
  CpuAttention attention(pool);
  for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
    const Problem p{.queries = 270, .keys = 270, .heads = 4, .kv_heads = 2, .head_dim = 64, .type = type};
    TestTensors memory;
    const Tensors whole = build(memory, p);
    attention.forward(whole.forward());
    for (const auto& [begin, count] : {std::pair{0, 1}, {127, 1}, {128, 1}, {269, 1}, {100, 60}}) {
      const std::int64_t keys = begin + count;
      Problem part = p;
      part.queries = count;
      part.keys = keys;
      const Tensors t = build(memory, part);
      const auto copy = [&](const Tensor& from, const Tensor& to, std::int64_t row) {
        const std::int64_t width = to.dim(2) * to.dim(3);
        for (std::int64_t r = 0; r < to.dim(1); ++r) {
          std::memcpy(static_cast<std::byte*>(to.data()) + r * to.stride(1) * size_of(type),
                      static_cast<const std::byte*>(from.data()) + (row + r) * from.stride(1) * size_of(type),
                      static_cast<std::size_t>(width * size_of(type)));
        }
      };
      copy(whole.q, t.q, begin);
      copy(whole.k, t.k, 0);
      copy(whole.v, t.v, 0);
      attention.forward(t.forward());
      for (std::int64_t r = 0; r < count; ++r) {
        for (std::int64_t h = 0; h < 4; ++h) {
          ASSERT_EQ(t.lse.as<float>()[h * count + r], whole.lse.as<float>()[h * 270 + begin + r]);
        }
      }
      const Tensor want = memory.sequences(type, 1, count, 4, 64);
      copy(whole.y, want, begin);
      expect_same_bits(t.y, want, fmt::format("queries {}..{} {}", begin, keys, name_of(type)));
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Attention, OtherDocumentsAndTheFutureDoNotMatter) {
  ThreadPool pool(2);
  CpuAttention attention(pool);
  const Problem p{.queries = 290, .keys = 290, .heads = 2, .kv_heads = 1, .head_dim = 32, .documents = true};
  TestTensors memory;
  const Tensors a = build(memory, p);
  const Tensors b = build(memory, p);
  const std::int64_t from = 190;  // 190 = 5 * 37 + 5 begins a document
  for (std::int64_t t = 0; t < from; ++t) {
    for (const Tensor& x : {b.q, b.k, b.v}) {
      for (std::int64_t d = 0; d < x.dim(2) * 32; ++d) x.as<float>()[t * x.stride(1) + d] *= 3;
    }
  }
  attention.forward(a.forward());
  attention.forward(b.forward());
  attention.backward(a.backward());
  attention.backward(b.backward());
  for (const auto& [x, y] : {std::pair{a.y, b.y}, {a.dq, b.dq}, {a.dk, b.dk}, {a.dv, b.dv}}) {
    for (std::int64_t t = from; t < 290; ++t) {
      for (std::int64_t d = 0; d < x.dim(2) * 32; ++d) {
        ASSERT_EQ(x.as<float>()[t * x.stride(1) + d], y.as<float>()[t * y.stride(1) + d]) << "token " << t;
      }
    }
  }
}

TEST_F(DeviceAttention, LargeScoresStayFinite) {
  KernelsUnderTest device;
  TestTensors memory;
  const Problem p{.queries = 200, .keys = 200, .heads = 1, .kv_heads = 1, .head_dim = 16, .spread = 60};
  const Tensors got = build(memory, p);
  const Tensors want = build(memory, p);
  device.on(memory).attention_forward(got.forward());
  reference::attention_forward<float>(want.forward());
  EXPECT_LE(relative_error(got.y, want.y), 1e-4);
  for (const double value : values_of(got.y)) ASSERT_TRUE(std::isfinite(value));
}

TEST(Attention, VectorExponentialsAreTheContractFunction) {
  std::int64_t checked = 0;
  for (std::uint32_t bits = 0; bits < 0xFFF00000U; bits += 0x1357U) {
    const float x = std::bit_cast<float>(bits);
    const float got = cpu::exp_lanes(cpu::broadcast(x))[1];
    const float want = exp_f32(x);
    ASSERT_TRUE(std::bit_cast<std::uint32_t>(got) == std::bit_cast<std::uint32_t>(want) ||
                (std::isnan(got) && std::isnan(want)))
        << x;
    ++checked;
  }
  fmt::print("{} arguments\n", checked);
}

TEST(Attention, ScratchIsPlanned) {
  ThreadPool pool(2);
  CpuAttention attention(pool);
  TestTensors memory;
  for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
    const Tensors t =
        build(memory, {.queries = 200, .keys = 200, .heads = 2, .kv_heads = 1, .head_dim = 48, .type = type});
    attention.forward(t.forward());
    attention.backward(t.backward());
    const std::int64_t bytes = attention.scratch_bytes();
    EXPECT_LE(bytes, CpuAttention::scratch_bytes_of(200, 48, 2));
    attention.forward(t.forward());
    attention.backward(t.backward());
    EXPECT_EQ(attention.scratch_bytes(), bytes);
  }
}

TEST(Attention, RefusesWhatItCannotDo) {
  ThreadPool pool(2);
  CpuAttention attention(pool);
  TestTensors memory;
  const Problem p{.queries = 40, .keys = 40, .heads = 2, .kv_heads = 1, .head_dim = 16, .documents = true};
  Tensors t = build(memory, p);
  t.first.as<std::int32_t>()[7] = 8;
  try {
    attention.forward(t.forward());
    FAIL() << "a query without keys was accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("query 7"));
  }
  EXPECT_THROW(attention.backward(t.backward()), Error);
  t.first.as<std::int32_t>()[7] = -1;
  EXPECT_THROW(attention.forward(t.forward()), Error);
  t.first = Tensor();
  t.y = memory.sequences(DType::kBfloat16, 1, 40, 2, 16);
  EXPECT_THROW(attention.forward(t.forward()), Error);
  const Tensors longer = build(memory, {.queries = 50, .keys = 40, .heads = 1, .kv_heads = 1, .head_dim = 16});
  EXPECT_THROW(attention.forward(longer.forward()), Error);
}

}  // namespace
}  // namespace baekji
