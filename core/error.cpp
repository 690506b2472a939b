#include "core/error.h"

#include "core/printable.h"

namespace baekji {

Error& Error::compose() {
  text_ = printable_lines(problem_);
  if (!required_.empty() || !came_.empty())
    text_ += "\n  required: " + printable_lines(required_) + "\n  came:     " + printable_lines(came_);
  if (!where_.empty()) text_ += "\n  where:    " + printable_lines(where_);
  if (!hint_.empty()) text_ += "\n  HINT:     " + printable_lines(hint_);
  return *this;
}

}  // namespace baekji
