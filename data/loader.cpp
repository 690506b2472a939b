#include "data/loader.h"

#include <algorithm>

#include "core/error.h"

namespace baekji {
namespace {

void check_tensor(const Tensor& tensor, std::int64_t count, std::int64_t context, std::string_view name) {
  if (tensor.type() == DType::kInt32 && tensor.rank() == 2 && tensor.dim(0) == count && tensor.dim(1) == context &&
      tensor.contiguous()) {
    return;
  }
  throw Error("a batch tensor has the wrong shape")
      .values(fmt::format("int32[{}, {}], contiguous", count, context), tensor.describe())
      .at(name);
}

void check_batch(const Batch& batch, std::int64_t count, std::int64_t context) {
  check_tensor(batch.token_BT, count, context, "token_BT");
  check_tensor(batch.target_BT, count, context, "target_BT");
  if (batch.position_BT.defined()) check_tensor(batch.position_BT, count, context, "position_BT");
  if (batch.first_BT.defined()) check_tensor(batch.first_BT, count, context, "first_BT");
}

}  // namespace

std::vector<TokenStore> open_sources(const DataConfig& config, const Digest& tokenizer_digest,
                                     std::int64_t vocabulary) {
  std::vector<TokenStore> stores;
  for (const SourceConfig& source : config.sources) {
    TokenStore store = TokenStore::open(source.path);
    store.require_tokenizer(tokenizer_digest, config.tokenizer);
    if (store.vocabulary() > vocabulary) {
      throw Error("the token store has ids beyond the model's vocabulary")
          .values(fmt::format("model vocab = {}", vocabulary), fmt::format("store vocabulary = {}", store.vocabulary()))
          .at(fmt::format("source '{}', {}", source.name, source.path))
          .hint(fmt::format("set model.vocab to at least {}", store.vocabulary()));
    }
    stores.push_back(std::move(store));
  }
  return stores;
}

std::vector<OrderSource> order_sources(const DataConfig& config, const std::vector<TokenStore>& stores) {
  require_equal(config.sources.size(), stores.size(), "every source needs its store", "order_sources");
  std::vector<OrderSource> sources;
  for (std::size_t s = 0; s < stores.size(); ++s) {
    sources.push_back({.name = config.sources[s].name, .train_tokens = stores[s].train_tokens()});
  }
  return sources;
}

Loader::Loader(std::vector<TokenStore> stores, BatchOrder order, bool document_mask)
    : stores_(std::move(stores)), order_(std::move(order)), document_mask_(document_mask) {
  require_equal(order_.sources().size(), stores_.size(), "the batch order and the loader have different sources",
                "loader");
  for (std::size_t s = 0; s < stores_.size(); ++s) {
    require_equal(order_.sources()[s].train_tokens, stores_[s].train_tokens(),
                  "the batch order was made for another number of training tokens", stores_[s].path().string());
  }
}

void Loader::read(std::int64_t step, std::int64_t first_index, std::int64_t count, const Batch& batch,
                  std::span<Digest> leaves) const {
  const std::int64_t context = order_.stage(step).context;
  check_batch(batch, count, context);
  if (!leaves.empty()) require_equal(count, std::ssize(leaves), "one leaf for each sequence", "loader");
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < count; ++i) {
    const SequencePosition at = order_.at(step, first_index + i);
    fill(stores_[static_cast<std::size_t>(at.source)], at.begin, i, batch);
    if (leaves.empty()) continue;
    const std::int32_t* const inputs = batch.token_BT.as<std::int32_t>() + i * context;
    tokens.assign(inputs, inputs + context);
    tokens.push_back(batch.target_BT.as<std::int32_t>()[(i + 1) * context - 1]);
    leaves[static_cast<std::size_t>(i)] = merkle_leaf(sequence_bytes(at, tokens));
  }
}

Digest Loader::sequence_leaf(std::int64_t step, std::int64_t index) const {
  const SequencePosition at = order_.at(step, index);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(at.length) + 1);
  stores_[static_cast<std::size_t>(at.source)].read(at.begin, std::ssize(tokens), tokens.data());
  return merkle_leaf(sequence_bytes(at, tokens));
}

Digest Loader::batch_root(std::int64_t step) const {
  MerkleBuilder tree;
  for (std::int64_t i = 0; i < order_.stage(step).global_batch; ++i) tree.add(sequence_leaf(step, i));
  return tree.root();
}

std::int64_t Loader::validation_sequences(int source, std::int64_t context) const {
  if (context < 1)
    throw Error("the context of a validation sequence is out of range").values(">= 1", fmt::format("{}", context));
  const TokenStore& store = stores_.at(static_cast<std::size_t>(source));
  return std::max(store.tokens() - store.train_tokens() - 1, std::int64_t{0}) / context;
}

void Loader::read_validation(int source, std::int64_t first, std::int64_t count, const Batch& batch) const {
  const std::int64_t context = batch.token_BT.dim(1);
  check_batch(batch, count, context);
  const std::int64_t available = validation_sequences(source, context);
  if (first < 0 || count < 0 || first > available - count) {
    throw Error("validation sequences outside the split were asked for")
        .values(fmt::format("0..{}", available), fmt::format("{}..{}", first, first + count))
        .at(order_.sources()[static_cast<std::size_t>(source)].name);
  }
  const TokenStore& store = stores_[static_cast<std::size_t>(source)];
  for (std::int64_t i = 0; i < count; ++i) fill(store, store.train_tokens() + (first + i) * context, i, batch);
}

void Loader::fill(const TokenStore& store, std::int64_t begin, std::int64_t row, const Batch& batch) const {
  const std::int64_t context = batch.token_BT.dim(1);
  std::int32_t* token = batch.token_BT.as<std::int32_t>() + row * context;
  std::int32_t* target = batch.target_BT.as<std::int32_t>() + row * context;
  store.read(begin, context, token);
  std::copy(token + 1, token + context, target);
  store.read(begin + context, 1, target + context - 1);

  std::int32_t* position = batch.position_BT.defined() ? batch.position_BT.as<std::int32_t>() + row * context : nullptr;
  std::int32_t* first = batch.first_BT.defined() ? batch.first_BT.as<std::int32_t>() + row * context : nullptr;
  if (position == nullptr && first == nullptr) return;
  std::int64_t document = document_mask_ ? store.document_of(begin) : 0;
  for (std::int64_t done = 0; done < context;) {
    // [done, end) belongs to one document (to the whole sequence without a mask).
    const std::int64_t end = document_mask_ ? std::min(store.document_begin(++document) - begin, context) : context;
    for (std::int64_t t = done; t < end; ++t) {
      if (position != nullptr) position[t] = static_cast<std::int32_t>(t - done);
      if (first != nullptr) first[t] = static_cast<std::int32_t>(done);
    }
    done = end;
  }
}

}  // namespace baekji
