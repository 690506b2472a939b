#pragma once
// Which of cuBLASLt's algorithms a matrix product uses: one for each problem, from a table, or by a rule.
//
// Why it matters: algorithms add in different orders. One that divides the inner dim (split-K, stream-K) adds partial
// sums in an order that may depend on timing or on the number of multiprocessors. The numerics contract wants the same
// bits for the same problem in every run, on every rank and in every layout, so a problem has one algorithm, whose
// tiles each go through the whole inner dim.

#include <cublasLt.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda/matmul_problem.h"
#include "kernels/cuda_planning.h"

namespace baekji::cuda {

/// Throws unless `status` is success: an Error that names the call and the problem.
void check_cublas(cublasStatus_t status, std::string_view call, std::string_view where);

template <auto kDestroy>
struct CublasDestroy {
  template <class T>
  void operator()(T* object) const {
    kDestroy(object);
  }
};
using CublasOperation = std::unique_ptr<cublasLtMatmulDescOpaque_t, CublasDestroy<cublasLtMatmulDescDestroy>>;
using CublasLayout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, CublasDestroy<cublasLtMatrixLayoutDestroy>>;

/// The library on one device.
struct CublasContext {
  cublasLtHandle_t handle = nullptr;
  int multiprocessors = 0;  ///< what the library is told to fill
  std::string setting;      ///< "cublasLt 130100, sm_90, 132 multiprocessors": where a line of the table holds
};

/// cuBLASLt's description of a problem. The library's own order is column-major, for which its fast kernels are made
/// (for 8 bits on Hopper the only one there is): a row-major matrix is the column-major one of its transpose, so c' =
/// op(b)' op(a)' is asked for, with b as the library's first operand.
struct MatmulDescriptors {
  MatmulDescriptors(const MatmulProblem& problem, const CublasContext& context);

  CublasOperation operation;
  CublasLayout first;   ///< b
  CublasLayout second;  ///< a
  CublasLayout output;  ///< c, and what is accumulated into
};

/// An algorithm with its options.
struct MatmulAlgorithm {
  cublasLtMatmulAlgo_t packed{};  ///< "can be trivially serialized and later restored for use with the same version"
  std::int64_t workspace_bytes = 0;

  /// What can be read of it: "id 66 tile 20 stages 36 inner 0 cluster 3 swizzle 0 custom 5 split 1 reduction 0
  /// workspace 0"
  std::string describe() const;
};

/// The algorithms of problems, as text: one line each, '#' begins a comment line.
class MatmulTable {
 public:
  struct Entry {
    cublasLtMatmulAlgo_t packed{};
    std::string fields;  ///< MatmulAlgorithm::describe() when it was recorded
  };

  /// Throws Error, with the line, on what is not a line of a table, and on a problem that has two.
  explicit MatmulTable(std::string_view text);

  /// Null when the problem has no line for this setting.
  const Entry* find(const MatmulProblem& problem, const CublasContext& context) const;
  std::size_t size() const { return entries_.size(); }
  /// SHA-256 over the lines, comments left out, in hexadecimal.
  std::string digest() const;

  static std::string line(const MatmulProblem& problem, const MatmulAlgorithm& algorithm, const CublasContext& context);

 private:
  std::map<std::string, Entry, std::less<>> entries_;  // by "setting | problem"
};

/// kernels/cuda/matmul_table.txt, as it was when the program was built.
std::string_view built_in_matmul_table();

/// An algorithm that the library proposes.
struct MatmulCandidate {
  MatmulAlgorithm algorithm;
  std::string refusal;  ///< why the contract cannot have it; empty: it can
};
/// The library's proposals, which it thinks best first. All may count on kCudaMatmulWorkspaceBytes of workspace,
/// whatever the problem and however much memory is free, since the library chooses by it.
std::vector<MatmulCandidate> propose_algorithms(const MatmulProblem& problem, const MatmulDescriptors& descriptors,
                                                const CublasContext& context);

/// The table's algorithm, or else the first proposal that needs no workspace, or else the first one, among those that
/// the contract can have. Throws Error when there is none, and when the table's algorithm does not run here or breaks
/// the contract.
MatmulAlgorithm choose_algorithm(const MatmulProblem& problem, const MatmulDescriptors& descriptors,
                                 const CublasContext& context, const MatmulTable& table);

/// The first 12 hexadecimal digits of the SHA-256 of the rule's text, for the kernel set: a changed rule is another
/// one.
std::string matmul_rule_digest();

}  // namespace baekji::cuda
