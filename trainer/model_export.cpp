#include "trainer/model_export.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/untrusted_file.h"
#include "model/parameters.h"
#include "proof/contract.h"
#include "trainer/ledger_rules.h"
#include "trainer/run_experiment.h"
#include "trainer/saved_model.h"

namespace baekji {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// A few copies of it exist at once; smaller pieces would open the shards more often.
constexpr std::int64_t kPieceElements = std::int64_t{1} << 22;
constexpr const char* kExportFormat = "baekji-export-1";

const LogicalTensor& tensor_named(const Checkpoint& checkpoint, const std::string& name) {
  const auto& all = checkpoint.tensors();
  const auto found = std::find_if(all.begin(), all.end(), [&](const LogicalTensor& t) { return t.name == name; });
  if (found == all.end()) {
    throw Error("the checkpoint lacks a tensor of the model")
        .values(name, "nothing of that name")
        .at(checkpoint.path().string());
  }
  return *found;
}

// Rows [first, first + count) of the logical tensor: `out` is overwritten, row-major, without padding.
void read_rows(Checkpoint& checkpoint, const LogicalTensor& t, std::int64_t first, std::int64_t count,
               std::vector<float>& out) {
  out.resize(static_cast<std::size_t>(count * t.columns()));
  const std::int64_t width = t.slice_columns();
  std::vector<float> part;
  for (std::int64_t slice = 0; slice < t.slices; ++slice) {
    const std::int64_t slice_first = t.split == Split::kRows ? slice * t.slice_rows() : 0;
    const std::int64_t begin = std::max(first, slice_first);
    const std::int64_t end = std::min(first + count, slice_first + t.slice_rows());
    if (begin >= end) continue;
    part.resize(static_cast<std::size_t>((end - begin) * width));
    const StateShard shard{.tensor = &t,
                           .slice = slice,
                           .begin = (begin - slice_first) * width,
                           .count = (end - begin) * width,
                           .values = {part.data(), nullptr, nullptr}};
    checkpoint.load(std::span(&shard, 1));
    const std::int64_t column = t.split == Split::kColumns ? slice * width : 0;
    for (std::int64_t row = begin; row < end; ++row)
      std::copy_n(part.begin() + (row - begin) * width, width, out.begin() + (row - first) * t.columns() + column);
  }
}

std::string indented(const ordered_json& value) {
  return value.dump(2) + "\n";
}

// "/model/norm_eps": the first member in which what is computed differs from what was promised.
std::string first_differing_member(const json& contract, const json& experiment) {
  const json steps = json::diff(contract, experiment);
  return steps.empty() ? "nothing" : steps.front().at("path").get<std::string>();
}

}  // namespace

ModelExport::ModelExport(const RunFolder& folder, const Options& options, ThreadPool& pool)
    : experiment_(load_run_experiment(folder.root, {})),
      tokenizer_(Tokenizer::load(folder.tokenizer())),
      ledger_(open_run_ledger(folder)),
      checkpoint_([&] {
        check_expressible(experiment_.model, folder.experiment().string());  // before gigabytes are read
        return open_saved_checkpoint(folder, ledger_, pool, options.step);
      }()),
      type_(options.type.value_or(element_types(experiment_.numerics).compute)),
      shard_bytes_(options.shard_bytes) {
  if (shard_bytes_ < 1)
    throw Error("a file of weights must hold something").values(">= 1 byte", fmt::format("{}", shard_bytes_));
  if (tokenizer_.eos_id() < 0) {
    throw Error("the tokenizer has no EOS, so that nothing would end a generated text")
        .values("an EOS piece", "none")
        .at(folder.tokenizer().string());
  }
  if (info().step < 1)
    throw Error("an export is of a trained state").values("step >= 1", fmt::format("{}", info().step));
  check_contract(folder);
  check_loaded_state(checkpoint_.info(), saved_state_root(checkpoint_, pool));
  const std::vector<NamedWeight> names = hugging_face_names(experiment_.model);
  require_equal(names.size(), checkpoint_.tensors().size(), "the checkpoint has other tensors than the model",
                checkpoint_.path().string());
  std::vector<SafetensorsTensor> tensors;
  tensors.reserve(names.size());
  for (const NamedWeight& name : names)
    tensors.push_back({.name = name.theirs, .shape = tensor_named(checkpoint_, name.ours).shape, .type = type_});
  weights_ = plan_safetensors(tensors, shard_bytes_);
}

void ModelExport::check_contract(const RunFolder& folder) const {
  const std::string text = read_untrusted(folder.contract(), kMostContractBytes);
  const std::string digest = to_hex(contract_digest(text));
  const std::string place = folder.contract().string();
  require_equal(to_hex(ledger_.genesis().contract), digest, "contract.json is not the contract of the ledger", place);
  require_equal(digest, to_hex(checkpoint_.info().contract), "the checkpoint was trained under another contract",
                checkpoint_.path().string());
  const json contract = parse_canonical_json(text, place);
  require_equal(contract.at("tokenizer").get<std::string>(), to_hex(tokenizer_.digest()),
                "the tokenizer is not the one of the contract", folder.tokenizer().string());
  // The sources' data is not needed here, and need not be on this machine.
  json said = contract_of(experiment_, tokenizer_.digest(), {});
  said["sources"] = contract.at("sources");
  if (said != contract) {
    throw Error("experiment.toml is not what the contract says")
        .values("the contract's values", "another at " + first_differing_member(contract, said))
        .at(folder.experiment().string());
  }
}

