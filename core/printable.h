#pragma once
// Text of unknown origin made safe to show: a name in a file must not move the cursor, forge a line of a report, or
// turn the direction of what stands after it.

#include <string>
#include <string_view>

namespace baekji {

/// `text` with everything that is not plain visible text escaped: control characters (tab and newline too), DEL, C1,
/// line separators, marks and overrides of the writing direction, invisible marks ("\x1b", "\u{202e}"), and bytes that
/// are not UTF-8 ("\xff").
std::string printable(std::string_view text);

/// The same for text of several lines that the program put together: a newline stays where two blanks follow it, which
/// is how an error's own lines begin; so no text can begin a line of its own at the left edge. What is longer than
/// 16 KiB is cut, and says so.
std::string printable_lines(std::string_view text);

/// The same for text that may have lines: newlines and tabs stay.
std::string printable_text(std::string_view text);

}  // namespace baekji
