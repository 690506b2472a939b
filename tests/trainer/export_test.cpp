// `baekji export` and `attest` on a tiny run: what stands in the files, and what is refused.
// tests/trainer/export_check.py holds the model against Hugging Face's own code.

#include <cmath>
#include <cstring>
#include <map>

#include "tests/proof/openssl.h"
#include "tests/trainer/hooked_files.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/hugging_face.h"
#include "trainer/model_export.h"
#include "trainer/saved_model.h"

namespace baekji {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

int program(const std::vector<std::string>& arguments, const fs::path& log) {
  return tiny::wait_for(tiny::start_program(arguments, log));
}

std::map<std::string, std::string> exported_files(const fs::path& run, const ModelExport::Options& options) {
  std::map<std::string, std::string> files;
  ThreadPool pool(1);
  ModelExport model(open_run_folder(run), options, pool);
  model.produce([&](const std::string& name, const std::function<void(const ByteSink&)>& produce) {
    produce([&](std::string_view bytes) { files[name] += bytes; });
  });
  return files;
}

// The whole of one array, out of a checkpoint's parts.
std::vector<float> logical_values(const fs::path& run, const std::string& name) {
  ThreadPool pool(1);
  const RunFolder folder = open_run_folder(run);
  Checkpoint checkpoint = open_saved_checkpoint(folder, Ledger::open_read_only(folder.ledger()), pool);
  for (const LogicalTensor& t : checkpoint.tensors()) {
    if (t.name != name) continue;
    std::vector<float> values(static_cast<std::size_t>(t.elements()));
    std::vector<float> slice(static_cast<std::size_t>(t.slice_elements()));
    for (std::int64_t s = 0; s < t.slices; ++s) {
      const StateShard shard{
          .tensor = &t, .slice = s, .count = t.slice_elements(), .values = {slice.data(), nullptr, nullptr}};
      checkpoint.load(std::span(&shard, 1));
      for (std::int64_t i = 0; i < t.slice_elements(); ++i) {
        const std::int64_t at = t.logical_index(s, i);
        if (at >= 0) values[static_cast<std::size_t>(at)] = slice[static_cast<std::size_t>(i)];
      }
    }
    return values;
  }
  return {};
}

std::vector<float> stored_values(const std::string& file, const std::string& name) {
  std::uint64_t size = 0;
  for (std::size_t i = 0; i < 8; ++i)
    size |= static_cast<std::uint64_t>(static_cast<unsigned char>(file[i])) << (8 * i);
  const json header = json::parse(file.substr(8, size));
  const std::size_t begin = 8 + size + header.at(name).at("data_offsets").at(0).get<std::size_t>();
  const std::size_t end = 8 + size + header.at(name).at("data_offsets").at(1).get<std::size_t>();
  EXPECT_EQ(header.at(name).at("dtype"), "F32");
  std::vector<float> values((end - begin) / 4);
  std::memcpy(values.data(), file.data() + begin, end - begin);
  return values;
}

const fs::path& trained_run() {
  static const fs::path run = [] {
    const fs::path folder = tiny::fresh_folder("exported");
    tiny::train_root(folder);
    return folder;
  }();
  return run;
}

TEST(ExportTest, FilesHoldTheMasterWeightsWholeUnpaddedUnderHuggingFacesNames) {
  const auto files = exported_files(trained_run(), {});
  const std::string& weights = files.at("model.safetensors");
  const ModelConfig model = tiny::load(trained_run()).model;
  for (const NamedWeight& name : hugging_face_names(model)) {
    const std::vector<float> ours = logical_values(trained_run(), name.ours);
    ASSERT_FALSE(ours.empty()) << name.ours;
    EXPECT_EQ(stored_values(weights, name.theirs), ours) << name.theirs;
  }
  EXPECT_EQ(stored_values(weights, "lm_head.weight").size(), 333U * 32U);  // 333 rows in 2 slices are padded to 334
  const json config = json::parse(files.at("config.json"));
  EXPECT_EQ(config.at("model_type"), "qwen3");
  EXPECT_EQ(config.at("vocab_size"), 333);
  EXPECT_EQ(config.at("head_dim"), 8);
  EXPECT_EQ(config.at("rms_norm_eps"), model.norm_eps);
  EXPECT_EQ(config.at("eos_token_id"), 2);
  EXPECT_EQ(files.at("tokenizer.model"), tiny::read_text(tiny::data_folder() / "tok.model"));
  const json provenance = json::parse(files.at("provenance.json"));
  EXPECT_EQ(provenance.at("state_root"), tiny::summary(trained_run()).at("state_root"));
}

TEST(ExportTest, ShardsHoldTheSameTensorsAndBf16IsRounded) {
  const auto whole = exported_files(trained_run(), {});
  const auto shards = exported_files(trained_run(), {.shard_bytes = 20000});
  const json index = json::parse(shards.at("model.safetensors.index.json"));
  for (const auto& [name, file] : index.at("weight_map").items())
    EXPECT_EQ(stored_values(shards.at(file), name), stored_values(whole.at("model.safetensors"), name)) << name;
  const auto half = exported_files(trained_run(), {.type = DType::kBfloat16});
  const std::string& bytes = half.at("model.safetensors");
  const std::vector<float> last = stored_values(whole.at("model.safetensors"), "lm_head.weight");
  const float element = last.back();
  const auto bits = Bfloat16(element).bits;
  EXPECT_EQ(static_cast<unsigned char>(bytes[bytes.size() - 2]), bits & 0xFF);
  EXPECT_EQ(static_cast<unsigned char>(bytes[bytes.size() - 1]), bits >> 8);
}

TEST(ExportTest, AnEarlierStepIsExportedAndAnUnknownOneIsRefused) {
  const json provenance = json::parse(exported_files(trained_run(), {.step = 4}).at("provenance.json"));
  EXPECT_EQ(provenance.at("step"), 4);
  try {
    exported_files(trained_run(), {.step = 5});
    ADD_FAILURE() << "step 5 has no checkpoint";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("2, 4, 6"), std::string::npos) << error.what();
  }
}

