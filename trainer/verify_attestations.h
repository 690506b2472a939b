#pragma once
// What signed statements of a run are worth: every field of every statement is held against the run.

#include "trainer/verify_signatures.h"

namespace baekji {

/// docs/formats/attestation.md, "What a verifier checks". Nothing where no folder of statements is given.
void verify_attestations(const VerifiedRun& run, const SignatureOptions& options, VerifyReport& report);

}  // namespace baekji
