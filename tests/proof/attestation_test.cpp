#include "proof/attestation.h"

#include "core/base64.h"
#include "core/error.h"
#include "proof/contract.h"
#include "tests/proof/openssl.h"

namespace baekji {
namespace {

using nlohmann::json;

class AttestationTest : public OpensslTest {
 protected:
  EcdsaKey key() const { return EcdsaKey::load(folder_ / "key.pem"); }
};

TEST_F(AttestationTest, StockOpensslVerifiesASignatureAndRefusesAnotherMessage) {
  const std::string signature = key().sign("a blank page");
  EXPECT_TRUE(verifies("a blank page", signature));
  EXPECT_FALSE(verifies("a blank pages", signature));
  EXPECT_EQ(key().public_pem(), read("pub.pem"));
}

TEST_F(AttestationTest, OtherKeysAreRefusedWithAWayToMakeOne) {
  ASSERT_TRUE(openssl("genpkey -algorithm ed25519 -out ed.pem"));
  ASSERT_TRUE(openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out p384.pem"));
  ASSERT_TRUE(openssl("pkey -in key.pem -aes256 -passout pass:x -out locked.pem"));
  write("empty.pem", "");
  for (const char* name : {"ed.pem", "p384.pem", "locked.pem", "pub.pem", "empty.pem"}) {
    try {
      EcdsaKey::load(folder_ / name);
      ADD_FAILURE() << name << " was taken";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("openssl "), std::string::npos) << error.what();
      EXPECT_NE(error.where().find(name), std::string::npos);
    }
  }
}

TEST_F(AttestationTest, EnvelopeHoldsACanonicalStatementThatStockOpensslVerifies) {
  const AttestedSubject subject{.name = "contract.json", .digest = sha256("c")};
  const json statement = in_toto_statement(std::span(&subject, 1), kContractPredicate, {{"step", 3}});
  const json envelope = dsse_envelope(statement, key());
  EXPECT_EQ(envelope.at("payloadType"), "application/vnd.in-toto+json");
  const std::string payload = open_envelope(envelope);
  EXPECT_EQ(payload, canonical_json(statement));
  EXPECT_EQ(json::parse(payload).at("_type"), "https://in-toto.io/Statement/v1");
  EXPECT_EQ(json::parse(payload).at("subject").at(0).at("digest").at("sha256"), to_hex(sha256("c")));

  json changed = envelope;
  changed["payload"] = encode_base64(payload + " ");
  EXPECT_EQ(open_envelope(changed), "");
}

TEST_F(AttestationTest, AStatementNeedsASubject) {
  EXPECT_THROW(in_toto_statement({}, kContractPredicate, json::object()), Error);
}

TEST(ModelSignatureTest, FilesStandInTheOrderOfTheirPartsAndMakeTheModelsDigest) {
  const std::vector<AttestedSubject> files{{.name = "b.json", .digest = sha256("1")},
                                           {.name = "a.txt", .digest = sha256("2")},
                                           {.name = "a/z", .digest = sha256("3")}};
  const json statement = model_signature_statement("tiny", files);
  const json& predicate = statement.at("predicate");
  std::string order;
  std::string bytes;
  for (const json& resource : predicate.at("resources")) {
    order += resource.at("name").get<std::string>() + " ";
    EXPECT_EQ(resource.at("algorithm"), "sha256");
    for (const std::uint8_t byte : parse_digest(resource.at("digest").get<std::string>()))
      bytes.push_back(static_cast<char>(byte));
  }
  EXPECT_EQ(order, "a/z a.txt b.json ");
  EXPECT_EQ(statement.at("subject").at(0).at("digest").at("sha256"), to_hex(sha256(bytes)));
  EXPECT_EQ(predicate.at("serialization").at("method"), "files");
  EXPECT_EQ(predicate.at("serialization").at("hash_type"), "sha256");
}

TEST(ModelSignatureTest, FilesThatVerifiersLeaveOutCannotBeSigned) {
  for (const char* name : {"model.sig", ".git/config", ".gitignore"}) {
    EXPECT_TRUE(ignored_by_model_signature(name));
    const AttestedSubject file{.name = name};
    EXPECT_THROW(model_signature_statement("tiny", std::span(&file, 1)), Error) << name;
  }
  EXPECT_FALSE(ignored_by_model_signature("config.json"));
}

TEST_F(AttestationTest, BundleNamesTheKeyByTheDigestOfItsPublicPem) {
  const AttestedSubject file{.name = "config.json", .digest = sha256("x")};
  const json bundle = sigstore_bundle(model_signature_statement("tiny", std::span(&file, 1)), key());
  EXPECT_EQ(bundle.at("mediaType"), "application/vnd.dev.sigstore.bundle.v0.3+json");
  EXPECT_EQ(bundle.at("verificationMaterial").at("publicKey").at("hint"), to_hex(sha256(read("pub.pem"))));
  EXPECT_EQ(json::parse(open_envelope(bundle.at("dsseEnvelope"))).at("predicateType"), kModelSignaturePredicate);
}

}  // namespace
}  // namespace baekji