TEST(ExportTest, WhatTheFormsCannotSayIsRefusedByItsKey) {
  struct Case {
    const char* key;
    void (*change)(ModelConfig&);
  };
  const Case cases[] = {{"output_norms", [](ModelConfig& m) { m.output_norms = true; }},
                        {"embedding_multiplier", [](ModelConfig& m) { m.embedding_multiplier = 12; }},
                        {"attention_multiplier", [](ModelConfig& m) { m.attention_multiplier = 0.1; }},
                        {"residual_multiplier", [](ModelConfig& m) { m.residual_multiplier = 0.5; }},
                        {"logits_multiplier", [](ModelConfig& m) { m.logits_multiplier = 0.25; }}};
  for (const Case& c : cases) {
    ModelConfig model;
    EXPECT_NO_THROW(check_expressible(model, "x"));
    c.change(model);
    try {
      check_expressible(model, "x.toml");
      ADD_FAILURE() << c.key << " was accepted";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(std::string("model.") + c.key), std::string::npos) << error.what();
    }
  }
  ModelConfig model;
  model.attention_multiplier = model.attention_scale();
  EXPECT_NO_THROW(check_expressible(model, "x"));
}

TEST(ExportTest, ARunThatTheFormsCannotSayLeavesNothingBehind) {
  const fs::path run = tiny::fresh_folder("output_norms");
  tiny::train_root(run, {"model.output_norms=true", "run.steps=2"});
  const fs::path log = tiny::data_folder() / "output_norms.log";
  EXPECT_EQ(program({"export", run.string(), "--output", (run / "hf").string()}, log), 1);
  EXPECT_NE(tiny::read_text(log).find("model.output_norms"), std::string::npos) << tiny::read_text(log);
  EXPECT_FALSE(fs::exists(run / "hf"));
}

TEST(ExportTest, AChangedExperimentFileOrContractIsRefused) {
  const fs::path run = tiny::fresh_folder("changed");
  fs::copy(trained_run(), run, fs::copy_options::recursive);
  const std::string toml = tiny::read_text(run / "experiment.toml");
  std::string changed = toml;
  const std::size_t at = changed.find("norm_eps = ");
  ASSERT_NE(at, std::string::npos);
  changed.replace(at, changed.find('\n', at) - at, "norm_eps = 2e-05");
  std::ofstream(run / "experiment.toml") << changed;
  try {
    exported_files(run, {});
    ADD_FAILURE() << "another norm_eps was taken";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("/model/norm_eps"), std::string::npos) << error.what();
  }
  std::ofstream(run / "experiment.toml") << toml;
  EXPECT_NO_THROW(exported_files(run, {}));
  fs::copy_file(tiny::data_folder() / "a.jsonl", run / "contract.json", fs::copy_options::overwrite_existing);
  EXPECT_THROW(exported_files(run, {}), Error);
}

