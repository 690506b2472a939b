// The program has no way in for foreign weights: files of other formats are refused through every key and option that
// takes a path, and no environment variable is looked at.

#include <gmock/gmock.h>

#include <array>

#include "core/hdf5_writer.h"
#include "tests/trainer/tiny_run.h"

namespace baekji::tiny {
namespace {

std::vector<fs::path> foreign_files() {
  const fs::path folder = fresh_folder("foreign");
  fs::create_directories(folder);
  const std::string header = R"({"layers.0.attention.q":{"dtype":"F32","shape":[32,32],"data_offsets":[0,4096]}})";
  std::string size(8, '\0');
  size[0] = static_cast<char>(header.size());
  const std::string weights(4096, '\x3c');
  std::ofstream(folder / "model.safetensors", std::ios::binary) << size << header << weights;
  std::ofstream(folder / "pytorch_model.bin", std::ios::binary) << "PK\x03\x04" << weights;
  std::ofstream(folder / "weights.npy", std::ios::binary)
      << "\x93NUMPY\x01" << '\0' << "v" << '\0' << "{'descr': '<f4', 'fortran_order': False, 'shape': (32, 32), }"
      << weights;
  {
    Hdf5Writer writer(folder / "weights.h5");
    const std::vector<float> values(1024, 0.5F);
    for (const char* name : {"layers.0.attention.q", "tokens", "document_offsets"})
      writer.write_dataset(name, std::span<const float>(values));
    writer.close();
  }
  return {folder / "model.safetensors", folder / "pytorch_model.bin", folder / "weights.npy", folder / "weights.h5"};
}

TEST(NoImport, EveryKeyAndOptionRefusesForeignFiles) {
  const std::vector<fs::path> files = foreign_files();
  const fs::path run = fresh_folder("no_import");
  const std::string root = train_root(run);
  const fs::path log = data_folder() / "no_import.log";
  const std::string experiment = experiment_file().string();
  int refused = 0;
  const auto expect_refused = [&](const std::vector<std::string>& arguments) {
    EXPECT_NE(wait_for(start_program(arguments, log)), 0) << arguments[0] << " took " << arguments.back();
    EXPECT_THAT(read_text(log), testing::AnyOf(testing::HasSubstr("error"), testing::HasSubstr("not ")))
        << arguments[0];
    ++refused;
  };
  for (const fs::path& file : files) {
    const std::string path = file.string();
    for (const std::string key :
         {"data.tokenizer", "layout.schedule_file", "run.signing_key", "run.contract_note", "run.output"})
      expect_refused({"train", experiment, "--set", "run.output='" + fresh_folder("none").string() + "'", "--set",
                      key + "='" + path + "'"});
    expect_refused({"train", path});
    for (const std::string command : {"generate", "inspect", "verify", "export", "chunks", "score", "contract"}) {
      std::vector<std::string> arguments{command, path};
      if (command == "generate") arguments.insert(arguments.end(), {"--prompt", "x"});
      if (command == "export" || command == "chunks")
        arguments.insert(arguments.end(), {"--output", (data_folder() / "never").string()});
      if (command == "score") arguments.insert(arguments.end(), {"--text", experiment});
      expect_refused(arguments);
    }
    expect_refused({"data", "--tokenizer", path, "--input", (data_folder() / "a.jsonl").string(), "--output",
                    (data_folder() / "never.h5").string()});
    expect_refused({"data", "--verify", path});
  }
  EXPECT_EQ(train_root(run), root);
  std::printf("%zu foreign files through keys and options: %d times refused\n", files.size(), refused);
}

// A foreign file under the name of a shard, and a whole foreign checkpoint of the right form: both are passed over.
TEST(NoImport, AStateThatTheLedgerDoesNotHoldIsNotUsed) {
  const fs::path run = fresh_folder("no_import");
  const std::string root = train_root(run);
  const fs::path other = fresh_folder("no_import_other");
  train_alone(load(other, {"experiment.seed=6"}));
  const fs::path checkpoints = run / "checkpoints";
  fs::copy_file(foreign_files()[3], checkpoints / "step-00000006" / "shard-00000.h5",
                fs::copy_options::overwrite_existing);
  EXPECT_EQ(train_root(run), root) << "goes on from step 4 and trains the same again";
  fs::remove_all(checkpoints / "step-00000006");
  fs::copy(other / "checkpoints" / "step-00000006", checkpoints / "step-00000006", fs::copy_options::recursive);
  EXPECT_EQ(train_root(run), root);
  // The only state that is left is foreign: nothing is trained.
  for (const fs::directory_entry& entry : fs::directory_iterator(checkpoints)) fs::remove_all(entry.path());
  fs::copy(other / "checkpoints" / "step-00000006", checkpoints / "step-00000006", fs::copy_options::recursive);
  EXPECT_THROW(train_root(run), Error);
}

TEST(NoImport, NoEnvironmentVariableBringsWeights) {
  const std::string file = foreign_files().front().string();
  const fs::path plain = fresh_folder("no_import_plain");
  const std::string root = train_root(plain);
  const std::array<const char*, 8> names{"BAEKJI_CHECKPOINT", "BAEKJI_WEIGHTS", "BAEKJI_INIT", "CHECKPOINT",
                                         "HF_HOME",           "MODEL_PATH",     "RESUME_FROM", "PRETRAINED_MODEL"};
  for (const char* name : names) setenv(name, file.c_str(), 1);
  EXPECT_EQ(train_root(fresh_folder("no_import_variables")), root);
  for (const char* name : names) unsetenv(name);
}

}  // namespace
}  // namespace baekji::tiny
