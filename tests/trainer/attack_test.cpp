// What a dishonest owner could try, and what finds it.

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "proof/challenge.h"
#include "proof/log.h"
#include "tests/key_files.h"
#include "tests/proof/openssl.h"
#include "tests/python.h"
#include "tests/trainer/forged_run.h"
#include "trainer/replay.h"

namespace baekji::tiny {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(Attack, StepZeroForgedInOneElement) {
  const Experiment e = eight_steps("forged_genesis");
  write_run(e, {.change = [](std::int64_t step, std::span<const StateShard> state) {
              if (step == 0) state[0].values[0][7] = std::nextafter(state[0].values[0][7], 1.0F);
            }});
  const Verdict verdict = verdict_of({.run = e.output(), .genesis = true});
  EXPECT_FALSE(verdict.passed);
  EXPECT_THAT(verdict.text, HasSubstr("FAIL  genesis"));
  std::printf("%s", verdict.text.c_str());
}

// The early zone and the largest moves are in every challenge, whatever the nonce draws.
TEST(Attack, WeightsSwappedEarlyOrLateAreInEveryChallenge) {
  for (const std::int64_t swapped : {3, 69}) {
    const Experiment e = load(fresh_folder("swapped"), {"run.steps=72", "run.checkpoint_every=3"});
    write_run(e, {.change =
                      [&](std::int64_t step, std::span<const StateShard> state) {
                        if (step == swapped) mix_in_foreign(state, 1.0F);
                      },
                  .record =
                      [&](StepRecord& record) {
                        if (record.step == swapped) record.move = 100;
                      }});
    const Verdict verdict = verdict_of({.run = e.output(), .nonce = "any", .count = 1});
    EXPECT_FALSE(verdict.passed) << swapped;
    EXPECT_THAT(verdict.text, HasSubstr(fmt::format("step {} differs in move", swapped)));
  }
  std::printf("weights swapped after step 3 and after step 69 of 72: both found\n");
}

TEST(Attack, OneBatchSubstituted) {
  const Experiment hidden = eight_steps("substituted");
  const RunInputs inputs = open_inputs(hidden);
  write_run(hidden, {.batch = [](std::int64_t step) { return step == 5 ? 50 : step; },
                     .record =
                         [&](StepRecord& record) {
                           if (record.step == 5) record.batch_root = inputs.loader.batch_root(5);
                         }});
  const Verdict replayed = verdict_of({.run = hidden.output(), .data = true, .samples = 8, .replay = std::pair(4, 6)});
  EXPECT_FALSE(replayed.passed);
  EXPECT_THAT(replayed.text, AllOf(HasSubstr("ok    batches"), HasSubstr("step 5 differs in")));
  const Experiment told = eight_steps("substituted_and_told");
  write_run(told, {.batch = [](std::int64_t step) { return step == 5 ? 50 : step; }});
  const Verdict data = verdict_of({.run = told.output(), .data = true, .samples = 8});
  EXPECT_FALSE(data.passed);
  EXPECT_THAT(data.text, HasSubstr("FAIL  batches    step 5"));
}

TEST(Attack, OneBitFlippedInCheckpointLedgerOrContract) {
  const auto copy = [&] {
    const fs::path run = fresh_folder("flipped");
    fs::copy(honest_run(), run, fs::copy_options::recursive);
    return run;
  };
  const fs::path shard = copy() / "checkpoints" / "step-00000004" / "shard-00000.h5";
  flip_bit(shard, static_cast<std::int64_t>(fs::file_size(shard)) / 2);
  EXPECT_THAT(verdict_of({.run = fresh_folder("unused").parent_path() / "flipped", .replay = std::pair(4, 6)}).text,
              AllOf(HasSubstr("error: "), HasSubstr("shard-00000.h5")));
  const std::string ledger = read_text(honest_run() / "ledger.jsonl");
  for (const std::string mark : {"\"loss\":\"", "\"position\":", "\"previous\":\""}) {
    const fs::path run = copy();
    flip_bit(run / "ledger.jsonl", static_cast<std::int64_t>(ledger.find(mark, ledger.size() / 2) + mark.size()));
    EXPECT_THAT(verdict_of({.run = run}).text, HasSubstr("error: ")) << mark;
  }
  const fs::path run = copy();
  flip_bit(run / "contract.json", static_cast<std::int64_t>(read_text(run / "contract.json").find("\"lr\":\"") + 6));
  EXPECT_THAT(verdict_of({.run = run}).text, AllOf(HasSubstr("error: "), HasSubstr("contract")));
}

// Whether each segment between two checkpoints of a run of `segments` steps replays.
std::vector<bool> segment_verdicts(const std::string& name, std::int64_t segments, std::int64_t first_forged,
                                   std::int64_t forged) {
  const Experiment e = load(fresh_folder(name), {fmt::format("run.steps={}", segments), "run.checkpoint_every=1"});
  write_run(e, {.change = [&](std::int64_t step, std::span<const StateShard> state) {
              if (step >= first_forged && step < first_forged + forged) mix_in_foreign(state, 0.05F);
            }});
  const Ledger ledger = Ledger::open_read_only(e.output() / "ledger.jsonl");
  const RunInputs inputs = open_inputs(e);
  const Anchors anchors = anchors_of({e.output()}, ledger, [](const std::string&) { ADD_FAILURE(); });
  const auto world = make_self_communicator();
  std::vector<bool> good;
  for (std::int64_t i = 0; i < segments; ++i) {
    const Anchor& anchor = anchors.at(i);
    good.push_back(
        !replay({.experiment = e, .inputs = inputs, .ledger = ledger, .anchor = anchor, .last = i + 1, .kernels = {}},
                *world)
             .mismatch);
  }
  return good;
}

// A slow interpolation to another model: its chance to stay unseen is what theory says.
TEST(Attack, SlowInterpolationIsSeenAsOftenAsTheorySays) {
  constexpr std::int64_t kSegments = 100, kDraws = 2000;
  const std::int64_t count = count_for(kSegments, 10, 1e-3);
  EXPECT_LE(miss_probability(kSegments, 10, count), 1e-3);
  EXPECT_GT(miss_probability(kSegments, 10, count - 1), 1e-3);
  for (const std::int64_t forged : {10, 1}) {
    const std::vector<bool> good = segment_verdicts("interpolated", kSegments, 56, forged);
    EXPECT_EQ(std::count(good.begin(), good.end(), false), forged);
    std::int64_t missed = 0;
    for (std::int64_t draw = 0; draw < kDraws; ++draw) {
      const auto drawn = draw_segments(fmt::format("nonce {}", draw), sha256("head"), kSegments, count);
      missed +=
          std::all_of(drawn.begin(), drawn.end(), [&](std::int64_t i) { return good[static_cast<std::size_t>(i)]; })
              ? 1
              : 0;
    }
    const double theory = miss_probability(kSegments, forged, count);
    // 99.9% of a binomial: 3.29 standard deviations, and the Poisson bound 9 where few are expected (mean 2).
    const double expected = theory * static_cast<double>(kDraws);
    const double width = std::max(3.29 * std::sqrt(expected * (1 - theory)), 9 - expected);
    EXPECT_NEAR(static_cast<double>(missed), expected, forged == 10 ? 9 - expected : width);
    std::printf("%ld of %ld segments forged, %ld drawn: missed %ld of %ld times, theory %.1f\n", forged, kSegments,
                count, missed, kDraws, expected);
  }
}

class SignedRun : public testing::Test {
 protected:
  void SetUp() override {
    keys_ = fresh_folder("attack_keys");
    fs::create_directories(keys_);
    for (const char* name : {"owner", "witness"})
      write_public_key(keys_ / (std::string(name) + ".pub"), test_key(keys_, name).public_key());
    signing_ = "run.signing_key='" + (keys_ / "owner.pem").string() + "'";
  }
  SignatureOptions keys(const fs::path& witnessed = {}) const {
    SignatureOptions options;
    options.public_key = keys_ / "owner.pub";
    options.witnessed = witnessed;
    return options;
  }

