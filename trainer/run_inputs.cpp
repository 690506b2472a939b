#include "trainer/run_inputs.h"

#include <nlohmann/json.hpp>

#include "core/file_system.h"
#include "core/untrusted_file.h"
#include "proof/beacon.h"
#include "proof/contract.h"

namespace baekji {

ContractInputs open_contract(const Experiment& e) {
  ContractInputs inputs;
  inputs.tokenizer = read_untrusted(e.data.tokenizer, kMostTokenizerBytes);
  const Digest tokenizer = sha256(inputs.tokenizer);
  inputs.stores = open_sources(e.data, tokenizer, e.model.vocab);
  inputs.contract = canonical_json(contract_of(e, tokenizer, inputs.stores));
  inputs.digest = contract_digest(inputs.contract);
  return inputs;
}

RunInputs open_inputs(const Experiment& e) {
  ContractInputs inputs = open_contract(e);
  auto seed = static_cast<std::uint64_t>(e.identity.seed);
  std::string value;
  if (!e.identity.beacon.empty()) {
    value = hex_to_bytes(e.run.beacon_value);
    if (value.empty()) {
      throw Error("the seed comes from a beacon whose value is not given")
          .values("run.beacon_value, the hex value of " + e.identity.beacon +
                      fmt::format(" round {}", e.identity.beacon_round),
                  "nothing")
          .at(e.place + " [run]")
          .hint("`baekji contract` prints when the round comes");
    }
    seed = seed_from_beacon(inputs.digest, value);
  }
  BatchOrder order(seed, order_sources(e.data, inputs.stores), order_stages(e));
  return {.tokenizer = std::move(inputs.tokenizer),
          .contract = std::move(inputs.contract),
          .digest = inputs.digest,
          .seed = seed,
          .beacon_value = std::move(value),
          .loader = Loader(std::move(inputs.stores), std::move(order), e.model.document_mask)};
}

}  // namespace baekji
