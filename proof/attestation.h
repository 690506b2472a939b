#pragma once
// Signed statements about a run: in-toto Statements, version 1, in DSSE envelopes, and the Sigstore bundle by which
// OpenSSF model signing binds the files of a model. docs/formats/attestation.md fixes what stands in them.

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/digest.h"
#include "core/ecdsa.h"

namespace baekji {

inline constexpr std::string_view kContractPredicate = "https://baekji/attestation/contract/v2";
inline constexpr std::string_view kChainPredicate = "https://baekji/attestation/chain/v2";
inline constexpr std::string_view kReleasePredicate = "https://baekji/attestation/release/v2";
inline constexpr std::string_view kModelSignaturePredicate = "https://model_signing/signature/v1.0";

/// Something that a statement is about: a file, by its path inside its folder, or a line.
struct AttestedSubject {
  std::string name;
  Digest digest{};
};

/// An in-toto Statement. The predicate holds no floating-point numbers.
nlohmann::json in_toto_statement(std::span<const AttestedSubject> subjects, std::string_view predicate_type,
                                 const nlohmann::json& predicate);

/// What a DSSE signature is made over: "DSSEv1 <length> <type> <length> <payload>", lengths in decimal.
std::string dsse_signed_bytes(std::string_view payload_type, std::string_view payload);

/// The name of a public key: SHA-256 of its PEM text, in hex. Verifiers of model signing compare it.
std::string key_hint(const EcdsaKey& key);
std::string key_hint(const EcdsaPublicKey& key);

/// The envelope of a statement, which becomes canonical JSON.
nlohmann::json dsse_envelope(const nlohmann::json& statement, const EcdsaKey& key);

/// The statement in an envelope: its signature holds under this key, and it is an in-toto Statement in canonical JSON,
/// with subjects that have a name and a SHA-256 each, and no members that docs/formats/attestation.md does not name.
/// Throws an Error that names what is wrong; `place` says where the text came from.
nlohmann::json open_dsse(std::string_view text, const EcdsaPublicKey& key, const std::string& place);

/// What model.sig calls the model: nothing but the run and the step, so that no other name can be signed.
std::string model_signature_name(const Digest& contract, std::int64_t step);
/// The statement of model signing over these files. They are put in the order of their paths' parts, which decides the
/// model's digest; those that a verifier leaves out (model.sig, .git...) must not be among them.
nlohmann::json model_signature_statement(const std::string& model_name, std::span<const AttestedSubject> files);
/// Whether a verifier of such a statement leaves this path out.
bool ignored_by_model_signature(std::string_view path);

/// The subjects of a statement that open_dsse() gave.
std::vector<AttestedSubject> subjects_of(const nlohmann::json& statement);

/// model.sig: the statement's envelope with the key's hint, as a Sigstore bundle, version 0.3; and the statement in
/// one, as of open_dsse().
nlohmann::json sigstore_bundle(const nlohmann::json& statement, const EcdsaKey& key);
nlohmann::json open_sigstore_bundle(std::string_view text, const EcdsaPublicKey& key, const std::string& place);

}  // namespace baekji
