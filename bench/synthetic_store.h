#pragma once
// Tokens for a benchmark on a machine that has no corpus.

#include "trainer/experiment.h"

namespace baekji::bench {

/// Writes the tokenizer file and the token stores that the experiment names and that are not there: 2^20 ids for each
/// source (2 MiB), uniform over the model's vocabulary from a fixed seed, in documents of 4,096. The tokenizer file is
/// a line of text that says so: nothing can be tokenised with it. Files that are there are left alone. The time of a
/// step does not depend on which ids it reads, except that the embedding's gradient has no frequent rows here.
void make_missing_stores(const Experiment& experiment);

}  // namespace baekji::bench
