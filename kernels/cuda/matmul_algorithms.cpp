#include "kernels/cuda/matmul_algorithms.h"

#include <algorithm>
#include <cstring>

#include "core/digest.h"

namespace baekji::cuda {
namespace {

constexpr int kProposals = 32;
constexpr std::string_view kSeparator = " | ";

// What choose_algorithm does, in words; the constants below must say the same. The digest stands for it in the kernel
// set.
constexpr std::string_view kRule =
    "1. Ask for 32 proposals with 33554432 bytes of workspace, no reduction scheme, alignments up to 16 bytes, all "
    "multiprocessors as target, compute type fp32, fast accumulation for e4m3 x e4m3 only. 2. Refuse a split inner "
    "dim, a "
    "reduction scheme, accumulators other than fp32, TF32, fp16 inputs, and tensor cores for fp32. 3. Take the first "
    "that "
    "needs no workspace, or else the first.";

cudaDataType_t library_type(DType type) {
  switch (type) {
    case DType::kBfloat16:
      return CUDA_R_16BF;
    case DType::kFloat8E4M3:
      return CUDA_R_8F_E4M3;
    case DType::kFloat8E5M2:
      return CUDA_R_8F_E5M2;
    default:
      return CUDA_R_32F;  // problem_of() lets no other type through
  }
}

template <class T>
void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, T value, std::string_view where) {
  check_cublas(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value),
               "cublasLtMatmulDescSetAttribute", where);
}

// The layout of a row-major matrix, seen as the column-major one of its transpose.
CublasLayout transposed_layout(const MatmulOperand& m, std::int64_t rows, std::int64_t columns,
                               std::string_view where) {
  cublasLtMatrixLayout_t layout = nullptr;
  check_cublas(cublasLtMatrixLayoutCreate(&layout, library_type(m.type), static_cast<std::uint64_t>(columns),
                                          static_cast<std::uint64_t>(rows), m.row_elements),
               "cublasLtMatrixLayoutCreate", where);
  return CublasLayout(layout);
}

template <class T>
T configuration(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute) {
  T value{};
  std::size_t written = 0;
  check_cublas(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof value, &written),
               "cublasLtMatmulAlgoConfigGetAttribute", "an algorithm of a matrix product");
  return value;
}

// An algorithm that does not tell has none: the compute type that it was asked for is then all that is known.
std::uint64_t numerical_flags(const cublasLtMatmulAlgo_t& algorithm) {
  std::uint64_t flags = 0;
  std::size_t written = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoCapGetAttribute(&algorithm, CUBLASLT_ALGO_CAP_NUMERICAL_IMPL_FLAGS,
                                                                  &flags, sizeof flags, &written);
  return status == CUBLAS_STATUS_SUCCESS ? flags : 0;
}

// Why the contract cannot have an algorithm; empty when it can.
//
// Split-K shows in its configuration. Stream-K (Osama et al. 2023, "Stream-K: work-centric parallel decomposition for
// dense matrix-matrix multiplication on the GPU") has no attribute of its own. What keeps it out is the documented
// meaning of the reduction scheme "none" ("dot-product shall be performed in one sequence", cublasLt.h), the only
// scheme that is asked for; and that choose_algorithm prefers algorithms without workspace, where partial sums of
// different blocks have nowhere to meet.
std::string refusal(const MatmulAlgorithm& algorithm, const MatmulProblem& problem) {
  const auto split = configuration<std::int32_t>(algorithm.packed, CUBLASLT_ALGO_CONFIG_SPLITK_NUM);
  if (split != 0 && split != 1) return fmt::format("divides the inner dim by {}", split);
  const auto scheme = configuration<std::uint32_t>(algorithm.packed, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME);
  if (scheme != CUBLASLT_REDUCTION_SCHEME_NONE) return fmt::format("reduction scheme {}", scheme);
  if (algorithm.workspace_bytes > kCudaMatmulWorkspaceBytes) {
    return fmt::format("needs {} bytes of workspace", algorithm.workspace_bytes);
  }
  const std::uint64_t flags = numerical_flags(algorithm.packed);
  const std::uint64_t accumulators = flags & CUBLASLT_NUMERICAL_IMPL_FLAGS_ACCUMULATOR_TYPE_MASK;
  if ((accumulators & ~CUBLASLT_NUMERICAL_IMPL_FLAGS_ACCUMULATOR_32F) != 0) return "accumulators are not fp32";
  constexpr std::uint64_t kRoundedInputs =
      CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_TF32 | CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_16F;
  if ((flags & kRoundedInputs) != 0) return "rounds its inputs";
  const bool tensor_cores = (flags & CUBLASLT_NUMERICAL_IMPL_FLAGS_TENSOR_OP_MASK) != 0;
  if (problem.a.type == DType::kFloat32 && tensor_cores) return "fp32 on tensor cores";
  return {};
}

using Preference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, CublasDestroy<cublasLtMatmulPreferenceDestroy>>;

