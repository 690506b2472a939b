// baekji plan against the trainer: the same layouts, the same planned memory; and what it refuses.

#include "trainer/planner.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/trainer/tiny_run.h"
#include "trainer/dry_run.h"
#include "trainer/nearest_layout.h"
#include "trainer/plan_report.h"
#include "trainer/proof_report.h"
#include "trainer/rehearsal.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

struct Outcome {
  int status = 0;
  std::string text;
};
Outcome run_plan(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "plan");
  const fs::path log = tiny::data_folder() / "plan.log";
  const int status = tiny::wait_for(tiny::start_program(arguments, log));
  return {.status = status, .text = tiny::read_text(log)};
}

fs::path config(const std::string& name) {
  return fs::path(BAEKJI_SOURCE_DIR) / "configs" / name;
}

// Which cluster each of our experiments is for.
const std::vector<std::pair<std::string, std::string>> kExperiments{{"1b.toml", "h100-1024"},
                                                                    {"8b.toml", "h100-1024"},
                                                                    {"32b.toml", "h100-1024"},
                                                                    {"72b.toml", "b200-4096"},
                                                                    {"consortium/korean-32b.toml", "h100-1024"},
                                                                    {"consortium/long-72b.toml", "b200-4096"}};

TEST(Planner, OurExperimentsFitTheClustersTheyAreFor) {
  for (const auto& [name, cluster_name] : kExperiments) {
    const Experiment e = load_experiment(config(name), {});
    const Cluster cluster = load_cluster(config("clusters/" + cluster_name + ".toml"));
    const Workload w = workload_of(e, e.stages.front());
    EXPECT_NEAR(w.model.parameters(), static_cast<double>(parameter_count(e.model)), 0.001 * w.model.parameters());
    EXPECT_NEAR(w.model.flops_per_token(w.sequence), flops_per_token(e.model, e.model.context),
                0.001 * w.model.flops_per_token(w.sequence));
    const StepForecast f = forecast_step({w, cluster, implementation_profile("baekji")});
    const double most = bytes_unless_more(e, implementation_profile("baekji"), std::numeric_limits<double>::infinity());
    fmt::print("{} on {}: {:.3f} s a step, mfu {:.1f}%, {}\n", name, cluster.name, f.step_s, 100 * f.mfu,
               format_bytes(static_cast<std::int64_t>(most)));
    EXPECT_LE(most, room_bytes(cluster)) << name;
    EXPECT_LE(e.layout.mesh().size(), cluster.devices);
    EXPECT_GT(f.mfu, 0.2);
    EXPECT_LT(f.mfu, 0.85);
  }
}

TEST(Planner, OurExperimentsRehearse) {
  for (const char* name : {"1b.toml", "8b.toml"}) {
    const Experiment e = load_experiment(config(name), {});
    const Rehearsal rehearsal = rehearse(e, e.layout.mesh().size(), 0);
    fmt::print("{}: {} ranks, {} calls\n", name, rehearsal.ranks, rehearsal.calls_played);
    EXPECT_GT(rehearsal.calls_played, rehearsal.ranks);
    // The plan asks the first data rank; others own a chunk more, or less.
    const double first =
        bytes_unless_more(e, implementation_profile("baekji"), std::numeric_limits<double>::infinity());
    EXPECT_NEAR(static_cast<double>(rehearsal.largest.device->total_bytes()), first, 0.001 * first);
  }
}

TEST(Planner, ALayoutThatCannotBeNamesTheNearestThatCan) {
  const Cluster cluster = load_cluster(config("clusters/b200-4096.toml"));
  const auto nearest = [&](const std::string& key) {
    const std::vector<std::string> overrides{key};
    const std::string text = nearest_layout(config("72b.toml"), overrides, cluster, implementation_profile("baekji"));
    fmt::print("{}: {}\n", key, text);
    return text;
  };
  EXPECT_THAT(nearest("layout.tensor=3"), HasSubstr("x128x4"));
  EXPECT_THAT(nearest("layout.pipeline=7"), HasSubstr("x128x4"));
  EXPECT_THAT(nearest("layout.zero=3"), testing::StartsWith("8x128x4"));
  EXPECT_THAT(nearest("layout.recompute=full"), testing::AllOf(HasSubstr("8x128x4"), HasSubstr("recompute full")));
  EXPECT_EQ(nearest("numerics.replicas=100"), "") << "not the layout's fault";
}

