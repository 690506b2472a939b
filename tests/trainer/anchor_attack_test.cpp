// What an owner could try with the states in her folder, and with an evaluator's nonce once she knows it.

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "checkpoint/file_digest.h"
#include "checkpoint/manifest.h"
#include "tests/key_files.h"
#include "tests/trainer/forged_run.h"
#include "trainer/anchors.h"
#include "trainer/verify_challenge.h"

namespace baekji::tiny {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr std::int64_t kSteps = 12;

Experiment twelve_steps(const std::string& name) {
  return load(fresh_folder(name), {fmt::format("run.steps={}", kSteps), "run.checkpoint_every=3", "run.keep=100"});
}

// Foreign weights from step 8 on; every file is as the program would write it.
const fs::path& foreign_run() {
  static const fs::path kRun = [] {
    const Experiment e = twelve_steps("foreign");
    write_run(e, {.change = [](std::int64_t step, std::span<const StateShard> state) {
                if (step == 8) mix_in_foreign(state, 1.0F);
              }});
    return e.output();
  }();
  return kRun;
}

const fs::path& twelve_honest_steps() {
  static const fs::path kRun = [] {
    const Experiment e = twelve_steps("twelve_honest");
    write_run(e, {});
    return e.output();
  }();
  return kRun;
}

VerifyOptions challenge(const fs::path& run, std::int64_t count = kSteps) {
  return {.run = run, .nonce = "any", .count = count};
}

void put(const fs::path& state, const fs::path& place) {
  fs::remove_all(place);
  fs::create_directories(place.parent_path());
  fs::copy(state, place, fs::copy_options::recursive);
}

Manifest manifest_of(const fs::path& state) {
  return decode_manifest(read_text(state / "manifest.json"), state.string());
}
void write_manifest(const fs::path& state, const Manifest& manifest) {
  write_file(state / "manifest.json", encode_manifest(manifest));
}

// The line with the draw: which segments, by which nonce and head.
std::string draw_of(const std::string& text) {
  std::string drawn;
  for (std::size_t at = text.find(" was drawn"); at != std::string::npos; at = text.find(" was drawn", at + 1))
    drawn += text.substr(text.rfind("step", at), at - text.rfind("step", at)) + "\n";
  return drawn;
}

TEST(AnchorAttack, HonestRunsArePlainlyVerified) {
  const Verdict verdict = verdict_of(challenge(twelve_honest_steps()));
  EXPECT_TRUE(verdict.passed) << verdict.text;
  EXPECT_THAT(verdict.text, AllOf(HasSubstr("4 of 4 segments"), HasSubstr("verified: "), HasSubstr("not asked: ")));
  EXPECT_TRUE(verdict_of(challenge(twelve_honest_steps(), 1)).passed);
}

// Replays that begin in the end state train nothing, and would compare nothing.
TEST(AnchorAttack, TheLastCheckpointUnderTheNameOfEveryOther) {
  const fs::path run = copy_of(foreign_run(), "copied_over");
  for (const std::int64_t step : {0, 3, 6, 9}) put(state_of(run, 12), state_of(run, step));
  const Verdict verdict = verdict_of(challenge(run));
  EXPECT_TRUE(verdict.failed);
  EXPECT_THAT(verdict.text, AllOf(HasSubstr("step 0 comes from the seed alone"),
                                  HasSubstr("a checkpoint lies in the directory of another step"),
                                  Not(HasSubstr("ok    segment"
                                                "    steps 10"))));
  for (const std::int64_t from : {0, 3, 6, 9})
    EXPECT_TRUE(verdict_of({.run = run, .replay = std::pair(from, std::int64_t{12})}).failed) << from;
}

TEST(AnchorAttack, AForeignStartUnderTheNameOfStepZero) {
  const fs::path run = copy_of(twelve_honest_steps(), "step_zero");
  put(state_of(run, 3), state_of(run, 0));
  EXPECT_TRUE(verdict_of({.run = run, .replay = std::pair(0, 3)}).failed);
  EXPECT_TRUE(verdict_of(challenge(run)).failed);
}

// The last segment is part of every challenge, with or without the state that it ends in.
TEST(AnchorAttack, TheLastCheckpointIsDeleted) {
  const Experiment e = twelve_steps("last_deleted");
  write_run(e, {.change = [](std::int64_t step, std::span<const StateShard> state) {
              if (step == 11) mix_in_foreign(state, 1.0F);
            }});
  fs::remove_all(state_of(e.output(), 12));
  for (int nonce = 0; nonce < 5; ++nonce) {
    const Verdict verdict = verdict_of({.run = e.output(), .nonce = fmt::format("{}", nonce), .count = 1});
    EXPECT_TRUE(verdict.failed);
    EXPECT_THAT(verdict.text, HasSubstr("it ends in the last state"));
  }
  const fs::path honest = copy_of(twelve_honest_steps(), "honest_last_deleted");
  fs::remove_all(state_of(honest, 12));
  EXPECT_TRUE(verdict_of(challenge(honest)).passed) << "the ledger holds its root";
}

TEST(AnchorAttack, ACheckpointIsDeletedWhenTheNonceIsKnown) {
  const fs::path run = copy_of(foreign_run(), "deleted_after_nonce");
  const Verdict before = verdict_of(challenge(run));
  EXPECT_TRUE(before.failed);
  EXPECT_THAT(before.text, HasSubstr("step 9 differs in "));
  fs::remove_all(state_of(run, 6));
  const Verdict after = verdict_of(challenge(run));
  EXPECT_FALSE(after.passed);
  EXPECT_EQ(draw_of(before.text), draw_of(after.text));
  EXPECT_THAT(after.text, AllOf(HasSubstr("left  segment    steps 7 to 9: the state of step 6 is not there"),
                                HasSubstr(fmt::format("baekji open {} --steps 7", run.string()))));
  VerifyOptions earlier = challenge(run);
  earlier.from_earlier = true;
  EXPECT_THAT(verdict_of(earlier).text, HasSubstr("step 9 differs in "));
}

TEST(AnchorAttack, NothingInTheFolderMovesTheDraw) {
  const Ledger ledger = Ledger::open_read_only(twelve_honest_steps() / "ledger.jsonl");
  const ChallengeSubject subject = challenge_subject(ledger);
  EXPECT_EQ(subject.committed, (std::vector<std::int64_t>{0, 3, 6, 9, 12}));
  const fs::path run = copy_of(twelve_honest_steps(), "draw");
  const std::string drawn = draw_of(verdict_of(challenge(run, 2)).text);
  EXPECT_FALSE(drawn.empty());
  fs::remove_all(state_of(run, 6));
  EXPECT_EQ(draw_of(verdict_of(challenge(run, 2)).text), drawn);
  put(state_of(run, 9), run / "opened" / "step-00000009");
  put(state_of(run, 9), run / "opened" / "step-00000007");
  EXPECT_EQ(draw_of(verdict_of(challenge(run, 2)).text), drawn);
  fs::remove_all(run / "checkpoints");
  fs::remove_all(run / "opened");
  fs::remove(run / "metrics.jsonl");
  EXPECT_EQ(draw_of(verdict_of(challenge(run, 2)).text), drawn);
}

TEST(AnchorAttack, AForeignStateInOpened) {
  const fs::path run = copy_of(twelve_honest_steps(), "foreign_opened");
  put(state_of(foreign_run(), 9), run / "opened" / "step-00000009");
  fs::remove_all(state_of(run, 9));
  const Verdict verdict = verdict_of(challenge(run));
  EXPECT_TRUE(verdict.failed);
  EXPECT_THAT(verdict.text, HasSubstr("a state that the ledger does not hold"));
  // With a manifest that claims the ledger's root for other weights: the arrays are hashed, not the claim.
  Manifest lie = manifest_of(run / "opened" / "step-00000009");
  lie.info.state_root = *Ledger::open_read_only(run / "ledger.jsonl").state_root_of(9);
  write_manifest(run / "opened" / "step-00000009", lie);
  const Verdict claimed = verdict_of(challenge(run));
  EXPECT_TRUE(claimed.failed);
  EXPECT_THAT(claimed.text, AllOf(HasSubstr("FAIL  states"), HasSubstr("differs in state_root before anything was "
                                                                       "trained")));
  EXPECT_TRUE(verdict_of({.run = run, .replay = std::pair(9, 12)}).failed);
  put(state_of(twelve_honest_steps(), 9), run / "opened" / "step-00000009");
  EXPECT_TRUE(verdict_of(challenge(run)).passed);
}

TEST(AnchorAttack, AManifestWithOtherCountersThanTheLedger) {
  const auto attempt = [&](const std::function<void(CheckpointInfo&)>& change) {
    const fs::path run = copy_of(twelve_honest_steps(), "counters");
    Manifest manifest = manifest_of(state_of(run, 6));
    change(manifest.info);
    write_manifest(state_of(run, 6), manifest);
    const Verdict verdict = verdict_of({.run = run, .replay = std::pair(6, 9)});
    EXPECT_TRUE(verdict.failed);
    return verdict.text;
  };
  EXPECT_THAT(attempt([](CheckpointInfo& info) { info.step = 5; }), HasSubstr("directory of another step"));
  EXPECT_THAT(attempt([](CheckpointInfo& info) { ++info.tokens; }), HasSubstr("other tokens"));
  EXPECT_THAT(attempt([](CheckpointInfo& info) { --info.updates; }), HasSubstr("other updates"));
  EXPECT_THAT(attempt([](CheckpointInfo& info) { info.position += 8; }), HasSubstr("other data position"));
  EXPECT_THAT(attempt([](CheckpointInfo& info) { info.contract = sha256("other"); }), HasSubstr("another contract"));
}

// Without a replay too: what lies in the folder is held against the ledger, and one bad entry costs one line.
TEST(AnchorAttack, StatesAreLookedAtByEveryVerification) {
  const auto attempt = [&](const std::function<void(const fs::path&)>& change) {
    const fs::path run = copy_of(twelve_honest_steps(), "entries");
    change(run);
    const Verdict verdict = verdict_of({.run = run, .genesis = true});
    EXPECT_TRUE(verdict.failed) << verdict.text;
    EXPECT_THAT(verdict.text, AllOf(HasSubstr("FAIL  manifests"), HasSubstr("ok    genesis")));
    return verdict.text;
  };
  const auto link = [](const char* target, const fs::path& place) {
    fs::remove_all(place);
    fs::create_directory_symlink(target, place);
  };
  EXPECT_THAT(attempt([](const fs::path& run) { put(state_of(foreign_run(), 9), state_of(run, 9)); }),
              HasSubstr("a state that the ledger does not hold"));
  EXPECT_THAT(attempt([](const fs::path& run) { put(state_of(run, 9), run / "opened" / "step-00000009"); }),
              HasSubstr("keep one"));
  for (const char* name : {"step-9", "step-000000009", "step-0000000x", "step--0000001"})
    EXPECT_THAT(attempt([&](const fs::path& run) { fs::rename(state_of(run, 9), run / "checkpoints" / name); }),
                HasSubstr("is no name of a state"))
        << name;
  for (const char* target : {"nowhere", "manifest.json", "/"}) {
    attempt([&](const fs::path& run) { link(target, state_of(run, 6) / "manifest.json"); });
    attempt([&](const fs::path& run) { link(target, state_of(run, 6) / "index.h5"); });
  }
  for (const char* folder : {"checkpoints", "opened"}) {
    for (const char* target : {"nowhere", "checkpoints", "opened", "ledger.jsonl"}) {
      if (std::string_view(folder) == "opened" && std::string_view(target) == "checkpoints") continue;  // both: above
      attempt([&](const fs::path& run) { link(target, run / folder); });
    }
    attempt([&](const fs::path& run) {
      fs::remove_all(run / folder);
      ASSERT_EQ(mkfifo((run / folder).c_str(), 0600), 0);
    });
  }
  attempt([](const fs::path& run) { fs::remove_all(state_of(run, 6)), write_file(state_of(run, 6), "no folder"); });
}

// States take much room: their folder may be a link to where there is some.
TEST(AnchorAttack, AFolderElsewhereIsAsGood) {
  const fs::path run = copy_of(twelve_honest_steps(), "elsewhere");
  const fs::path place = fresh_folder("elsewhere_states");
  fs::rename(run / "checkpoints", place);
  fs::create_directory_symlink(place, run / "checkpoints");
  const Verdict verdict = verdict_of(challenge(run));
  EXPECT_TRUE(verdict.passed) << verdict.text;
}

// A link that leads nowhere is not the absence of what it stands for.
TEST(AnchorAttack, ALinkToNowhereIsNotNothing) {
  for (const char* name : {"tokenizer.model", "contract.note", "log", "experiment.toml"}) {
    for (const char* target : {"nowhere", name}) {
      const fs::path run = copy_of(twelve_honest_steps(), "links");
      fs::remove_all(run / name);
      fs::create_symlink(target, run / name);
      VerifyOptions options{.run = run};
      if (std::string_view(name) == "log" || std::string_view(name) == "contract.note")
        options.signatures.public_key =
            write_public_key(data_folder() / "links.pub", test_key(data_folder(), "links").public_key());
      const Verdict verdict = verdict_of(options);
      EXPECT_TRUE(verdict.failed) << name << " to " << target << "\n" << verdict.text;
      EXPECT_THAT(verdict.text, HasSubstr((run / name).string()));
    }
  }
}

// Consistent in itself: the manifest has the digest of the shard that was put there.
TEST(AnchorAttack, AShardOfAnotherRunWithItsDigestInTheManifest) {
  const fs::path run = copy_of(twelve_honest_steps(), "shard");
  const fs::path shard = state_of(run, 9) / "shard-00000.h5";
  fs::copy_file(state_of(foreign_run(), 9) / "shard-00000.h5", shard, fs::copy_options::overwrite_existing);
  EXPECT_THAT(verdict_of({.run = run, .replay = std::pair(9, 12)}).text, HasSubstr("damaged"));
  Manifest manifest = manifest_of(state_of(run, 9));
  manifest.shards[0].digest = file_digest(shard);
  manifest.shards[0].size_bytes = static_cast<std::int64_t>(fs::file_size(shard));
  write_manifest(state_of(run, 9), manifest);
  EXPECT_THAT(verdict_of({.run = run, .replay = std::pair(9, 12)}).text,
              AllOf(HasSubstr("FAIL  replay"), HasSubstr("before anything was trained")));
  EXPECT_TRUE(verdict_of(challenge(run)).failed);
}

TEST(AnchorAttack, AReleasedStepWithoutARootIsNothingOfThisRun) {
  VerifyOptions options = challenge(twelve_honest_steps(), 1);
  options.steps = {6};
  const Verdict good = verdict_of(options);
  EXPECT_TRUE(good.passed) << good.text;
  EXPECT_THAT(good.text, HasSubstr("it ends in the state of step 6"));
  for (const std::int64_t step : {5, 13, 1000000}) {
    options.steps = {step};
    EXPECT_TRUE(verdict_of(options).failed) << step;
  }
  options = challenge(foreign_run(), 1);
  options.steps = {9};
  EXPECT_TRUE(verdict_of(options).failed) << "the swap lies in the segment that ends in the released step";
}

// A replay that is cut short, or that ends where the ledger has no root, proves nothing.
TEST(AnchorAttack, OnlyAWholeReplayThatEndsInARootProves) {
  EXPECT_FALSE((ReplayResult{.records = 0, .roots = 0, .root_at_end = true}).complete(3));
  EXPECT_FALSE((ReplayResult{.records = 3, .roots = 0}).complete(3));
  EXPECT_FALSE((ReplayResult{.records = 3, .roots = 1, .root_at_end = true, .out_of_time = true}).complete(3));
  EXPECT_FALSE((ReplayResult{.records = 4, .roots = 1, .root_at_end = true}).complete(3));
  EXPECT_TRUE((ReplayResult{.records = 3, .roots = 1, .root_at_end = true}).complete(3));
  const Experiment e = load(fresh_folder("tail"), {"run.steps=8", "run.checkpoint_every=3", "run.keep=100"});
  write_run(e, {.change = [](std::int64_t step, std::span<const StateShard> state) {
              if (step == 8) mix_in_foreign(state, 1.0F);
            }});
  const Verdict tail = verdict_of({.run = e.output(), .nonce = "any", .count = 8});
  EXPECT_FALSE(tail.passed);
  EXPECT_FALSE(tail.failed);
  EXPECT_THAT(tail.text, AllOf(HasSubstr("left  challenge  steps 7 to 8"), HasSubstr("partly verified: ")));
  const Verdict replay = verdict_of({.run = e.output(), .replay = std::pair(6, 8)});
  EXPECT_FALSE(replay.passed);
  EXPECT_THAT(replay.text, HasSubstr("left  replay     steps 7 to 8: no state root"));
}

}  // namespace
}  // namespace baekji::tiny
