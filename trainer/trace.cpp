#include "trainer/trace.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <unordered_set>

#include "core/error.h"

namespace baekji {
namespace {

// Calls visit(first element of a row, elements) for every row of the last dim, which is dense in every operand.
template <class Visit>
void for_each_row(const Tensor& t, const Visit& visit) {
  const int last = t.rank() - 1;
  const std::int64_t width = t.dim(last);
  const std::array<std::int64_t, 3> outer{last > 0 ? t.dim(0) : 1, last > 1 ? t.dim(1) : 1, last > 2 ? t.dim(2) : 1};
  const auto* const data = static_cast<const std::byte*>(t.data());
  for (std::int64_t i = 0; i < outer[0]; ++i) {
    for (std::int64_t j = 0; j < outer[1]; ++j) {
      for (std::int64_t k = 0; k < outer[2]; ++k) {
        const std::int64_t at =
            (last > 0 ? i * t.stride(0) : 0) + (last > 1 ? j * t.stride(1) : 0) + (last > 2 ? k * t.stride(2) : 0);
        visit(data + at * size_of(t.type()), width);
      }
    }
  }
}

// The tensor where the host can read it: itself, or a copy with its gaps.
Tensor on_host(const Tensor& t, std::vector<std::byte>& copy) {
  if (t.device().is_host() || t.size() == 0) return t;
  std::int64_t extent = 1;
  for (int d = 0; d < t.rank(); ++d) extent += (t.dim(d) - 1) * t.stride(d);
  copy.resize(static_cast<std::size_t>(extent * size_of(t.type())));
  copy_memory({.data = copy.data()}, {.data = t.data(), .device = t.device()}, std::ssize(copy));
  return t.relocated(copy.data(), {});
}

std::uint64_t hash_of(const std::byte* row, std::int64_t bytes) {
  const auto* const text = static_cast<const char*>(static_cast<const void*>(row));
  return std::hash<std::string_view>{}({text, static_cast<std::size_t>(bytes)});
}

template <class T>
std::vector<double> values_as(const std::byte* row, std::int64_t count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  std::memcpy(values.data(), row, values.size() * sizeof(T));
  std::vector<double> wide;
  for (const T& value : values) wide.push_back(static_cast<double>(static_cast<float>(value)));
  return wide;
}

// Operands are of compute, residual or accumulator type: bf16 or fp32.
std::vector<double> values_of(const std::byte* row, std::int64_t count, DType type) {
  return type == DType::kBfloat16 ? values_as<Bfloat16>(row, count) : values_as<float>(row, count);
}

}  // namespace

void Trace::add(const std::string& name, std::uint64_t row) {
  const auto [at, is_new] = index_.try_emplace(name, operations_.size());
  if (is_new) operations_.push_back({.name = name, .rows = {}});
  operations_[at->second].rows.push_back(row);
}

const OperationTrace* Trace::find(const std::string& name) const {
  const auto at = index_.find(name);
  return at == index_.end() ? nullptr : &operations_[at->second];
}

std::string Trace::to_text() const {
  std::string text;
  for (const OperationTrace& operation : operations_)
    text += fmt::format("{}\t{:x}\n", operation.name, fmt::join(operation.rows, " "));
  return text;
}

void Trace::merge(std::string_view text) {
  while (!text.empty()) {
    const std::size_t tab = text.find('\t'), end = text.find('\n');
    const std::string name(text.substr(0, tab));
    std::string_view rows = text.substr(tab + 1, end - tab - 1);
    while (!rows.empty()) {
      std::uint64_t row = 0;
      const auto parsed = std::from_chars(rows.data(), rows.data() + rows.size(), row, 16);
      add(name, row);
      rows.remove_prefix(std::min(rows.size(), static_cast<std::size_t>(parsed.ptr - rows.data()) + 1));
    }
    text.remove_prefix(end + 1);
  }
}

std::optional<TraceDifference> first_difference(const Trace& whole, const Trace& parts) {
  for (const OperationTrace& operation : whole.operations()) {
    const OperationTrace* const other = parts.find(operation.name);
    const std::vector<std::uint64_t> none;
    const std::vector<std::uint64_t>& rows = other == nullptr ? none : other->rows;
    const std::unordered_set<std::uint64_t> here(operation.rows.begin(), operation.rows.end());
    const std::unordered_set<std::uint64_t> there(rows.begin(), rows.end());
    TraceDifference difference{.name = operation.name, .missing = {}, .extra = {}};
    for (const std::uint64_t row : operation.rows) {
      if (!there.contains(row)) difference.missing.push_back(row);
    }
    if (difference.missing.empty()) continue;
    for (const std::uint64_t row : rows) {
      if (!here.contains(row)) difference.extra.push_back(row);
    }
    return difference;
  }
  return std::nullopt;
}

TracingKernels::TracingKernels(std::unique_ptr<Kernels> inner) : ForwardingKernels(*inner), owned_(std::move(inner)) {}

void TracingKernels::know(const ParameterStore& parameters) {
  for (const ParameterSlice& slice : parameters.slices()) {
    const auto add = [&](const Tensor& tensor) {
      if (!tensor.defined()) return;
      const auto* const begin = static_cast<const std::byte*>(tensor.data());
      places_[begin] = {begin + tensor.size_bytes(), slice.spec->logical.name};
    };
    add(slice.weight);
    for (const Tensor& sum : slice.contributions) add(sum);
  }
}

void TracingKernels::start() {
  tracing_ = true;
  trace_ = {};
  last_ = "beginning";
  kept_.clear();
}

Trace TracingKernels::stop() {
  tracing_ = false;
  return std::move(trace_);
}

void TracingKernels::keep(std::string name, std::vector<std::uint64_t> rows) {
  keep_name_ = std::move(name);
  keep_rows_ = std::move(rows);
}

std::string TracingKernels::name_of(const Tensor& parameter) const {
  const auto* const data = static_cast<const std::byte*>(parameter.data());
  const auto after = places_.upper_bound(data);
  if (after == places_.begin()) return {};
  const auto& [end, name] = std::prev(after)->second;
  return data < end ? name : std::string();
}

void TracingKernels::note(const std::string& name, const Tensor& output) {
  const std::int64_t width = size_of(output.type());
  std::vector<std::byte> copy;
  for_each_row(on_host(output, copy), [&](const std::byte* row, std::int64_t count) {
    const std::uint64_t hash = hash_of(row, count * width);
    trace_.add(name, hash);
    if (name == keep_name_ && std::find(keep_rows_.begin(), keep_rows_.end(), hash) != keep_rows_.end())
      kept_.try_emplace(hash, values_of(row, count, output.type()));
  });
}

void TracingKernels::note_at(const Tensor& parameter, const char* operation, const Tensor& output) {
  if (!tracing_) return;
  const std::string place = name_of(parameter);
  if (place.empty()) {
    note_after(operation, output);
    return;
  }
  last_ = place;
  note(fmt::format("{}: {}", place, operation), output);
}

void TracingKernels::note_after(const char* operation, const Tensor& output) {
  if (tracing_) note(fmt::format("{}, then {}", last_, operation), output);
}

void TracingKernels::matmul(const MatmulArgs& args) {
  inner().matmul(args);
  if (!tracing_) return;
  const std::string sum = name_of(args.c);
  if (!sum.empty())  // runs in another order where weight gradients wait: it does not mark a place
    note(sum + ": matmul, weight gradient", args.c);
  else if (is_float8(args.b.type()))
    note(fmt::format("{}: {}", last_, product_), args.c);
  else
    note_at(args.b, args.transpose_b ? "matmul, forward" : "matmul, input gradient", args.c);
}

// The 8-bit copy of a weight comes just before its product, whose operands say nothing. Copies themselves are not
// noted: those for weight gradients come in another order where these wait.
void TracingKernels::quantise(const QuantiseArgs& args) {
  inner().quantise(args);
  if (!tracing_) return;
  const std::string place = name_of(args.in_NC);
  if (place.empty()) return;
  last_ = place;
  product_ = args.transposed_CN.defined() ? "matmul, input gradient" : "matmul, forward";
}

void TracingKernels::rms_norm_forward(const RmsNormForwardArgs& args) {
  inner().rms_norm_forward(args);
  note_at(args.gain_C, "norm, forward", args.y_NC);
}

void TracingKernels::rms_norm_backward(const RmsNormBackwardArgs& args) {
  inner().rms_norm_backward(args);
  note_at(args.gain_C, "norm, backward", args.dx_NC);
}

void TracingKernels::rope_forward(const RopeForwardArgs& args) {
  inner().rope_forward(args);
  if (args.gain_D.defined())
    note_at(args.gain_D, "rope, forward", args.y_NHD);
  else
    note_after("rope, forward", args.y_NHD);
}

void TracingKernels::rope_backward(const RopeBackwardArgs& args) {
  inner().rope_backward(args);
  if (args.gain_D.defined())
    note_at(args.gain_D, "rope, backward", args.dx_NHD);
  else
    note_after("rope, backward", args.dx_NHD);
}

void TracingKernels::attention_forward(const AttentionForwardArgs& args) {
  inner().attention_forward(args);
  note_after("attention, forward", args.y_BTHD);
}

void TracingKernels::attention_backward(const AttentionBackwardArgs& args) {
  inner().attention_backward(args);
  note_after("attention, gradient of q", args.dq_BTHD);
  note_after("attention, gradient of k", args.dk_BTKD);
  note_after("attention, gradient of v", args.dv_BTKD);
}

void TracingKernels::swiglu_forward(const SwigluForwardArgs& args) {
  inner().swiglu_forward(args);
  note_after("swiglu, forward", args.y_NF);
}

void TracingKernels::swiglu_backward(const SwigluBackwardArgs& args) {
  inner().swiglu_backward(args);
  note_after("swiglu, gradient of gate", args.dgate_NF);
  note_after("swiglu, gradient of up", args.dup_NF);
}

void TracingKernels::embedding_forward(const EmbeddingForwardArgs& args) {
  inner().embedding_forward(args);
  note_at(args.table_VC, "look-up", args.y_NC);
}

void TracingKernels::logits_exp_sum(const LogitsExpSumArgs& args) {
  inner().logits_exp_sum(args);
  note_after("sum of exponentials", args.sum_N);
}

void TracingKernels::logits_gradient(const LogitsGradientArgs& args) {
  inner().logits_gradient(args);
  note_after("gradient of logits", args.dlogits_NV);
}

void TracingKernels::token_loss(const TokenLossArgs& args) {
  inner().token_loss(args);
  note_after("loss of tokens", args.loss_N);
}

void TracingKernels::tree_add(const TreeAddArgs& args) {
  inner().tree_add(args);
  note_after("sum over slices", args.out_NC);
}

}  // namespace baekji