// The largest layouts of all are what the trainer prints before step 1.
TEST(Planner, MemoryIsTheTrainersTable) {
  const Experiment e = load_experiment(config("72b.toml"), {});
  const std::string table = dry_run(e, {});
  for (const RankPlan& plan : rank_plans(e, implementation_profile("baekji"))) {
    const std::string total = fmt::format("  {:<28} {:>12}\n", "total", format_bytes(plan.total_bytes));
    EXPECT_THAT(table, HasSubstr(total));
    std::int64_t sum = 0;
    for (const auto& [part, bytes] : plan.parts) sum += bytes;
    EXPECT_EQ(sum, plan.total_bytes);
  }
  fmt::print("{} pipeline ranks\n", e.layout.pipeline);
}

TEST(Planner, ASearchFindsTheExperimentsLayoutOrBetter) {
  const Experiment e = load_experiment(config("1b.toml"), {});
  const Cluster cluster = load_cluster(config("clusters/h100-1024.toml"));
  const Workload w = workload_of(e, e.stages.front());
  const StepQuestion question{w, cluster, implementation_profile("baekji")};
  const SearchSpace space{.devices = e.layout.mesh().size(),
                          .most_tensor = e.numerics.tensor_grains,
                          .wanted = 5,
                          .room_bytes = room_bytes(cluster),
                          .layers_of = trainer_layers(e)};
  const SearchResult result = search_layouts(question, space, [&](const Candidate& c) {
    const double bytes = bytes_unless_more(with_candidate(e, c), implementation_profile("baekji"),
                                           std::numeric_limits<double>::infinity());
    EXPECT_LE(bytes_at_least(c.workload), bytes) << describe(c);
    return bytes;
  });
  ASSERT_FALSE(result.best.empty());
  const Candidate& best = result.best.front();
  EXPECT_LE(best.forecast.step_s, forecast_step(question).step_s * (1 + 1e-9));
  // The layout is one that the trainer takes, and prices the same.
  const Experiment laid_out = with_candidate(e, best);
  const Workload again = workload_of(laid_out, laid_out.stages.front());
  EXPECT_NEAR(forecast_step({again, cluster, implementation_profile("baekji")}).step_s, best.forecast.step_s, 1e-12);
  fmt::print("{}", search_table(result, space));
}

ProofPlan proof_of(const std::string& name, const std::string& cluster_name, std::int64_t nodes) {
  const Experiment e = load_experiment(config(name), {});
  const Cluster cluster = load_cluster(config("clusters/" + cluster_name + ".toml"));
  const Workload w = workload_of(e, e.stages.front());
  const StepQuestion question{w, cluster, implementation_profile("baekji")};
  const ProofPlan plan = plan_proof(e, question, forecast_step(question).step_s, nodes);
  fmt::print("{}", proof_table(plan, e, true));
  return plan;
}

TEST(ProofPlan, TheStateFitsTheEvaluatorsNodesOrThePlanSaysHowManyItTakes) {
  const ProofPlan small = proof_of("8b.toml", "h100-1024", 1);
  EXPECT_EQ(small.evaluator.nodes, 1);
  EXPECT_EQ(small.evaluator.lacks, "");
  EXPECT_GT(small.bill.draws.front().evaluator_hours, 0);
  const ProofPlan large = proof_of("72b.toml", "b200-4096", 1);
  EXPECT_EQ(large.bill.segment_steps, 1) << "run.root_every = 1";
  if (large.evaluator.nodes != 1) {
    EXPECT_THAT(large.evaluator.lacks, HasSubstr("of 177.0 GiB on a device"));
  }
  ASSERT_GT(large.evaluator.nodes, 0);
}

