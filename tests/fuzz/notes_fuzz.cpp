// Any bytes as a signed note: an Error, or a note that can be written again, and whose text is one of those that a run
// has, as it came, or an Error.

#include <cstdlib>

#include "core/error.h"
#include "proof/contract_note.h"
#include "proof/log.h"
#include "proof/log_keys.h"

namespace {

// A text that a reader takes has one spelling.
template <class Parse, class Write>
void try_text(const std::string& text, const Parse& parse, const Write& write) {
  std::string again;
  try {
    again = write(parse());
  } catch (const baekji::Error&) {
    return;  // another kind of note
  }
  if (again != text) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  baekji::SignedNote note;
  try {
    note = baekji::parse_note(bytes, "input");
    (void)baekji::parse_note(baekji::write_note(note), "again");
  } catch (const baekji::Error&) {
    return 0;  // the expected answer to most inputs
  }
  const std::string& text = note.text;
  try_text(
      text, [&] { return baekji::parse_contract_note(note, "input"); }, baekji::contract_note_text);
  try_text(
      text, [&] { return baekji::parse_checkpoint_text(text, "input"); }, baekji::checkpoint_text);
  try_text(
      text, [&] { return baekji::parse_opening(text, "input"); }, baekji::opening_text);
  try_text(
      text, [&] { return baekji::parse_hand_over(text, "input"); }, baekji::hand_over_text);
  try_text(
      text, [&] { return baekji::parse_revocation(text, "input"); }, baekji::revocation_text);
  return 0;
}
