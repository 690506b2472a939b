#include <CLI/CLI.hpp>

#include "trainer/verify_signatures.h"

namespace baekji {

void add_signature_options(CLI::App& command, SignatureOptions& options) {
  command.add_option("--key", options.public_key, "a public key of the owner's (PEM): check the signed log");
  command.add_option("--revocation", options.revocations, "a revocation of a key that the run folder may lack");
  command.add_option("--witness", options.witnesses, "a witness and its public key: NAME=PEM");
  command.add_option("--witness-list", options.witness_lists, "what a witness signed: NAME=LIST");
  command.add_option("--witnessed", options.witnessed,
                     "an earlier checkpoint of the log: the ledger must begin with what it covers");
  auto* attested = command.add_option("--attestations", options.attestations, "folder of `baekji attest`");
  auto* key =
      command.add_option("--attestation-key", options.attestation_key, "the public key (P-256, PEM) that signed them");
  attested->needs(key);
  key->needs(attested);
  command.add_option("--release", options.release, "with --attestations: folder of the released files")
      ->needs(attested);
}

}  // namespace baekji