TEST(ProofPlan, WhatARankHashesIsWhatTheTrainerBindsForIt) {
  for (const auto& [name, cluster] : kExperiments) {
    const Experiment e = load_experiment(config(name), {});
    const StateSpread state = state_spread(e);
    std::int64_t most = 0;
    for (const RankPlan& plan : rank_plans(e, implementation_profile("baekji"))) {
      std::int64_t bound = 0;
      for (const auto& [part, bytes] : plan.parts)
        if (part == "master weights" || part == "optimizer moments") bound += bytes;
      most = std::max(most, bound);
    }
    fmt::print("{}: {} of {} on {} ranks\n", name, format_bytes(most),
               format_bytes(static_cast<std::int64_t>(state.state_bytes)), state.ranks);
    EXPECT_NEAR(state.busiest_bytes, static_cast<double>(most), 0.02 * static_cast<double>(most)) << name;
  }
}

TEST(ProofPlan, ChancesAreThoseOfDrawsWithoutRepetition) {
  const MissChances m = miss_chances(10000, 1, 100);
  EXPECT_NEAR(m.one_segment, 0.99, 1e-12);
  EXPECT_NEAR(m.early_segment, 0.99 * 0.99, 1e-12) << "the first hundredth has a draw of its own";
  EXPECT_LT(m.tenth, std::pow(0.9, 100));
  EXPECT_GT(m.thousandth, m.hundredth);
  EXPECT_NEAR(miss_chances(10000, 100, 100).one_segment, m.hundredth, 1e-12) << "each step stands for its segment";
  EXPECT_EQ(miss_chances(10000, 100, 100).early_segment, 0) << "the whole first hundredth";
  EXPECT_EQ(miss_chances(50, 1, 50).one_segment, 0) << "all are drawn";
}

TEST(PlanCommand, SpeaksJsonAndDraws) {
  const fs::path folder = tiny::data_folder();
  const std::string picture = (folder / "memory.svg").string();
  const std::string trace = (folder / "trace.json").string();
  const Outcome outcome =
      run_plan({config("32b.toml").string(), "--cluster", config("clusters/h100-1024.toml").string(), "--explain",
                "--json", "--memory", picture, "--trace", trace});
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  const nlohmann::json plan = nlohmann::json::parse(outcome.text);
  EXPECT_GT(plan["step"]["step_s"].get<double>(), 0);
  EXPECT_EQ(plan["memory"].size(), 4U);
  EXPECT_GT(plan["run"]["days"].get<double>(), plan["run"]["training_days"].get<double>());
  EXPECT_EQ(plan["proof"]["draws"].size(), 4U);
  EXPECT_GT(plan["proof"]["step_share"].get<double>(), 0);
  EXPECT_THAT(tiny::read_text(picture), HasSubstr("pipeline rank 3"));
  EXPECT_TRUE(nlohmann::json::accept(tiny::read_text(trace)));
}

TEST(PlanCommand, SaysWhatCannotBe) {
  const auto refusal = [](std::vector<std::string> arguments) {
    const Outcome outcome = run_plan(std::move(arguments));
    EXPECT_NE(outcome.status, 0);
    return outcome.text;
  };
  const std::string large = config("72b.toml").string();
  const std::string b200 = config("clusters/b200-4096.toml").string();
  const std::string a100 = config("clusters/a100-2048.toml").string();
  const std::string one = config("clusters/h100-1.toml").string();
  EXPECT_THAT(refusal({config("demo.toml").string(), "--cluster", b200}), HasSubstr("layout.device = \"cuda\""));
  EXPECT_THAT(refusal({large, "--cluster", b200, "--profile", "megatrom"}), HasSubstr("did you mean \"megatron\"?"));
  EXPECT_THAT(refusal({large, "--cluster", one}), HasSubstr("the model fits nowhere on this cluster"));
  EXPECT_THAT(refusal({large, "--cluster", a100, "--explain"}), HasSubstr("more devices than the cluster has"));
  EXPECT_THAT(refusal({large, "--cluster", a100, "--set", "numerics.precision=fp8"}), HasSubstr("no matrix products"));
  EXPECT_THAT(refusal({large, "--cluster", large}), HasSubstr("unknown key"));
}

}  // namespace
}  // namespace baekji
