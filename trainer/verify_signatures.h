#pragma once
// What signatures say of a run: its log, checkpoints that witnesses kept, and whether its seed is proved.

#include <filesystem>
#include <string>
#include <vector>

#include "proof/log_keys.h"
#include "trainer/verify_run.h"

namespace CLI {
class App;
}

namespace baekji {

struct SignatureOptions {
  std::filesystem::path public_key;      ///< PEM file of an Ed25519 key of the owner, from outside the run; empty: none
  std::vector<std::string> revocations;  ///< files that the run folder may lack
  std::vector<std::string> witnesses;    ///< "NAME=PEM file"
  std::vector<std::string> witness_lists;  ///< "NAME=file": what a witness signed
  std::filesystem::path witnessed;         ///< an earlier checkpoint that the ledger must contain; empty: none
  std::filesystem::path attestations;      ///< folder of `baekji attest`; empty: none
  std::filesystem::path attestation_key;   ///< PEM file of the P-256 public key that signed them
  std::filesystem::path release;           ///< folder whose files the release statement must be of; empty: none
};
void add_signature_options(CLI::App& command, SignatureOptions& options);

/// Checks what was asked for, and notes what the folder has that nothing checked. Throws when the call is wrong.
void verify_signatures(const VerifiedRun& run, const SignatureOptions& options, VerifyReport& report);

/// Those of the log's opening when the owner's key is given, else the one of the genesis record. Throws when the log
/// has no good opening for that key.
AdmissibleKernelSets admissible_kernel_sets(const VerifiedRun& run, const SignatureOptions& options);

}  // namespace baekji
