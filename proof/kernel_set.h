#pragma once
// The kernel set: which code on which device computed the bits. Recorded beside the contract, never in it: a replay
// under another kernel set is 'not comparable', a resume under one must be accepted explicitly.

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/digest.h"

namespace baekji {

/// docs/formats/contract.md, "Kernel set".
struct KernelSet {
  std::string device;                            ///< "cpu"
  std::string processor;                         ///< "AMD EPYC 9R14": libraries choose their blocking by it
  std::string instruction_set;                   ///< "x86_64 avx avx2 avx512bf16 ...", sorted after the first word
  std::string compiler;                          ///< "gcc 12.2.0"
  std::map<std::string, std::string> libraries;  ///< name to version: those that compute on contract paths
  Digest numerics_sources{};                     ///< of the sources that decide bits
  std::string flags;                             ///< that they were compiled with, sorted, each once

  bool operator==(const KernelSet&) const = default;
};

/// The kernel set of this binary on this processor; `libraries` from the Kernels in use.
KernelSet cpu_kernel_set(std::map<std::string, std::string> libraries);

/// Digest of the sources that decide bits (cmake/NumericsSources.cmake lists them), taken when this binary was built.
Digest numerics_sources_digest();

nlohmann::json to_json_value(const KernelSet& kernels);
/// Throws when a member is missing or of the wrong type.
KernelSet parse_kernel_set(const nlohmann::json& value, const std::string& place);
/// SHA-256 of the canonical JSON.
Digest kernel_set_digest(const KernelSet& kernels);

/// One line per member that differs, "compiler: gcc 12.2.0 -> gcc 13.1.0"; empty when they are equal.
std::vector<std::string> kernel_set_differences(const KernelSet& before, const KernelSet& now);

}  // namespace baekji
