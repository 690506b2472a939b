#pragma once
// RunInputs: what a run is computed from besides its experiment file: tokenizer, token stores, the contract that they
// make together, and the seed.

#include <cstdint>
#include <string>
#include <vector>

#include "core/digest.h"
#include "data/loader.h"
#include "data/token_store.h"
#include "trainer/experiment.h"

namespace baekji {

/// The contract and what it is made of: there before the seed is known.
struct ContractInputs {
  std::string tokenizer;  ///< the bytes of its file
  std::vector<TokenStore> stores;
  std::string contract;  ///< canonical bytes
  Digest digest{};       ///< of the contract
};
/// Throws when a file is missing or a store was made with another tokenizer.
ContractInputs open_contract(const Experiment& experiment);

struct RunInputs {
  std::string tokenizer;
  std::string contract;
  Digest digest{};
  std::uint64_t seed = 0;
  std::string beacon_value;  ///< bytes; empty when the contract has the seed itself
  Loader loader;
};
/// Throws as open_contract() does, and when the contract names a beacon whose value is not in run.beacon_value.
RunInputs open_inputs(const Experiment& experiment);

}  // namespace baekji
