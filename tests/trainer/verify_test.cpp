#include "trainer/verify.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "parallel/communicator_threads.h"
#include "proof/challenge.h"
#include "tests/trainer/forged_run.h"
#include "trainer/replay.h"

namespace baekji::tiny {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Keys = std::vector<std::string>;

struct Verdict {
  bool passed = false;
  std::string text;  // the lines, or the error
};

Verdict verdict_of(VerifyOptions options) {
  Verdict verdict;
  const auto world = make_self_communicator();
  try {
    verdict.passed = verify(options, {.world = *world}, [&](const std::string& line) { verdict.text += line + "\n"; });
  } catch (const Error& error) {
    verdict.text += std::string("error: ") + error.what();
  }
  return verdict;
}

Experiment eight_steps(const std::string& name, Keys more = {}) {
  more.insert(more.end(), {"run.steps=8", "run.keep=100"});
  return load(fresh_folder(name), more);
}

void flip_bit(const fs::path& path, std::int64_t byte) {
  std::string bytes = read_text(path);
  bytes.at(static_cast<std::size_t>(byte)) = static_cast<char>(bytes.at(static_cast<std::size_t>(byte)) ^ 1);
  std::ofstream(path, std::ios::binary) << bytes;
}

const fs::path& honest_run() {
  static const fs::path kRun = [] {
    const Experiment e = eight_steps("honest");
    train_alone(e);
    return e.output();
  }();
  return kRun;
}

// Another model of the same shape, as one value for each element.
float foreign(std::int64_t i) {
  return 0.03F * std::sin(static_cast<float>(i) + 1.0F);
}
void mix_in_foreign(std::span<const StateShard> state, float share) {
  for (const StateShard& shard : state) {
    for (std::int64_t i = 0; i < shard.count; ++i) {
      if (shard.tensor->logical_index(shard.slice, shard.begin + i) < 0) continue;  // padding stays zero
      shard.values[0][i] += share * (foreign(i) - shard.values[0][i]);
    }
  }
}

TEST(Verify, AnHonestRunPassesEveryCheckUnderEveryLayout) {
  const Verdict alone = verdict_of({.run = honest_run(), .genesis = true, .data = true, .samples = 100});
  EXPECT_TRUE(alone.passed) << alone.text;
  EXPECT_THAT(alone.text, AllOf(HasSubstr("ok    genesis"), HasSubstr("8 of 8 steps"), HasSubstr("not proved")));
  const std::vector<Keys> layouts{
      {}, {"tensor=2"}, {"data=2", "zero=1"}, {"pipeline=2", "schedule='zb-h1'"}, {"recompute='full'", "threads=2"}};
  for (const Keys& layout : layouts) {
    const Verdict replayed = verdict_of({.run = honest_run(), .replay = std::pair(3, 7), .layout = layout});
    EXPECT_TRUE(replayed.passed) << replayed.text;
    EXPECT_THAT(replayed.text, AllOf(HasSubstr("replay from step 2 needed"), HasSubstr("5 records and 2 state roots")));
  }
  std::printf("checked ledger, contract, step 0, 8 batches, 2 stores; replayed steps 3 to 7 under %zu layouts\n",
              layouts.size());
}

TEST(Verify, ARestartAndAnotherLayoutInTheMiddlePass) {
  const Experiment e = eight_steps("restarted");
  train_alone(load(e.output(), {"run.steps=3", "run.keep=100"}));
  const Experiment wide = load(e.output(), {"run.steps=8", "run.keep=100", "layout.data=2", "layout.tensor=2"});
  run_as_ranks(4, [&](Communicator& world) { train(wide, {}, world); });
  EXPECT_EQ(summary(e.output()).at("state_root"), summary(honest_run()).at("state_root"));
  const Verdict verdict = verdict_of({.run = e.output(), .replay = std::pair(0, 8)});
  EXPECT_TRUE(verdict.passed) << verdict.text;
  EXPECT_THAT(read_text(e.output() / "ledger.jsonl"), AllOf(HasSubstr("1x2x2"), HasSubstr("\"event\":\"resume\"")));
}

TEST(Verify, ARollbackReplays) {
  const Experiment e = eight_steps("rolled_back");
  train_alone(e);
  train_alone(e, {.rollback = RollbackEvent{.to = 3, .skip = {.from = 4, .to = 6}}});
  EXPECT_NE(summary(e.output()).at("state_root"), summary(honest_run()).at("state_root"));
  EXPECT_TRUE(fs::exists(e.output() / "checkpoints" / "step-00000008"));
  EXPECT_TRUE(fs::exists(e.output() / "checkpoints" / "step-00000006.rolled-back"));
  const Ledger ledger = Ledger::open_read_only(e.output() / "ledger.jsonl");
  const RunInputs inputs = open_inputs(e);
  for (std::int64_t step = 1; step <= 8; ++step) {
    const StepRecord record = parse_step_body(ledger.find_step(step).value(), "");
    const std::int64_t batch = step <= 3 ? step : step + 3;
    EXPECT_EQ(record.batch_root, batch_root(inputs.loader.order(), batch)) << step;
    EXPECT_EQ(record.position, inputs.loader.order().data_position(batch)) << step;
  }
  const Verdict verdict =
      verdict_of({.run = e.output(), .data = true, .replay = std::pair(0, 8), .layout = {"pipeline=2"}});
  EXPECT_TRUE(verdict.passed) << verdict.text;
  EXPECT_THAT(verdict.text, HasSubstr("batches 4 to 6 were left out"));
  // Twice the same is a mistake: the command was repeated to go on.
  EXPECT_THROW(train_alone(e, {.rollback = RollbackEvent{.to = 3, .skip = {.from = 4, .to = 6}}}), Error);
  train_alone(load(e.output(), {"run.steps=10", "run.keep=100"}));
  EXPECT_TRUE(verdict_of({.run = e.output(), .replay = std::pair(0, 10)}).passed);
}

TEST(Verify, ASeedFromABeaconBindsTheContract) {
  const Keys beacon{"experiment.seed=0", "experiment.beacon='drand-quicknet'", "experiment.beacon_round=1000000"};
  Keys with_value = beacon;
  with_value.push_back("run.beacon_value='00ff10'");
  EXPECT_THROW(train_alone(eight_steps("beacon", beacon)), Error);
  const Experiment e = eight_steps("beacon", with_value);
  train_alone(e);
  const Verdict verdict = verdict_of({.run = e.output(), .genesis = true, .replay = std::pair(6, 8)});
  EXPECT_TRUE(verdict.passed) << verdict.text;
  EXPECT_THAT(verdict.text, AllOf(HasSubstr("round 1000000"), HasSubstr("value 00ff10")));
}

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
    write_run(e, {.change = [&](std::int64_t step, std::span<const StateShard> state) {
                if (step == swapped) mix_in_foreign(state, 1.0F);
              }});
    const Verdict verdict = verdict_of({.run = e.output(), .nonce = "any", .count = 1});
    EXPECT_FALSE(verdict.passed) << swapped;
    EXPECT_THAT(verdict.text, HasSubstr(fmt::format("step {} differs in state_root", swapped)));
  }
  std::printf("weights swapped after step 3 and after step 69 of 72: both found\n");
}