Preference preference_for(const MatmulProblem& problem, std::string_view where) {
  cublasLtMatmulPreference_t preference = nullptr;
  check_cublas(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate", where);
  Preference result(preference);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    check_cublas(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
                 "cublasLtMatmulPreferenceSetAttribute", where);
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(kCudaMatmulWorkspaceBytes));
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(problem.b.alignment));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(problem.a.alignment));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(problem.c.alignment));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(problem.c.alignment));
  return result;
}

// The algorithm of a line of the table. It is not replaced silently where it does not fit: other bits would come.
MatmulAlgorithm restore(const MatmulTable::Entry& entry, const MatmulProblem& problem,
                        const MatmulDescriptors& descriptors, const CublasContext& context) {
  const std::string where = "matmul_table.txt, " + problem.describe();
  cublasLtMatmulHeuristicResult_t result{};
  check_cublas(cublasLtMatmulAlgoCheck(context.handle, descriptors.operation.get(), descriptors.first.get(),
                                       descriptors.second.get(), descriptors.output.get(), descriptors.output.get(),
                                       &entry.packed, &result),
               "cublasLtMatmulAlgoCheck", where);
  const MatmulAlgorithm algorithm{.packed = entry.packed,
                                  .workspace_bytes = static_cast<std::int64_t>(result.workspaceSize)};
  require_equal(entry.fields, algorithm.describe(), "a line of the table of algorithms contradicts itself", where);
  const std::string reason = refusal(algorithm, problem);
  if (reason.empty()) return algorithm;
  throw Error("an algorithm of the table breaks the numerics contract")
      .values("the whole inner dim in one sequence, fp32 sums", reason)
      .at(where)
      .hint("measure the table again");
}

std::vector<std::string_view> split_line(std::string_view line) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = line.find(kSeparator);
    parts.push_back(line.substr(0, end));
    if (end == std::string_view::npos) return parts;
    line.remove_prefix(end + kSeparator.size());
  }
}

std::string key_of(std::string_view setting, std::string_view problem) {
  return fmt::format("{}{}{}", setting, kSeparator, problem);
}

std::string packed_hex(const cublasLtMatmulAlgo_t& packed) {
  std::string bytes(sizeof packed, '\0');
  std::memcpy(bytes.data(), &packed, sizeof packed);
  return bytes_to_hex(bytes);
}

}  // namespace

void check_cublas(cublasStatus_t status, std::string_view call, std::string_view where) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(fmt::format("cuBLASLt failed in {}", call))
      .values("CUBLAS_STATUS_SUCCESS",
              fmt::format("{} ({})", cublasLtGetStatusName(status), cublasLtGetStatusString(status)))
      .at(where)
      .hint("CUBLASLT_LOG_LEVEL=5 in the environment makes the library say more; the last checkpoint stands");
}

MatmulDescriptors::MatmulDescriptors(const MatmulProblem& problem, const CublasContext& context) {
  const std::string where = "matmul " + problem.describe();
  cublasLtMatmulDesc_t description = nullptr;
  // Not a FAST variant: fp32 products stay fp32, without TF32.
  check_cublas(cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate",
               where);
  operation.reset(description);
  const auto flag = [](bool transpose) { return static_cast<std::int32_t>(transpose ? CUBLAS_OP_T : CUBLAS_OP_N); };
  set(description, CUBLASLT_MATMUL_DESC_TRANSA, flag(problem.b.transpose), where);
  set(description, CUBLASLT_MATMUL_DESC_TRANSB, flag(problem.a.transpose), where);
  // The default means the same today. Said outright, a device that is shared otherwise changes no choice.
  set(description, CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET, static_cast<std::int32_t>(context.multiprocessors), where);
  if (problem.fast_accumulation()) {
    set(description, CUBLASLT_MATMUL_DESC_FAST_ACCUM, static_cast<std::int8_t>(1), where);
  }
  const std::int64_t m = problem.rows;
  const std::int64_t n = problem.columns;
  const std::int64_t k = problem.inner;
  first = transposed_layout(problem.b, problem.b.transpose ? n : k, problem.b.transpose ? k : n, where);
  second = transposed_layout(problem.a, problem.a.transpose ? k : m, problem.a.transpose ? m : k, where);
  output = transposed_layout(problem.c, m, n, where);
}

std::string MatmulAlgorithm::describe() const {
  return fmt::format(
      "id {} tile {} stages {} inner {} cluster {} swizzle {} custom {} split {} reduction {} workspace {}",
      configuration<std::int32_t>(packed, CUBLASLT_ALGO_CONFIG_ID),
      configuration<std::uint32_t>(packed, CUBLASLT_ALGO_CONFIG_TILE_ID),
      configuration<std::uint32_t>(packed, CUBLASLT_ALGO_CONFIG_STAGES_ID),
      configuration<std::uint16_t>(packed, CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID),
      configuration<std::uint16_t>(packed, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID),
      configuration<std::uint32_t>(packed, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING),
      configuration<std::uint32_t>(packed, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION),
      configuration<std::int32_t>(packed, CUBLASLT_ALGO_CONFIG_SPLITK_NUM),
      configuration<std::uint32_t>(packed, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME), workspace_bytes);
}