// Foreign weights in a checkpoint whose manifest claims the run's own state root: every digest of a file is right, and
// the root of the arrays is not.
TEST(ExportTest, WeightsUnderABorrowedStateRootAreRefused) {
  const fs::path run = tiny::fresh_folder("borrowed");
  fs::copy(trained_run(), run, fs::copy_options::recursive);
  const RunFolder folder = open_run_folder(run);
  const CheckpointStore store(folder.checkpoints());
  Checkpoint good = Checkpoint::open(store.path_of(6));
  std::vector<std::vector<float>> arrays;
  std::vector<StateShard> shards;
  for (const LogicalTensor& t : good.tensors()) {
    for (std::int64_t s = 0; s < t.slices; ++s) {
      StateShard shard{.tensor = &t, .slice = s, .count = t.slice_elements()};
      for (float*& values : shard.values)
        values = arrays.emplace_back(static_cast<std::size_t>(t.slice_elements())).data();
      shards.push_back(shard);
    }
  }
  good.load(shards);
  shards.front().values[0][0] += 1.0F;
  CheckpointStore(folder.checkpoints()).save(good.info(), shards);
  try {
    exported_files(run, {});
    ADD_FAILURE() << "weights that the state root is not of were exported";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("has another root"), std::string::npos) << error.what();
  }
}

TEST(ExportTest, ACheckpointWhoseRootTheLedgerLacksIsRefused) {
  const fs::path run = tiny::fresh_folder("foreign");
  const fs::path other = tiny::fresh_folder("other");
  fs::copy(trained_run(), run, fs::copy_options::recursive);
  tiny::train_root(other, {"experiment.seed=6"});
  fs::remove_all(run / "checkpoints");
  fs::copy(other / "checkpoints", run / "checkpoints", fs::copy_options::recursive);
  const fs::path log = tiny::data_folder() / "foreign.log";
  EXPECT_EQ(program({"export", run.string(), "--output", (run / "hf").string()}, log), 1);
  EXPECT_NE(tiny::read_text(log).find("the ledger has"), std::string::npos) << tiny::read_text(log);
  EXPECT_FALSE(fs::exists(run / "hf"));
  EXPECT_FALSE(fs::exists(run / "hf.partial"));
}

TEST(ExportTest, AFolderThatHoldsSomethingIsRefusedAndLeftAlone) {
  const fs::path output = tiny::fresh_folder("taken");
  fs::create_directories(output);
  std::ofstream(output / "mine.txt") << "mine";
  const fs::path log = tiny::data_folder() / "taken.log";
  EXPECT_EQ(program({"export", trained_run().string(), "--output", output.string()}, log), 1);
  EXPECT_NE(tiny::read_text(log).find("the output is there already"), std::string::npos) << tiny::read_text(log);
  EXPECT_EQ(tiny::read_text(output / "mine.txt"), "mine");
  fs::remove(output / "mine.txt");
  EXPECT_EQ(program({"export", trained_run().string(), "--output", output.string() + "/"}, log), 0)
      << tiny::read_text(log);
  EXPECT_TRUE(fs::exists(output / "model.safetensors"));
  EXPECT_FALSE(fs::exists(output.string() + ".partial"));
}

// A full disk or a failing rename: no folder, no leftover.
TEST(ExportTest, AFolderAppearsWholeOrNotAtAll) {
  const fs::path output = tiny::fresh_folder("whole");
  for (const std::string failing : {"sync", "rename"}) {
    HookedFiles files([&](std::string_view verb, const fs::path&) {
      if (verb == failing) throw Error("the disk is full");
    });
    EXPECT_THROW(
        {
          OutputFolder folder(output, files);
          folder.write("a.txt", "a");
          folder.commit();
        },
        Error);
    EXPECT_FALSE(fs::exists(output)) << failing;
    EXPECT_FALSE(fs::exists(output.string() + ".partial")) << failing;
  }
  OutputFolder folder(output);
  folder.write("a.txt", "a");
  EXPECT_FALSE(fs::exists(output));
  folder.commit();
  EXPECT_EQ(tiny::read_text(output / "a.txt"), "a");
}

