#include "core/error.h"

namespace baekji {

Error& Error::compose() {
  text_ = problem_;
  if (!required_.empty() || !came_.empty()) text_ += "\n  required: " + required_ + "\n  came:     " + came_;
  if (!where_.empty()) text_ += "\n  where:    " + where_;
  if (!hint_.empty()) text_ += "\n  HINT:     " + hint_;
  return *this;
}

}  // namespace baekji
