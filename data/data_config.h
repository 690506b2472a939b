#pragma once
// The [data] table of an experiment file, as plain values.

#include <string>
#include <vector>

namespace baekji {

/// One [[data.source]].
struct SourceConfig {
  std::string name;
  std::string path;            ///< a token store
  double weight = 1.0;         ///< share of the tokens, relative to the other sources' weights
  std::string licence;         ///< recorded in the ledger's genesis, not in the contract; empty: what the store says
  std::string contributed_by;  ///< the consortium's member that brought it

  template <class V>
  void visit(V& v) {
    v.field("name", name, "name of the source; keys its order");
    v.field("path", path, "a token store made by `baekji data`");
    v.field("weight", weight, "share of the tokens, relative to the other sources");
    v.field("licence", licence, "licence of the text");
    v.field("contributed_by", contributed_by, "who brought the text");
  }
};

struct DataConfig {
  std::string tokenizer;  ///< path of the SentencePiece model
  std::vector<SourceConfig> sources;
};

}  // namespace baekji
