#pragma once
// What signatures say of a run: its log, checkpoints that witnesses kept, and whether its seed is proved.

#include <filesystem>
#include <string>
#include <vector>

#include "trainer/verify_run.h"

namespace baekji {

struct SignatureOptions {
  std::filesystem::path public_key;  ///< PEM file of the owner's Ed25519 key, from outside the run folder; empty: none
  std::vector<std::string> witnesses;     ///< "NAME=PEM file"
  std::filesystem::path attestations;     ///< folder of `baekji attest`; empty: none
  std::filesystem::path attestation_key;  ///< PEM file of the P-256 public key that signed them
  std::filesystem::path witnessed;        ///< an earlier checkpoint that the ledger must contain; empty: none
};

/// Checks what was asked for, and notes what the folder has that nothing checked. Throws when a file cannot be used.
void verify_signatures(const VerifiedRun& run, const SignatureOptions& options, VerifyReport& report);

}  // namespace baekji
