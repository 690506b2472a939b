#include "core/float_environment.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#else
#include <cfenv>
#endif

#include <cstdint>
#include <vector>

#include "core/error.h"

namespace baekji {
namespace {

#if defined(__x86_64__)
// Everything of MXCSR but the sticky flags: denormals are zero (6), masks of exceptions (7-12), rounding (13, 14),
// flush to zero (15). And of the x87 control word, which `long double` is computed under: precision (8, 9), rounding
// (10, 11).
constexpr std::uint32_t kMxcsrControl = 0xFFC0;
constexpr std::uint32_t kMxcsr = 0x1F80;
constexpr std::uint16_t kX87Control = 0x0F00;
constexpr std::uint16_t kX87 = 0x0300;

struct Registers {
  std::uint32_t mxcsr = 0;
  std::uint16_t x87 = 0;
};
Registers read_registers() {
  Registers r;
  r.mxcsr = _mm_getcsr();
  asm volatile("fnstcw %0" : "=m"(r.x87));
  return r;
}
bool as_it_should_be(const Registers& r) {
  return (r.mxcsr & kMxcsrControl) == kMxcsr && (r.x87 & kX87Control) == kX87;
}
void write_registers(const Registers& r) {
  _mm_setcsr((r.mxcsr & ~kMxcsrControl) | kMxcsr);
  const auto x87 = static_cast<std::uint16_t>((r.x87 & ~kX87Control) | kX87);
  asm("fldcw %0" : : "m"(x87));
}
std::string describe(const Registers& r) {
  constexpr const char* kRounding[] = {"to nearest", "down", "up", "toward 0"};
  std::vector<std::string> found;
  if ((r.mxcsr & 0x8000U) != 0) found.emplace_back("subnormal results become 0");
  if ((r.mxcsr & 0x0040U) != 0) found.emplace_back("subnormal operands count as 0");
  if ((r.mxcsr & 0x6000U) != 0) found.push_back(fmt::format("rounding {}", kRounding[(r.mxcsr >> 13U) & 3U]));
  if ((r.mxcsr & 0x1F80U) != 0x1F80U) found.emplace_back("exceptions trap");
  if ((r.x87 & kX87Control) != kX87) found.emplace_back("another precision or rounding of long double");
  return fmt::format("{} (MXCSR {:#06x}, x87 {:#06x})", fmt::join(found, ", "), r.mxcsr, r.x87);
}
#elif defined(__aarch64__)
// FPCR: FIZ (0), AH (1), NEP (2), trap enables (8-12, 15), FZ16 (19), rounding (22, 23), FZ (24), DN (25), AHP (26).
constexpr std::uint64_t kFpcrControl = 0x07C89F07;

using Registers = std::uint64_t;
Registers read_registers() {
  std::uint64_t fpcr = 0;
  asm volatile("mrs %0, fpcr" : "=r"(fpcr));
  return fpcr;
}
bool as_it_should_be(Registers fpcr) {
  return (fpcr & kFpcrControl) == 0;
}
void write_registers(Registers fpcr) {
  asm("msr fpcr, %0" : : "r"(fpcr & ~kFpcrControl));
}
std::string describe(Registers fpcr) {
  std::vector<std::string> found;
  if ((fpcr & (std::uint64_t{1} << 24U)) != 0) found.emplace_back("subnormal numbers count as 0");
  if ((fpcr & (std::uint64_t{3} << 22U)) != 0) found.emplace_back("rounding other than to nearest");
  return fmt::format("{} (FPCR {:#x})", fmt::join(found, ", "), fpcr);
}
#else
using Registers = int;
Registers read_registers() {
  return std::fegetround();
}
bool as_it_should_be(Registers rounding) {
  return rounding == FE_TONEAREST;
}
void write_registers(Registers /*rounding*/) {
  std::fesetround(FE_TONEAREST);
}
std::string describe(Registers rounding) {
  return fmt::format("rounding other than to nearest ({})", rounding);
}
#endif

}  // namespace

void set_float_environment() {
  const Registers registers = read_registers();
  if (!as_it_should_be(registers)) write_registers(registers);
}

std::string float_environment_problem() {
  const Registers registers = read_registers();
  return as_it_should_be(registers) ? std::string() : describe(registers);
}

void require_float_environment(std::string_view place) {
  const Registers registers = read_registers();
  if (as_it_should_be(registers)) return;
  throw Error("something changed the floating-point environment while we computed")
      .values("rounding to nearest, subnormal numbers kept", describe(registers))
      .at(place)
      .hint(
          "look for a library or plugin that sets flush-to-zero or the rounding mode; what this step computed is lost");
}

}  // namespace baekji
