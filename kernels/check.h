#pragma once
// What every back end demands of the arguments of an operation: the shapes that kernels.h states, checked in one place.
// A violation throws Error with both values and the operation's name. Element types are checked where data is accessed.

#include <cstdint>
#include <string_view>

#include "kernels/kernels.h"

namespace baekji {

void check_arguments(const MatmulArgs& args);
void check_arguments(const AbsoluteMaxArgs& args);
void check_arguments(const QuantiseArgs& args);
void check_arguments(const RmsNormForwardArgs& args);
void check_arguments(const RmsNormBackwardArgs& args);
void check_arguments(const RopeForwardArgs& args);
void check_arguments(const RopeBackwardArgs& args);
void check_arguments(const AttentionForwardArgs& args);
void check_arguments(const AttentionBackwardArgs& args);
void check_arguments(const SwigluForwardArgs& args);
void check_arguments(const SwigluBackwardArgs& args);
void check_arguments(const EmbeddingForwardArgs& args);
void check_arguments(const EmbeddingBackwardArgs& args);
void check_arguments(const LogitsMaxArgs& args);
void check_arguments(const LogitsExpSumArgs& args);
void check_arguments(const LogitsGradientArgs& args);
void check_arguments(const TokenLossArgs& args);
void check_arguments(const TreeAddArgs& args);
void check_arguments(const CastArgs& args);
void check_arguments(const CopyArgs& args);
void check_arguments(const UploadArgs& args);
void check_arguments(const DownloadArgs& args);
void check_arguments(const SequenceLossArgs& args);
void check_arguments(const FixedPointArgs& args);
void check_arguments(const SquareSumArgs& args);
void check_arguments(const AdamwArgs& args);

/// Throws unless 0 <= position < positions: a table row that is there.
void check_position(std::int64_t position, std::int64_t positions);

}  // namespace baekji