HuggingFaceModel ModelExport::described() const {
  const TrainingStage& stage = experiment_.stage(info().step);
  // An EOS stands before every document in training, and the tokenizer's own BOS never occurs: a text begins with EOS.
  return {.model = experiment_.model,
          .type = type_,
          .rope_theta = stage.rope_theta,
          .context = stage.context,
          .bos_id = tokenizer_.eos_id(),
          .eos_id = tokenizer_.eos_id()};
}

ordered_json ModelExport::tokenizer_config() const {
  const std::string end = tokenizer_.piece(tokenizer_.eos_id());
  // transformers 5 then follows the model file in everything; older versions load it as LlamaTokenizer by name only.
  return {{"tokenizer_class", "PreTrainedTokenizerFast"},
          {"bos_token", end},
          {"eos_token", end},
          {"unk_token", tokenizer_.piece(tokenizer_.unknown_id())},
          {"pad_token", nullptr},
          {"add_bos_token", false},
          {"add_eos_token", false},
          {"add_prefix_space", false},
          {"legacy", true},                // for LlamaTokenizer: leave the model file's own rules alone
          {"split_special_tokens", true},  // the spelling of a control piece in a text is text, as for our own encoder
          {"clean_up_tokenization_spaces", false},
          {"model_max_length", described().context}};
}

std::int64_t ModelExport::weight_bytes() const {
  std::int64_t sum = 0;
  for (const SafetensorsFile& file : weights_) sum += file.data_bytes();
  return sum;
}

std::string ModelExport::provenance(const std::vector<AttestedSubject>& files) const {
  json list = json::array();
  for (const AttestedSubject& file : files) list.push_back({{"name", file.name}, {"sha256", to_hex(file.digest)}});
  return canonical_json({{"format", kExportFormat},
                         {"contract", to_hex(info().contract)},
                         {"state_root", to_hex(info().state_root)},
                         {"step", info().step},
                         {"tokens", info().tokens},
                         {"form", form()},
                         {"dtype", name_of(type_)},
                         {"shard_bytes", shard_bytes_},
                         {"files", list}}) +
         "\n";
}

void ModelExport::produce_weights(const SafetensorsFile& file, const ByteSink& sink) {
  std::map<std::string, std::string> ours;
  for (const NamedWeight& name : hugging_face_names(experiment_.model)) ours[name.theirs] = name.ours;
  sink(safetensors_header(file, {{"format", "pt"},
                                 {"baekji.contract", to_hex(info().contract)},
                                 {"baekji.state_root", to_hex(info().state_root)},
                                 {"baekji.step", std::to_string(info().step)}}));
  std::vector<float> values;
  std::string bytes;
  for (const SafetensorsTensor& tensor : file.tensors) {
    const LogicalTensor& logical = tensor_named(checkpoint_, ours.at(tensor.name));
    const std::int64_t rows = std::max<std::int64_t>(1, kPieceElements / logical.columns());
    for (std::int64_t first = 0; first < logical.rows(); first += rows) {
      read_rows(checkpoint_, logical, first, std::min(rows, logical.rows() - first), values);
      bytes.clear();
      append_elements(bytes, values, tensor.type);
      sink(bytes);
    }
  }
}

std::vector<AttestedSubject> ModelExport::produce(const FileTaker& take) {
  std::vector<AttestedSubject> made;
  const auto add = [&](const std::string& name, const std::function<void(const ByteSink&)>& produce) {
    Sha256 hash;
    take(name, [&](const ByteSink& sink) {
      produce([&](std::string_view bytes) {
        hash.add(bytes);
        sink(bytes);
      });
    });
    made.push_back({.name = name, .digest = hash.finish()});
  };
  const auto add_text = [&](const std::string& name, const std::string& text) {
    add(name, [&](const ByteSink& sink) { sink(text); });
  };
  add_text("config.json", indented(hugging_face_config(described())));
  add_text("generation_config.json", indented(generation_config(described())));
  add_text("tokenizer.model", read_untrusted(tokenizer_.path(), kMostTokenizerBytes));
  add_text("tokenizer_config.json", indented(tokenizer_config()));
  for (const SafetensorsFile& file : weights_)
    add(file.name, [&](const ByteSink& sink) { produce_weights(file, sink); });
  if (weights_.size() > 1) add_text("model.safetensors.index.json", indented(safetensors_index(weights_)));
  add_text(kProvenanceFileName, provenance(made));
  return made;
}

ModelExport::Options export_options(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kProvenanceFileName;
  if (!posix_file_system().exists(path)) {
    throw Error("not an export")
        .values(fmt::format("a folder with {}", kProvenanceFileName), "none")
        .at(folder.string())
        .hint("give the folder that `baekji export` wrote");
  }
  std::string text = read_untrusted(path, kMostContractBytes);
  if (text.ends_with('\n')) text.pop_back();
  const json said = parse_canonical_json(text, path.string());
  try {
    require_equal(std::string(kExportFormat), said.at("format").get<std::string>(), "another form of export",
                  path.string());
    return {
        .step = said.at("step").get<std::int64_t>(),
        .type = said.at("dtype").get<std::string>() == name_of(DType::kBfloat16) ? DType::kBfloat16 : DType::kFloat32,
        .shard_bytes = said.at("shard_bytes").get<std::int64_t>()};
  } catch (const json::exception& error) {
    throw Error("the export does not say what it is of")
        .values("step, dtype, shard_bytes", error.what())
        .at(path.string());
  }
}

}  // namespace baekji
