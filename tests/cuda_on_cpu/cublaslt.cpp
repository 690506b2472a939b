// The stand-in for cuBLASLt: include/cublasLt.h says what it is.

#include <cublasLt.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/types.h"

struct cublasLtMatmulDescOpaque_t {
  bool transpose_a = false;
  bool transpose_b = false;
  bool fast_accumulation = false;
  std::int32_t multiprocessors = 0;
  const void* scale_a = nullptr;
  const void* scale_b = nullptr;
};
struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType_t type = CUDA_R_32F;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t leading = 0;
};
struct cublasLtMatmulPreferenceOpaque_t {
  std::uint64_t workspace_bytes = 0;
  std::uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
  std::uint32_t alignments[4] = {256, 256, 256, 256};
};

namespace {

// What a cublasLtMatmulAlgo_t holds here.
struct Algorithm {
  std::int32_t id = 0;
  std::uint32_t tile = 0;
  std::int32_t split = 1;
  std::uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_NONE;
  std::uint32_t custom = 0;
  std::uint16_t stages = 0;
  std::uint16_t cluster = 0;
  std::uint64_t workspace_bytes = 0;
  std::uint64_t numerics = 0;
  std::uint64_t problem = 0;  // a checksum
  std::uint8_t alignments[4] = {};
  // Tells itself apart: not in any attribute, as stream-K is not.
  std::int32_t pieces = 1;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

Algorithm unpacked(const cublasLtMatmulAlgo_t& packed) {
  Algorithm algorithm;
  std::memcpy(static_cast<void*>(&algorithm), &packed, sizeof algorithm);
  return algorithm;
}
cublasLtMatmulAlgo_t packed(const Algorithm& algorithm) {
  cublasLtMatmulAlgo_t result{};
  std::memcpy(&result, &algorithm, sizeof algorithm);
  return result;
}

std::atomic<cuda_on_cpu::Proposals>& proposals() {
  static std::atomic<cuda_on_cpu::Proposals> value{cuda_on_cpu::Proposals::kAll};
  return value;
}

struct Problem {
  const cublasLtMatmulDescOpaque_t& description;
  const cublasLtMatrixLayoutOpaque_t& a;
  const cublasLtMatrixLayoutOpaque_t& b;
  const cublasLtMatrixLayoutOpaque_t& c;
  const cublasLtMatrixLayoutOpaque_t& d;

  std::int64_t inner() const { return description.transpose_a ? a.rows : a.columns; }
  bool is_8_bit() const { return a.type >= CUDA_R_8F_E4M3 || b.type >= CUDA_R_8F_E4M3; }