class AttestTest : public OpensslTest {};

TEST_F(AttestTest, StatementsBindContractChainAndReleaseAndAChangedExportIsNotSigned) {
  const fs::path model = folder_ / "hf";
  const fs::path log = folder_ / "log";
  ASSERT_EQ(program({"export", trained_run().string(), "--output", model.string()}, log), 0) << read("log");
  const auto attest = [&](const std::string& output) {
    return program({"attest", trained_run().string(), "--key", (folder_ / "key.pem").string(), "--output",
                    (folder_ / output).string(), "--export", model.string()},
                   log);
  };
  ASSERT_EQ(attest("signed"), 0) << read("log");
  const auto statement = [&](const std::string& name) {
    const std::string payload = open_envelope(json::parse(read("signed/" + name)));
    EXPECT_FALSE(payload.empty()) << name;
    return json::parse(payload);
  };
  const RunFolder run = open_run_folder(trained_run());
  const Ledger ledger = Ledger::open_read_only(run.ledger());
  EXPECT_EQ(statement("contract.dsse.json").at("subject").at(0).at("digest").at("sha256"),
            to_hex(ledger.genesis().contract));
  const json chain = statement("chain.dsse.json").at("predicate");
  EXPECT_EQ(chain.at("head"), to_hex(ledger.head()));
  EXPECT_EQ(chain.at("first_step"), 1);
  EXPECT_EQ(chain.at("last_step"), 6);
  EXPECT_EQ(chain.at("state_roots").size(), 4U);  // of steps 0, 2, 4, 6
  EXPECT_EQ(statement("release.dsse.json").at("predicate").at("state_root"),
            chain.at("state_roots").at(3).at("state_root"));
  EXPECT_EQ(statement("release.dsse.json").at("subject").size(), 6U);
  EXPECT_EQ(json::parse(read("signed/model.sig")).at("mediaType"), "application/vnd.dev.sigstore.bundle.v0.3+json");

  std::string weights = tiny::read_text(model / "model.safetensors");
  weights.back() = static_cast<char>(weights.back() ^ 1);
  std::ofstream(model / "model.safetensors", std::ios::binary) << weights;
  EXPECT_EQ(attest("again"), 1);
  EXPECT_NE(read("log").find("not what the run's state gives"), std::string::npos) << read("log");
  EXPECT_FALSE(fs::exists(folder_ / "again"));
  weights.back() = static_cast<char>(weights.back() ^ 1);
  std::ofstream(model / "model.safetensors", std::ios::binary) << weights;
  std::ofstream(model / "extra.bin") << "x";
  EXPECT_EQ(attest("again"), 1);
  EXPECT_NE(read("log").find("extra.bin"), std::string::npos) << read("log");
}

TEST(ScoreTest, LogProbabilitiesAreThoseOfItsLogits) {
  const fs::path text = tiny::data_folder() / "score.txt";
  std::ofstream(text) << "the cat sees the moon.";
  const fs::path log = tiny::data_folder() / "score.log";
  ASSERT_EQ(program({"score", trained_run().string(), "--text", text.string(), "--json", "--logits"}, log), 0)
      << tiny::read_text(log);
  const json scores = json::parse(tiny::read_text(log));
  ASSERT_EQ(scores.at("tokens").size(), scores.at("logits").size());
  EXPECT_EQ(scores.at("logits").at(0).size(), 333U);
  EXPECT_TRUE(scores.at("tokens").at(0).at("log_probability").is_null());
  double total = 0;
  for (std::size_t i = 1; i < scores.at("tokens").size(); ++i) {
    const auto logits = scores.at("logits").at(i - 1).get<std::vector<double>>();
    double sum = 0;
    for (const double logit : logits) sum += std::exp(logit);
    const double expected = logits[scores.at("tokens").at(i).at("id").get<std::size_t>()] - std::log(sum);
    EXPECT_NEAR(scores.at("tokens").at(i).at("log_probability").get<double>(), expected, 1e-9);
    total += expected;
  }
  EXPECT_NEAR(scores.at("loss").get<double>(), -total / static_cast<double>(scores.at("tokens").size() - 1), 1e-9);
}

}  // namespace
}  // namespace baekji