  fs::path keys_;
  std::string signing_;
};

TEST_F(SignedRun, LedgerRewrittenBehindAWitnessedSize) {
  const Experiment e = eight_steps("rewritten", {signing_});
  train_alone(load(e.output(), {"run.steps=4", "run.keep=100", signing_}));
  const fs::path kept = keys_ / "kept";
  fs::copy_file(e.output() / "log" / "checkpoint", kept);
  train_alone(e);
  const Verdict honest = verdict_of({.run = e.output(), .signatures = keys(kept)});
  EXPECT_TRUE(honest.passed) << honest.text;
  EXPECT_THAT(honest.text, HasSubstr("ok    witnessed"));
  // The owner starts over, and signs another history of the same contract.
  fs::remove_all(e.output());
  write_run(e, {.change = [](std::int64_t step, std::span<const StateShard> state) {
              if (step == 2) mix_in_foreign(state, 1.0F);
            }});
  const Verdict verdict = verdict_of({.run = e.output(), .signatures = keys(kept)});
  EXPECT_FALSE(verdict.passed);
  EXPECT_THAT(verdict.text, AllOf(HasSubstr("ok    log"), HasSubstr("FAIL  witnessed")));
  std::printf("%s", verdict.text.c_str());
}

TEST_F(SignedRun, TwoLedgersForOneRun) {
  const Experiment a = eight_steps("ledger_a", {signing_}), b = eight_steps("ledger_b", {signing_, "layout.tensor=1"});
  train_alone(a);
  write_run(b, {.change = [](std::int64_t step, std::span<const StateShard> state) {
              if (step == 5) mix_in_foreign(state, 0.5F);
            }});
  // One origin, two roots: whoever has both checkpoints has the contradiction, signed.
  const auto checkpoint_of = [](const fs::path& run) {
    const fs::path path = run / "log" / "checkpoint";
    return parse_checkpoint_text(parse_note(read_text(path), path.string()).text, path.string());
  };
  EXPECT_EQ(checkpoint_of(a.output()).origin, checkpoint_of(b.output()).origin);
  EXPECT_NE(checkpoint_of(a.output()).head.root, checkpoint_of(b.output()).head.root);
  EXPECT_TRUE(verdict_of({.run = a.output(), .signatures = keys(a.output() / "log" / "checkpoint")}).passed);
  EXPECT_FALSE(verdict_of({.run = a.output(), .signatures = keys(b.output() / "log" / "checkpoint")}).passed);
  EXPECT_FALSE(verdict_of({.run = b.output(), .signatures = keys(a.output() / "log" / "checkpoint")}).passed);
}

TEST_F(SignedRun, OneBitFlippedInTileEntriesOrSignature) {
  const Experiment e = eight_steps("tiles", {signing_});
  train_alone(e);
  EXPECT_TRUE(verdict_of({.run = e.output(), .signatures = keys()}).passed);
  int flipped = 0;
  for (const fs::directory_entry& file : fs::recursive_directory_iterator(e.output() / "log")) {
    if (!file.is_regular_file()) continue;
    const auto size = static_cast<std::int64_t>(file.file_size());
    for (const std::int64_t byte : {size / 3, size - 3}) {
      flip_bit(file.path(), byte);
      EXPECT_FALSE(verdict_of({.run = e.output(), .signatures = keys()}).passed) << file.path() << " byte " << byte;
      flip_bit(file.path(), byte);
      ++flipped;
    }
  }
  EXPECT_TRUE(verdict_of({.run = e.output(), .signatures = keys()}).passed);
  std::printf("%d flipped bits of tiles, entries and checkpoint: all found\n", flipped);
}

class Attestations : public OpensslTest {};

// Both verifiers refuse any changed bit of an envelope: ours, and the script that asks stock openssl.
TEST_F(Attestations, OneBitFlippedInAnEnvelope) {
  const std::string python = find_python();
  if (python.empty()) GTEST_SKIP() << "python3 is not installed";
  const Experiment e = eight_steps("attested");
  train_alone(e);
  const fs::path statements = folder_ / "statements";
  const fs::path log = folder_ / "attest.log";
  ASSERT_EQ(wait_for(start_program({"attest", e.output().string(), "--key", (folder_ / "key.pem").string(), "--output",
                                    statements.string()},
                                   log)),
            0)
      << read_text(log);
  const auto ours = [&] {
    VerifyOptions options{.run = e.output(), .signatures = {}};
    options.signatures.attestations = statements;
    options.signatures.attestation_key = folder_ / "pub.pem";
    return verdict_of(options);
  };
  const auto script = [&] {
    return run_python(python, "scripts/verify_attestations.py",
                      e.output().string() + " " + statements.string() + " --key " + (folder_ / "pub.pem").string());
  };
  EXPECT_TRUE(ours().passed) << ours().text;
  EXPECT_EQ(script().status, 0) << script().output;
  EXPECT_THAT(ours().text, AllOf(HasSubstr("ok    attested   contract"), HasSubstr("chain of")));
  int flipped = 0;
  for (const char* name : {"contract.dsse.json", "chain.dsse.json"}) {
    const auto size = static_cast<std::int64_t>(fs::file_size(statements / name));
    for (std::int64_t byte = 3; byte < size; byte += size / 12) {
      flip_bit(statements / name, byte);
      EXPECT_FALSE(ours().passed) << name << " byte " << byte;
      EXPECT_NE(script().status, 0) << name << " byte " << byte << "\n" << script().output;
      flip_bit(statements / name, byte);
      ++flipped;
    }
  }
  EXPECT_TRUE(ours().passed);
  // A statement is worth nothing beside another ledger.
  train_alone(load(e.output(), {"run.steps=10", "run.keep=100"}));
  EXPECT_THAT(ours().text, AllOf(HasSubstr("left  attested"), testing::Not(HasSubstr("FAIL"))))
      << "an earlier line of a longer ledger";
  const Experiment other = eight_steps("attested_other", {"experiment.seed=6"});
  train_alone(other);
  VerifyOptions options{.run = other.output(), .signatures = {}};
  options.signatures.attestations = statements;
  options.signatures.attestation_key = folder_ / "pub.pem";
  EXPECT_FALSE(verdict_of(options).passed);
  std::printf("%d flipped bits of envelopes: both verifiers refuse each\n", flipped);
}

}  // namespace
}  // namespace baekji::tiny