MatmulTable::MatmulTable(std::string_view text) {
  for (int number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view one = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (one.empty() || one.front() == '#') continue;
    const std::string where = fmt::format("table of matmul algorithms, line {}", number);
    const std::vector<std::string_view> parts = split_line(one);
    Entry entry;
    if (parts.size() != 4 || parts[3].size() != 2 * sizeof entry.packed) {
      throw Error("this is not a line of the table of algorithms")
          .values("setting | problem | fields | 128 hexadecimal digits", one)
          .at(where);
    }
    const std::string bytes = hex_to_bytes(parts[3]);
    std::memcpy(&entry.packed, bytes.data(), sizeof entry.packed);
    entry.fields = parts[2];
    if (!entries_.emplace(key_of(parts[0], parts[1]), entry).second) {
      throw Error("a problem has two lines in the table of algorithms").values("one", parts[1]).at(where);
    }
  }
}

const MatmulTable::Entry* MatmulTable::find(const MatmulProblem& problem, const CublasContext& context) const {
  if (entries_.empty()) return nullptr;
  const auto found = entries_.find(key_of(context.setting, problem.describe()));
  return found == entries_.end() ? nullptr : &found->second;
}

std::string MatmulTable::digest() const {
  Sha256 hash;
  for (const auto& [key, entry] : entries_) {
    hash.add(fmt::format("{}{}{}{}{}\n", key, kSeparator, entry.fields, kSeparator, packed_hex(entry.packed)));
  }
  return to_hex(hash.finish());
}

std::string MatmulTable::line(const MatmulProblem& problem, const MatmulAlgorithm& algorithm,
                              const CublasContext& context) {
  return fmt::format("{}{}{}{}{}", key_of(context.setting, problem.describe()), kSeparator, algorithm.describe(),
                     kSeparator, packed_hex(algorithm.packed));
}

std::string_view built_in_matmul_table() {
  return
#include "kernels/cuda/matmul_table.txt"
      ;
}

std::vector<MatmulCandidate> propose_algorithms(const MatmulProblem& problem, const MatmulDescriptors& descriptors,
                                                const CublasContext& context) {
  const std::string where = "matmul " + problem.describe();
  const Preference preference = preference_for(problem, where);
  std::array<cublasLtMatmulHeuristicResult_t, kProposals> results{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      context.handle, descriptors.operation.get(), descriptors.first.get(), descriptors.second.get(),
      descriptors.output.get(), descriptors.output.get(), preference.get(), kProposals, results.data(), &count);
  // "Not supported" is how the library says that it has nothing to propose: choose_algorithm has more to say about it.
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return {};
  check_cublas(status, "cublasLtMatmulAlgoGetHeuristic", where);
  std::vector<MatmulCandidate> candidates;
  for (int i = 0; i < count; ++i) {
    const auto& result = results[static_cast<std::size_t>(i)];
    if (result.state != CUBLAS_STATUS_SUCCESS) continue;
    MatmulCandidate candidate;
    candidate.algorithm = {.packed = result.algo, .workspace_bytes = static_cast<std::int64_t>(result.workspaceSize)};
    candidate.refusal = refusal(candidate.algorithm, problem);
    candidates.push_back(std::move(candidate));
  }
  return candidates;
}

MatmulAlgorithm choose_algorithm(const MatmulProblem& problem, const MatmulDescriptors& descriptors,
                                 const CublasContext& context, const MatmulTable& table) {
  if (const MatmulTable::Entry* entry = table.find(problem, context)) {
    return restore(*entry, problem, descriptors, context);
  }
  const std::vector<MatmulCandidate> candidates = propose_algorithms(problem, descriptors, context);
  const MatmulCandidate* chosen = nullptr;
  std::string refusals;
  for (const MatmulCandidate& candidate : candidates) {
    if (!candidate.refusal.empty()) {
      refusals +=
          fmt::format("; id {}: {}", configuration<std::int32_t>(candidate.algorithm.packed, CUBLASLT_ALGO_CONFIG_ID),
                      candidate.refusal);
      continue;
    }
    if (candidate.algorithm.workspace_bytes == 0) return candidate.algorithm;
    if (chosen == nullptr) chosen = &candidate;
  }
  if (chosen != nullptr) return chosen->algorithm;
  throw Error("cuBLASLt has no algorithm for this product that keeps the numerics contract")
      .values("one that does not split the inner dim, with fp32 sums",
              fmt::format("{} proposals{}", candidates.size(), refusals))
      .at(fmt::format("matmul {}, {}", problem.describe(), context.setting))
      .hint("sizes whose rows are multiples of 16 bytes have the most algorithms; or use another library version");
}

std::string matmul_rule_digest() {
  return to_hex(sha256(kRule)).substr(0, 12);
}

}  // namespace baekji::cuda
