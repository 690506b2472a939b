#include "proof/ledger_records.h"

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace baekji {
namespace {

using nlohmann::json;

constexpr std::string_view kFormat = "baekji.ledger.v1";

Digest digest_member(const json& body, const char* name) {
  return parse_digest(body.at(name).get<std::string>());
}
double bits_member(const json& body, const char* name) {
  return parse_double_bits(body.at(name).get<std::string>());
}

// nlohmann::json would convert true or 1.5 to an integer silently.
std::int64_t integer_member(const json& body, const char* name) {
  const json& value = body.at(name);
  if (!value.is_number_integer())
    throw Error("a ledger record has a member of the wrong type")
        .values(std::string(name) + ": an integer", value.dump());
  return value.get<std::int64_t>();
}

// Parses with every failure turned into one Error that names the place.
template <class Parse>
auto parse_body(std::string_view what, const std::string& place, const Parse& parse) {
  try {
    return parse();
  } catch (const json::exception& error) {
    throw Error(fmt::format("not the body of a {} record", what))
        .values("docs/formats/ledger.md", error.what())
        .at(place);
  } catch (Error& error) {
    throw error.at(place);
  }
}

}  // namespace

std::string double_bits(double value) {
  // The payload of a NaN is not part of the numerics contract.
  const std::uint64_t bits = std::isnan(value) ? 0x7FF8000000000000U : std::bit_cast<std::uint64_t>(value);
  return fmt::format("{:016x}", bits);
}

double parse_double_bits(std::string_view bits) {
  std::uint64_t value = 0;
  const bool hex = bits.size() == 16 && bits.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  if (!hex) throw Error("not the bits of a double").values("16 lower-case hex digits", std::string(bits));
  for (const char c : bits) value = value * 16 + static_cast<std::uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
  return std::bit_cast<double>(value);
}

json genesis_body(const GenesisRecord& record) {
  json body = {{"contract", to_hex(record.contract)},
               {"format", kFormat},
               {"kernel_set", to_json_value(record.kernel_set)},
               {"state_root", to_hex(record.state_root)}};
  if (!record.beacon_value.empty()) body["seed"] = {{"value", bytes_to_hex(record.beacon_value)}};
  return body;
}

GenesisRecord parse_genesis_body(const json& body, const std::string& place) {
  return parse_body("genesis", place, [&] {
    const auto format = body.at("format").get<std::string>();
    if (format != kFormat)
      throw Error("the ledger has another format")
          .values(std::string(kFormat), format)
          .hint("open it with the program that wrote it");
    GenesisRecord record;
    record.contract = digest_member(body, "contract");
    record.state_root = digest_member(body, "state_root");
    record.kernel_set = parse_kernel_set(body.at("kernel_set"), place);
    if (body.contains("seed")) record.beacon_value = hex_to_bytes(body["seed"].at("value").get<std::string>());
    return record;
  });
}

json step_body(const StepRecord& record) {
  json body = {{"batch_root", to_hex(record.batch_root)},
               {"gradient_norm", double_bits(record.gradient_norm)},
               {"learning_rate", double_bits(record.learning_rate)},
               {"loss", double_bits(record.loss)},
               {"position", record.position},
               {"step", record.step},
               {"tokens", record.tokens},
               {"updates", record.updates},
               {"void", !record.void_tensor.empty()}};
  if (!record.void_tensor.empty()) body["void_tensor"] = record.void_tensor;
  if (record.state_root) body["state_root"] = to_hex(*record.state_root);
  return body;
}

StepRecord parse_step_body(const json& body, const std::string& place) {
  return parse_body("step", place, [&] {
    StepRecord record;
    record.step = integer_member(body, "step");
    record.batch_root = digest_member(body, "batch_root");
    record.loss = bits_member(body, "loss");
    record.gradient_norm = bits_member(body, "gradient_norm");
    record.learning_rate = bits_member(body, "learning_rate");
    record.position = integer_member(body, "position");
    record.tokens = integer_member(body, "tokens");
    record.updates = integer_member(body, "updates");
    if (body.at("void").get<bool>()) record.void_tensor = body.at("void_tensor").get<std::string>();
    if (body.contains("state_root")) record.state_root = digest_member(body, "state_root");
    // Also refuses members that are unknown or contradict one another.
    if (step_body(record) != body)
      throw Error("a step record has members that do not belong to it").values(step_body(record).dump(), body.dump());
    return record;
  });
}

CheckpointEvent parse_checkpoint_event(const json& body, const std::string& place) {
  return parse_body("checkpoint event", place, [&] {
    return CheckpointEvent{.step = integer_member(body, "step"), .state_root = digest_member(body, "state_root")};
  });
}

json rollback_details(const RollbackEvent& event) {
  return {{"to", event.to}, {"skip", {event.skip.from, event.skip.to}}};
}

RollbackEvent parse_rollback_event(const json& body, const std::string& place) {
  return parse_body("rollback event", place, [&] {
    const json& skip = body.at("skip");
    if (!skip.is_array() || skip.size() != 2 || !skip[0].is_number_integer() || !skip[1].is_number_integer())
      throw Error("a rollback skips one range of batches").values("[from, to]", skip.dump());
    return RollbackEvent{.to = integer_member(body, "to"),
                         .skip = {.from = skip[0].get<std::int64_t>(), .to = skip[1].get<std::int64_t>()}};
  });
}

std::vector<std::string> step_differences(const json& before, const json& now) {
  std::vector<std::string> names;
  json all = before;
  all.update(now);
  for (const auto& [name, any] : all.items()) {
    const bool in_both = before.contains(name) && now.contains(name);
    if (name == "state_root" && !in_both) continue;
    if (!in_both || before[name] != now[name]) names.push_back(name);
  }
  return names;
}

}  // namespace baekji
