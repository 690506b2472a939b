// Any bytes as a signed note: an Error, or a note that is written as it came, and whose text is a contract's or a log
// checkpoint's, or an Error.

#include <cstdlib>

#include "core/error.h"
#include "proof/log.h"
#include "proof/signed_note.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  baekji::SignedNote note;
  try {
    note = baekji::parse_note(bytes, "input");
    (void)baekji::parse_note(baekji::write_note(note), "again");
  } catch (const baekji::Error&) {
    return 0;  // the expected answer to most inputs
  }
  try {
    (void)baekji::contract_of_note(note, "input");
  } catch (const baekji::Error&) {
    // a checkpoint's
  }
  try {
    const baekji::LogCheckpoint checkpoint = baekji::parse_checkpoint_text(note.text, "input");
    if (baekji::checkpoint_text(checkpoint) != note.text) std::abort();
  } catch (const baekji::Error&) {
    // a contract's
  }
  return 0;
}
