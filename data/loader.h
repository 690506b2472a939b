#pragma once
// Loader: fills a step's tensors from the token stores in the batch order; and the validation split.

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "data/batch_order.h"
#include "data/data_config.h"
#include "data/token_store.h"

namespace baekji {

/// B sequences of T tokens, all int32, contiguous, *overwritten*. position_BT and first_BT may be undefined: then they
/// are not written.
struct Batch {
  Tensor token_BT;
  Tensor target_BT;    ///< the token after each
  Tensor position_BT;  ///< with document_mask: counted from the start of the document (or of the sequence); else 0 .. T
                       ///< - 1
  Tensor first_BT;     ///< first token of the sequence that each token may attend to: 0, or where its document starts
};

/// Opens the stores of all sources in order. Throws when one cannot be opened, was made with another tokenizer, or has
/// ids beyond `vocabulary` (the model's).
std::vector<TokenStore> open_sources(const DataConfig& config, const Digest& tokenizer_digest, std::int64_t vocabulary);
/// What the batch order needs to know of them.
std::vector<OrderSource> order_sources(const DataConfig& config, const std::vector<TokenStore>& stores);

/// Const members are safe to call from any thread. Holds no position: what it returns depends on its arguments alone.
class Loader {
 public:
  /// `stores` in the order of `order.sources()`; throws when their counts or training tokens disagree.
  Loader(std::vector<TokenStore> stores, BatchOrder order, bool document_mask);

  const BatchOrder& order() const { return order_; }
  const std::vector<TokenStore>& stores() const { return stores_; }

  /// Sequences [first_index, first_index + count) of `step` (from 1) into a batch of [count, context of the step's
  /// stage]. `leaves`, when not empty, take the leaf of each in the step's batch root, hashed from what the batch then
  /// holds.
  void read(std::int64_t step, std::int64_t first_index, std::int64_t count, const Batch& batch,
            std::span<Digest> leaves = {}) const;

  /// The leaf of a sequence, and the batch root of a step, as the stores have them: docs/formats/batch-order.md.
  Digest sequence_leaf(std::int64_t step, std::int64_t index) const;
  Digest batch_root(std::int64_t step) const;

  /// Whole sequences of `context` tokens in the validation split of `source`; they follow one another without overlap.
  std::int64_t validation_sequences(int source, std::int64_t context) const;
  /// Validation sequences [first, first + count) of `source` into a batch of [count, context].
  void read_validation(int source, std::int64_t first, std::int64_t count, const Batch& batch) const;

 private:
  void fill(const TokenStore& store, std::int64_t begin, std::int64_t row, const Batch& batch) const;

  std::vector<TokenStore> stores_;
  BatchOrder order_;
  bool document_mask_;
};

}  // namespace baekji
