#include "core/pem_key.h"

#include <openssl/err.h>

#include "core/error.h"
#include "core/file_system.h"
#include "core/types.h"
#include "core/untrusted_file.h"

namespace baekji {
namespace {

// What OpenSSL calls for a password: there is none, and nobody at a run to type one.
int note_encryption(char* /*buffer*/, int /*size*/, int /*writing*/, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

void require_half(const PemKeyArgs& args, const std::string& pem) {
  const bool holds_private = pem.find("PRIVATE KEY-----") != std::string::npos;
  const bool holds_public = pem.find("BEGIN PUBLIC KEY-----") != std::string::npos;
  if (args.is_private ? !holds_public || holds_private : !holds_private) return;
  throw Error("the key file holds the other half of a key")
      .values(args.what, holds_private ? "a private key" : "a public key")
      .at(args.path.string())
      .hint(args.hint);
}

}  // namespace

void require_openssl(bool ok, const char* action) {
  if (!ok) throw Error(fmt::format("OpenSSL could not {}", action));
}

const unsigned char* octets(std::string_view bytes) {
  return static_cast<const unsigned char*>(static_cast<const void*>(bytes.data()));
}

Openssl<EVP_PKEY> read_pem_key(const PemKeyArgs& args) {
  const std::string wanted = std::string(args.what) + ", as PEM";
  const std::string place = args.path.string();
  if (!posix_file_system().exists(args.path))
    throw Error("there is no key file").values(wanted, "no file").at(place).hint(args.hint);
  const std::string pem = read_untrusted(args.path, kMostKeyBytes);
  require_half(args, pem);
  const Openssl<BIO> bio(BIO_new_mem_buf(pem.data(), narrow<int>(pem.size())));
  require_openssl(bio != nullptr, "open a key in memory");
  bool asked = false;
  Openssl<EVP_PKEY> key(args.is_private ? PEM_read_bio_PrivateKey(bio.get(), nullptr, &note_encryption, &asked)
                                        : PEM_read_bio_PUBKEY(bio.get(), nullptr, &note_encryption, &asked));
  ERR_clear_error();
  if (asked) {
    throw Error("the key file is encrypted")
        .values("a key without a password", "one with a password")
        .at(place)
        .hint(
            "openssl pkey -in KEY.pem -out OPEN.pem takes the password off; keep the file where only the run reads it");
  }
  if (key == nullptr) throw Error("not a key file").values(wanted, "no such key").at(place).hint(args.hint);
  if (EVP_PKEY_is_a(key.get(), args.type) != 1) {
    const char* const name = EVP_PKEY_get0_type_name(key.get());
    throw Error("a key of another kind")
        .values(args.what, name == nullptr ? "another" : name)
        .at(place)
        .hint(args.hint);
  }
  return key;
}

}  // namespace baekji