TEST(Attack, OneBatchSubstituted) {
  const Experiment hidden = eight_steps("substituted");
  write_run(hidden, {.batch = [](std::int64_t step) { return step == 5 ? 50 : step; }});
  const Verdict replayed = verdict_of({.run = hidden.output(), .data = true, .samples = 8, .replay = std::pair(4, 6)});
  EXPECT_FALSE(replayed.passed);
  EXPECT_THAT(replayed.text, AllOf(HasSubstr("ok    batches"), HasSubstr("step 5 differs in")));
  const Experiment told = eight_steps("substituted_and_told");
  const RunInputs inputs = open_inputs(told);
  write_run(told, {.batch = [](std::int64_t step) { return step == 5 ? 50 : step; },
                   .record =
                       [&](StepRecord& record) {
                         if (record.step == 5) record.batch_root = batch_root(inputs.loader.order(), 50);
                       }});
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
  EXPECT_THAT(verdict_of({.run = run}).text, HasSubstr("the contract of the run is not the one"));
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
  const std::vector<Anchor> anchors = anchors_of({e.output()}, ledger, [](const std::string&) { ADD_FAILURE(); });
  const auto world = make_self_communicator();
  std::vector<bool> good;
  for (std::int64_t i = 0; i < segments; ++i) {
    const Anchor& anchor = anchors.at(static_cast<std::size_t>(i));
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

}  // namespace
}  // namespace baekji::tiny