  cublasStatus_t check() const {
    const std::int64_t m = description.transpose_a ? a.columns : a.rows;
    const std::int64_t n = description.transpose_b ? b.rows : b.columns;
    const std::int64_t k = description.transpose_b ? b.columns : b.rows;
    if (k != inner() || c.rows != m || c.columns != n || d.rows != m || d.columns != n)
      return CUBLAS_STATUS_INVALID_VALUE;
    if (m == 0 || n == 0 || k == 0) return CUBLAS_STATUS_INVALID_VALUE;
    for (const auto* layout : {&a, &b, &c, &d}) {
      if (layout->leading < layout->rows) return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (c.type != d.type) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (is_8_bit()) return check_8_bit();
    if (description.scale_a != nullptr || description.scale_b != nullptr || description.fast_accumulation) {
      return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    const bool wide = a.type == CUDA_R_32F && b.type == CUDA_R_32F && d.type == CUDA_R_32F;
    const bool narrow = a.type == CUDA_R_16BF && b.type == CUDA_R_16BF;
    return wide || narrow ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
  }

  // The documented requirements of products of 8 bits on Hopper.
  cublasStatus_t check_8_bit() const {
    if (a.type < CUDA_R_8F_E4M3 || b.type < CUDA_R_8F_E4M3) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (a.type == CUDA_R_8F_E5M2 && b.type == CUDA_R_8F_E5M2) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (!description.transpose_a || description.transpose_b) return CUBLAS_STATUS_NOT_SUPPORTED;
    const std::int64_t out_bytes = d.type == CUDA_R_32F ? 4 : 2;
    const bool pieces = a.leading % 16 == 0 && b.leading % 16 == 0 && inner() % 16 == 0 &&
                        d.leading * out_bytes % 16 == 0 && c.leading * out_bytes % 16 == 0;
    return pieces ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
  }

  std::uint64_t checksum() const {
    std::uint64_t sum = (description.transpose_a ? 1U : 0U) + (description.transpose_b ? 2U : 0U) +
                        (description.fast_accumulation ? 4U : 0U);
    for (const auto* l : {&a, &b, &c, &d}) {
      for (const std::int64_t x : {static_cast<std::int64_t>(l->type), l->rows, l->columns, l->leading}) {
        sum = (sum ^ static_cast<std::uint64_t>(x)) * 0x100000001B3ULL;  // FNV-1a's prime
      }
    }
    return sum;
  }
};

std::uint64_t numerics_of(const Problem& p) {
  std::uint64_t flags = CUBLASLT_NUMERICAL_IMPL_FLAGS_ACCUMULATOR_32F;
  if (p.a.type == CUDA_R_32F)
    return flags | CUBLASLT_NUMERICAL_IMPL_FLAGS_FMA | CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_32F;
  flags |= CUBLASLT_NUMERICAL_IMPL_FLAGS_HMMA;
  if (p.a.type == CUDA_R_16BF) return flags | CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_16BF;
  for (const auto type : {p.a.type, p.b.type}) {
    flags |= type == CUDA_R_8F_E4M3 ? CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_8F_E4M3
                                    : CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_8F_E5M2;
  }
  return flags;
}

// From what looks best to what is safe. Ids from 100 on are what a caller that counts on its bits must not take.
std::vector<Algorithm> all_algorithms(const Problem& p) {
  const std::uint64_t numerics = numerics_of(p);
  std::vector<Algorithm> all;
  all.push_back({.id = 100, .tile = 20, .split = 4, .numerics = numerics, .pieces = 4});
  all.push_back({.id = 101, .reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, .numerics = numerics, .pieces = 3});
  all.push_back({.id = 102, .numerics = numerics & ~CUBLASLT_NUMERICAL_IMPL_FLAGS_ACCUMULATOR_32F, .pieces = 2});
  all.back().numerics |= CUBLASLT_NUMERICAL_IMPL_FLAGS_ACCUMULATOR_16F;
  all.push_back({.id = 103, .numerics = numerics | CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_TF32, .pieces = 2});
  all.push_back({.id = 60, .tile = 23, .workspace_bytes = 4096, .numerics = numerics, .pieces = 2});
  all.push_back({.id = 66, .tile = 20, .custom = 5, .stages = 36, .cluster = 3, .numerics = numerics});
  all.push_back({.id = 67, .tile = 15, .stages = 35, .cluster = 2, .numerics = numerics});
  return all;
}

bool proposed(const Algorithm& algorithm) {
  switch (proposals()) {
    case cuda_on_cpu::Proposals::kOnlyRefused:
      return algorithm.id >= 100;
    case cuda_on_cpu::Proposals::kOnlyWithWorkspace:
      return algorithm.id >= 100 || algorithm.workspace_bytes > 0;
    default:
      return true;
  }
}

float element(const void* data, cudaDataType_t type, std::int64_t at) {
  switch (type) {
    case CUDA_R_16BF:
      return static_cast<float>(static_cast<const baekji::Bfloat16*>(data)[at]);
    case CUDA_R_8F_E4M3:
      return static_cast<float>(static_cast<const baekji::Float8E4M3*>(data)[at]);
    case CUDA_R_8F_E5M2:
      return static_cast<float>(static_cast<const baekji::Float8E5M2*>(data)[at]);
    default:
      return static_cast<const float*>(data)[at];
  }
}

// op(matrix) in fp32; element (row, column) is at [row + column * rows], or transposed when the caller wants that.
std::vector<float> read(const void* data, const cublasLtMatrixLayoutOpaque_t& layout, bool swap) {
  std::vector<float> values(static_cast<std::size_t>(layout.rows * layout.columns));
  for (std::int64_t column = 0; column < layout.columns; ++column) {
    for (std::int64_t row = 0; row < layout.rows; ++row) {
      const std::int64_t to = swap ? row * layout.columns + column : column * layout.rows + row;
      values[static_cast<std::size_t>(to)] = element(data, layout.type, column * layout.leading + row);
    }
  }
  return values;
}

bool aligned(const void* data, std::uint8_t bytes) {
  return std::bit_cast<std::uintptr_t>(data) % bytes == 0;
}

template <class T, class Value>
bool take(Value& to, const void* value, std::size_t size_bytes) {
  if (size_bytes != sizeof(T)) return false;
  T read{};
  std::memcpy(&read, value, sizeof read);
  to = static_cast<Value>(read);
  return true;
}

template <class T>
cublasStatus_t give(T from, void* value, std::size_t size_bytes, std::size_t* written) {
  if (size_bytes != sizeof from) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(value, &from, sizeof from);
  *written = sizeof from;
  return CUBLAS_STATUS_SUCCESS;
}

struct Product {
  const Problem& problem;
  const float* alpha;
  const float* beta;
  const void* a;
  const void* b;
  const void* c;
  void* d;
  int pieces;
};

void multiply(const Product& p) {
  const cublasLtMatmulDescOpaque_t& how = p.problem.description;
  const auto m = static_cast<std::size_t>(p.problem.d.rows);
  const auto inner = static_cast<std::size_t>(p.problem.inner());
  const std::vector<float> a = read(p.a, p.problem.a, how.transpose_a);  // [m + k * M]
  const std::vector<float> b = read(p.b, p.problem.b, how.transpose_b);  // [k + n * K]
  float scale = *p.alpha;
  if (how.scale_a != nullptr) scale *= *static_cast<const float*>(how.scale_a);
  if (how.scale_b != nullptr) scale *= *static_cast<const float*>(how.scale_b);
  const std::size_t piece = (inner + static_cast<std::size_t>(p.pieces) - 1) / static_cast<std::size_t>(p.pieces);
  std::vector<float> total(m);
  std::vector<float> sum(m);
  for (std::int64_t column = 0; column < p.problem.d.columns; ++column) {
    const float* right = b.data() + static_cast<std::size_t>(column) * inner;
    for (std::size_t begin = 0; begin < inner; begin += piece) {
      std::fill(sum.begin(), sum.end(), 0.0F);
      for (std::size_t k = begin; k < std::min(begin + piece, inner); ++k) {
        for (std::size_t row = 0; row < m; ++row) sum[row] = std::fma(a[k * m + row], right[k], sum[row]);
      }
      for (std::size_t row = 0; row < m; ++row) total[row] = begin == 0 ? sum[row] : total[row] + sum[row];
    }
    for (std::size_t row = 0; row < m; ++row) {
      float value = scale * total[row];
      const auto r = static_cast<std::int64_t>(row);
      // beta = 0: c is not read, and may hold anything.
      if (*p.beta != 0) value += *p.beta * element(p.c, p.problem.c.type, column * p.problem.c.leading + r);
      const std::int64_t at = column * p.problem.d.leading + r;
      if (p.problem.d.type == CUDA_R_32F)
        static_cast<float*>(p.d)[at] = value;
      else
        static_cast<baekji::Bfloat16*>(p.d)[at] = baekji::Bfloat16(value);
    }
  }
}

}  // namespace

namespace cuda_on_cpu {

void propose(Proposals value) {
  proposals() = value;
}

}  // namespace cuda_on_cpu

std::size_t cublasLtGetVersion() {
  return 130100;
}
const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    default:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
}
const char* cublasLtGetStatusString(cublasStatus_t /*status*/) {
  return "of the stand-in for cuBLASLt";
}
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = nullptr;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t /*handle*/) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description, cublasComputeType_t /*compute*/,
                                        cudaDataType_t scale) {
  if (scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  *description = new cublasLtMatmulDescOpaque_t;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
  delete description;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              std::size_t size_bytes) {
  if (value == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  bool taken = false;
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      taken = take<std::int32_t>(description->transpose_a, value, size_bytes);
      break;
    case CUBLASLT_MATMUL_DESC_TRANSB:
      taken = take<std::int32_t>(description->transpose_b, value, size_bytes);
      break;
    case CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET:
      taken = take<std::int32_t>(description->multiprocessors, value, size_bytes);
      break;
    case CUBLASLT_MATMUL_DESC_FAST_ACCUM:
      taken = take<std::int8_t>(description->fast_accumulation, value, size_bytes);
      break;
    case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER:
      taken = take<const void*>(description->scale_a, value, size_bytes);
      break;
    case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER:
      taken = take<const void*>(description->scale_b, value, size_bytes);
      break;
  }
  return taken ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type, std::uint64_t rows,
                                          std::uint64_t columns, std::int64_t leading) {
  *layout = new cublasLtMatrixLayoutOpaque_t{type, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns),
                                             leading};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new cublasLtMatmulPreferenceOpaque_t;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    std::size_t size_bytes) {
  bool taken = false;
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
    taken = take<std::uint64_t>(preference->workspace_bytes, value, size_bytes);
  else if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
    taken = take<std::uint32_t>(preference->reductions, value, size_bytes);
  else
    taken = take<std::uint32_t>(preference->alignments[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value,
                                size_bytes);
  return taken ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t /*handle*/, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int most,
                                              cublasLtMatmulHeuristicResult_t results[], int* count) {
  *count = 0;
  const Problem problem{*description, *a, *b, *c, *d};
  const cublasStatus_t status = problem.check();
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  if (problem.is_8_bit() && *std::min_element(preference->alignments, preference->alignments + 4) < 16) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  for (Algorithm algorithm : all_algorithms(problem)) {
    // The mask of reduction schemes is not honoured, so that the caller's own look at them is tested.
    if (!proposed(algorithm) || algorithm.workspace_bytes > preference->workspace_bytes || *count == most) continue;
    algorithm.problem = problem.checksum();
    for (std::size_t i = 0; i < 4; ++i) {
      algorithm.alignments[i] = static_cast<std::uint8_t>(std::min(preference->alignments[i], 16U));
    }
    results[*count] = {.algo = packed(algorithm),
                       .workspaceSize = algorithm.workspace_bytes,
                       .state = CUBLAS_STATUS_SUCCESS,
                       .wavesCount = 1};
    ++*count;
  }
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t /*handle*/, cublasLtMatmulDesc_t description,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                       cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t* algorithm,
                                       cublasLtMatmulHeuristicResult_t* result) {
  const Problem problem{*description, *a, *b, *c, *d};
  const Algorithm unpacked_algorithm = unpacked(*algorithm);
  if (unpacked_algorithm.problem != problem.checksum()) return CUBLAS_STATUS_INVALID_VALUE;
  result->workspaceSize = unpacked_algorithm.workspace_bytes;
  result->state = CUBLAS_STATUS_SUCCESS;
  return problem.check();
}
cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute, void* value,
                                                    std::size_t size_bytes, std::size_t* written) {
  const Algorithm a = unpacked(*algorithm);
  switch (attribute) {
    case CUBLASLT_ALGO_CONFIG_ID:
      return give(a.id, value, size_bytes, written);
    case CUBLASLT_ALGO_CONFIG_TILE_ID:
      return give(a.tile, value, size_bytes, written);
    case CUBLASLT_ALGO_CONFIG_SPLITK_NUM:
      return give(a.split, value, size_bytes, written);
    case CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME:
      return give(a.reduction, value, size_bytes, written);
    case CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING:
      return give(std::uint32_t{0}, value, size_bytes, written);
    case CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION:
      return give(a.custom, value, size_bytes, written);
    case CUBLASLT_ALGO_CONFIG_STAGES_ID:
      return give(std::uint32_t{a.stages}, value, size_bytes, written);
    case CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID:
      return give(std::uint16_t{0}, value, size_bytes, written);
    case CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID:
      return give(a.cluster, value, size_bytes, written);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatmulAlgoCapGetAttribute(const cublasLtMatmulAlgo_t* algorithm,
                                                 cublasLtMatmulAlgoCapAttributes_t /*attribute*/, void* value,
                                                 std::size_t size_bytes, std::size_t* written) {
  return give(unpacked(*algorithm).numerics, value, size_bytes, written);
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t /*handle*/, cublasLtMatmulDesc_t description, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace, std::size_t workspace_bytes,
                              cudaStream_t /*stream*/) {
  const Problem problem{*description, *a_layout, *b_layout, *c_layout, *d_layout};
  const cublasStatus_t status = problem.check();
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  const Algorithm how = unpacked(*algorithm);
  const bool right_algorithm = how.problem == problem.checksum() && how.workspace_bytes <= workspace_bytes &&
                               (how.workspace_bytes == 0 || workspace != nullptr);
  const bool right_addresses = aligned(a, how.alignments[0]) && aligned(b, how.alignments[1]) &&
                               aligned(c, how.alignments[2]) && aligned(d, how.alignments[3]);
  if (!right_algorithm || !right_addresses) return CUBLAS_STATUS_INVALID_VALUE;
  const cuda_on_cpu::DeviceAccess access;
  multiply({.problem = problem,
            .alpha = static_cast<const float*>(alpha),
            .beta = static_cast<const float*>(beta),
            .a = a,
            .b = b,
            .c = c,
            .d = d,
            .pieces = how.pieces});
  return CUBLAS_STATUS_SUCCESS;
}
