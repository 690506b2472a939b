#include "proof/attestation.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "core/base64.h"
#include "core/error.h"
#include "core/untrusted_json.h"
#include "proof/contract.h"

namespace baekji {
namespace {

using nlohmann::json;

constexpr std::string_view kStatementType = "https://in-toto.io/Statement/v1";
constexpr std::string_view kPayloadType = "application/vnd.in-toto+json";
constexpr std::string_view kBundleType = "application/vnd.dev.sigstore.bundle.v0.3+json";
// What the stock signer leaves out, and so the stock verifier: the signature itself and what git keeps beside files.
constexpr std::array<std::string_view, 5> kIgnoredPaths{".git", ".gitattributes", ".github", ".gitignore", "model.sig"};

std::string text_of(const Digest& digest) {
  std::string bytes;
  for (const std::uint8_t byte : digest) bytes.push_back(static_cast<char>(byte));
  return bytes;
}

// Paths compare part by part ("a/b" stands before "a.txt"), as the verifier compares them.
bool path_less(const AttestedSubject& a, const AttestedSubject& b) {
  const std::filesystem::path x(a.name);
  const std::filesystem::path y(b.name);
  return std::lexicographical_compare(x.begin(), x.end(), y.begin(), y.end(),
                                      [](const auto& p, const auto& q) { return p.string() < q.string(); });
}

bool is_subject(const json& subject) {
  if (!subject.is_object() || subject.size() != 2 || !subject.contains("name") || !subject["name"].is_string())
    return false;
  const json digest = subject.value("digest", json());
  if (!digest.is_object() || digest.size() != 1 || !digest.contains("sha256") || !digest["sha256"].is_string())
    return false;
  const auto text = digest["sha256"].get<std::string>();
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// Members that nobody knows would be signed, and checked by nobody.
bool is_statement(const json& statement) {
  if (!statement.is_object() || statement.size() != 4 || statement.value("_type", json()) != kStatementType)
    return false;
  const json subjects = statement.value("subject", json());
  return subjects.is_array() && !subjects.empty() && std::all_of(subjects.begin(), subjects.end(), is_subject) &&
         statement.value("predicateType", json()).is_string() && statement.value("predicate", json()).is_object();
}

}  // namespace

json in_toto_statement(std::span<const AttestedSubject> subjects, std::string_view predicate_type,
                       const json& predicate) {
  if (subjects.empty()) throw Error("a statement is about something").values("a subject", "none");
  json list = json::array();
  for (const AttestedSubject& subject : subjects)
    list.push_back({{"name", subject.name}, {"digest", {{"sha256", to_hex(subject.digest)}}}});
  return {{"_type", kStatementType}, {"subject", list}, {"predicateType", predicate_type}, {"predicate", predicate}};
}

std::string dsse_signed_bytes(std::string_view payload_type, std::string_view payload) {
  return fmt::format("DSSEv1 {} {} {} {}", payload_type.size(), payload_type, payload.size(), payload);
}

std::string key_hint(const EcdsaKey& key) {
  return to_hex(sha256(key.public_pem()));
}

std::string key_hint(const EcdsaPublicKey& key) {
  return to_hex(sha256(key.pem()));
}

json dsse_envelope(const json& statement, const EcdsaKey& key) {
  const std::string payload = canonical_json(statement);
  const std::string signature = key.sign(dsse_signed_bytes(kPayloadType, payload));
  return {{"payload", encode_base64(payload)},
          {"payloadType", kPayloadType},
          {"signatures", json::array({{{"keyid", key_hint(key)}, {"sig", encode_base64(signature)}}})}};
}

// As `baekji attest` writes it: canonical JSON and a newline. Anything that two readers could take for two things is
// refused.
json parse_written(std::string_view text, const std::string& place) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  return parse_canonical_json(text, place);
}

json open_dsse(std::string_view text, const EcdsaPublicKey& key, const std::string& place) {
  const json envelope = parse_written(text, place);
  std::optional<std::string> payload, signature;
  std::string signer;
  try {
    if (envelope.is_object() && envelope.at("payloadType") == kPayloadType && envelope.at("signatures").size() == 1) {
      payload = decode_base64(envelope.at("payload").get<std::string>());
      signer = envelope.at("signatures").at(0).at("keyid").get<std::string>();
      signature = decode_base64(envelope.at("signatures").at(0).at("sig").get<std::string>());
    }
  } catch (const json::exception&) {
    payload.reset();
  }
  if (!payload || !signature)
    throw Error("not an envelope").values("a DSSE envelope with one signature", "something else").at(place);
  const json whole{{"payload", encode_base64(*payload)},
                   {"payloadType", kPayloadType},
                   {"signatures", json::array({{{"keyid", signer}, {"sig", encode_base64(*signature)}}})}};
  if (envelope != whole)
    throw Error("an envelope has members that do not belong to it")
        .values("payload, payloadType and one signature of keyid and sig", envelope.dump().substr(0, 300))
        .at(place);
  require_equal(key_hint(key), signer, "an envelope is signed by another key", place);
  if (!key.verifies(dsse_signed_bytes(kPayloadType, *payload), *signature))
    throw Error("the signature of an envelope does not hold").values("that of the given key", "another").at(place);
  json statement = parse_canonical_json(*payload, place);
  if (!is_statement(statement))
    throw Error("not a statement").values(std::string(kStatementType), payload->substr(0, 200)).at(place);
  return statement;
}

std::vector<AttestedSubject> subjects_of(const json& statement) {
  std::vector<AttestedSubject> subjects;
  for (const json& subject : statement.at("subject"))
    subjects.push_back({.name = subject.at("name").get<std::string>(),
                        .digest = parse_digest(subject.at("digest").at("sha256").get<std::string>())});
  return subjects;
}

bool ignored_by_model_signature(std::string_view path) {
  const std::string first = std::filesystem::path(path).begin()->string();
  return std::find(kIgnoredPaths.begin(), kIgnoredPaths.end(), first) != kIgnoredPaths.end();
}

std::string model_signature_name(const Digest& contract, std::int64_t step) {
  return fmt::format("baekji-{}-step-{}", to_hex(contract), step);
}

json model_signature_statement(const std::string& model_name, std::span<const AttestedSubject> files) {
  std::vector<AttestedSubject> sorted(files.begin(), files.end());
  std::sort(sorted.begin(), sorted.end(), path_less);
  Sha256 model;
  json resources = json::array();
  for (const AttestedSubject& file : sorted) {
    if (ignored_by_model_signature(file.name)) {
      throw Error("a file cannot be signed, because verifiers leave it out").values("another name", file.name);
    }
    model.add(text_of(file.digest));
    resources.push_back({{"name", file.name}, {"algorithm", "sha256"}, {"digest", to_hex(file.digest)}});
  }
  const AttestedSubject subject{.name = model_name, .digest = model.finish()};
  return in_toto_statement(
      std::span(&subject, 1), kModelSignaturePredicate,
      {{"serialization",
        {{"method", "files"}, {"hash_type", "sha256"}, {"allow_symlinks", false}, {"ignore_paths", kIgnoredPaths}}},
       {"resources", resources}});
}

json sigstore_bundle(const json& statement, const EcdsaKey& key) {
  return {{"mediaType", kBundleType},
          {"verificationMaterial", {{"publicKey", {{"hint", key_hint(key)}}}, {"tlogEntries", json::array()}}},
          {"dsseEnvelope", dsse_envelope(statement, key)}};
}

json open_sigstore_bundle(std::string_view text, const EcdsaPublicKey& key, const std::string& place) {
  const json bundle = parse_written(text, place);
  const json envelope = bundle.is_object() ? bundle.value("dsseEnvelope", json()) : json();
  const json expected{
      {"mediaType", kBundleType},
      {"verificationMaterial", {{"publicKey", {{"hint", key_hint(key)}}}, {"tlogEntries", json::array()}}},
      {"dsseEnvelope", envelope}};
  if (!envelope.is_object() || bundle != expected)
    throw Error("not a bundle of this key")
        .values(std::string(kBundleType) + ", with its hint", "something else")
        .at(place);
  return open_dsse(envelope.dump(), key, place);
}

}  // namespace baekji
