#include "proof/ledger_records.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace baekji {
namespace {

using nlohmann::json;

constexpr std::string_view kFormat = "baekji.ledger.v2";

Digest digest_member(const json& body, const char* name) {
  return parse_digest(body.at(name).get<std::string>());
}
double bits_member(const json& body, const char* name) {
  return parse_double_bits(body.at(name).get<std::string>());
}

// nlohmann::json would convert true or 1.5 to an integer silently.
std::int64_t integer_member(const json& body, const char* name) {
  const json& value = body.at(name);
  // What does not fit would wrap around.
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<std::uint64_t>() > kMost) ||
      value.get<std::int64_t>() < 0)
    throw Error("a ledger record has a member of the wrong type")
        .values(std::string(name) + ": an integer from 0, below 2^63", value.dump());
  return value.get<std::int64_t>();
}

std::string text_member(const json& body, const char* name) {
  return body.at(name).get_ref<const std::string&>();
}
std::vector<std::string> texts_member(const json& body, const char* name) {
  std::vector<std::string> texts;
  if (!body.at(name).is_array()) throw Error("a ledger record has a member of the wrong type").values("an array", name);
  for (const json& text : body.at(name)) texts.push_back(text.get_ref<const std::string&>());
  return texts;
}

// Refuses members that are unknown or contradict one another: what was understood, written again, is the body.
void require_same_body(const json& written, std::string_view event, const json& body) {
  json whole = written;
  if (!event.empty()) whole["event"] = event;
  if (whole != body)
    throw Error("a ledger record has members that do not belong to it").values(whole.dump(), body.dump());
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
    require_same_body(genesis_body(record), {}, body);
    return record;
  });
}

json step_body(const StepRecord& record) {
  json body = {{"batch_root", to_hex(record.batch_root)},
               {"gradient_norm", double_bits(record.gradient_norm)},
               {"learning_rate", double_bits(record.learning_rate)},
               {"loss", double_bits(record.loss)},
               {"move", double_bits(record.move)},
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
    record.move = bits_member(body, "move");
    record.position = integer_member(body, "position");
    record.tokens = integer_member(body, "tokens");
    record.updates = integer_member(body, "updates");
    if (body.at("void").get<bool>()) record.void_tensor = body.at("void_tensor").get<std::string>();
    if (body.contains("state_root")) record.state_root = digest_member(body, "state_root");
    require_same_body(step_body(record), {}, body);
    return record;
  });
}

json start_details(const std::string& layout) {
  return {{"layout", layout}};
}

void parse_start_event(const json& body, const std::string& place) {
  parse_body("start event", place,
             [&] { require_same_body(start_details(text_member(body, "layout")), "start", body); });
}

json resume_details(const ResumeEvent& event) {
  constexpr std::size_t kMostProblems = 8, kMostTextBytes = 2000;
  json details = {{"step", event.step}, {"kernel_set", to_json_value(event.kernel_set)}, {"layout", event.layout}};
  if (event.torn_bytes > 0) details["torn_bytes"] = event.torn_bytes;
  for (std::size_t i = 0; i < std::min(event.problems.size(), kMostProblems); ++i) {
    std::string text = event.problems[i];
    if (text.size() > kMostTextBytes) {
      std::size_t end = kMostTextBytes;
      while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;  // not inside a character
      text.resize(end);
    }
    details["problems"].push_back(text);
  }
  return details;
}

ResumeEvent parse_resume_event(const json& body, const std::string& place) {
  return parse_body("resume event", place, [&] {
    ResumeEvent event{.step = integer_member(body, "step"),
                      .kernel_set = parse_kernel_set(body.at("kernel_set"), place),
                      .layout = text_member(body, "layout"),
                      .torn_bytes = 0,
                      .problems = {}};
    if (body.contains("torn_bytes")) event.torn_bytes = integer_member(body, "torn_bytes");
    json again = resume_details(event);
    if (body.contains("problems")) again["problems"] = texts_member(body, "problems");
    require_same_body(again, "resume", body);
    if (body.contains("problems")) event.problems = texts_member(body, "problems");
    return event;
  });
}

json checkpoint_details(const CheckpointEvent& event) {
  return {{"step", event.step}, {"state_root", to_hex(event.state_root)}};
}

CheckpointEvent parse_checkpoint_event(const json& body, const std::string& place) {
  return parse_body("checkpoint event", place, [&] {
    const CheckpointEvent event{.step = integer_member(body, "step"), .state_root = digest_member(body, "state_root")};
    require_same_body(checkpoint_details(event), "checkpoint", body);
    return event;
  });
}

json divergence_details(const DivergenceEvent& event) {
  return {{"step", event.step}, {"members", event.members}};
}

DivergenceEvent parse_divergence_event(const json& body, const std::string& place) {
  return parse_body("divergence event", place, [&] {
    const DivergenceEvent event{.step = integer_member(body, "step"), .members = texts_member(body, "members")};
    require_same_body(divergence_details(event), "divergence", body);
    return event;
  });
}

std::int64_t parse_reserved_event(const json& body, const std::string& place) {
  return parse_body("reserved event", place, [&] {
    json again = {{"event", body.at("event")}, {"step", integer_member(body, "step")}};
    if (body.contains("hosts")) {
      again["hosts"] = json::array();
      for (const std::string& host : texts_member(body, "hosts")) again["hosts"].push_back(to_hex(parse_digest(host)));
    }
    if (body.contains("details")) again["details"] = text_member(body, "details");
    require_same_body(again, {}, body);
    return integer_member(body, "step");
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
    const json range = {{"from", skip[0]}, {"to", skip[1]}};
    const RollbackEvent event{.to = integer_member(body, "to"),
                              .skip = {.from = integer_member(range, "from"), .to = integer_member(range, "to")}};
    require_same_body(rollback_details(event), "rollback", body);
    return event;
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
