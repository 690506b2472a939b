#include "trainer/proof_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/arena.h"

namespace baekji {
namespace {

std::string size_text(double bytes) {
  return format_bytes(static_cast<std::int64_t>(bytes));
}

std::string duration_text(double seconds) {
  if (seconds < 1) return fmt::format("{:.1f} ms", 1e3 * seconds);
  if (seconds < 120) return fmt::format("{:.1f} s", seconds);
  return seconds < 7200 ? fmt::format("{:.1f} minutes", seconds / 60) : fmt::format("{:.1f} hours", seconds / 3600);
}

// Small chances, and those near one, are told apart.
std::string chance_text(double chance) {
  if (chance < 1e-6) return "below 1e-6";
  if (chance < 1e-3) return fmt::format("{:.0e}", chance);
  return fmt::format("{:.3f}%", 100 * chance);
}

std::string root_parts(const ProofPlan& p) {
  const RootSeconds& r = p.bill.root;
  std::string text;
  text += fmt::format("  {:<26} {:>12}  {} of the rank that answers for the most\n", "state to the host",
                      duration_text(r.copy), size_text(p.state.busiest_bytes));
  text += fmt::format("  {:<26} {:>12}  on its share of the cores\n", "SHA-256 of its chunks", duration_text(r.hash));
  text += fmt::format("  {:<26} {:>12}  {:.4g} leaves to {} ranks\n", "digests to all ranks", duration_text(r.exchange),
                      p.state.leaves, p.state.ranks);
  text += fmt::format("  {:<26} {:>12}  in blocks that ranks divide\n", "tree over them", duration_text(r.fold));
  return text +
         fmt::format("  {:<26} {:>12}  of every step\n", "record and batch root", duration_text(p.bill.records_s));
}

std::string evaluator_text(const ProofPlan& p, bool parts) {
  const EvaluatorPlan& e = p.evaluator;
  std::string text;
  if (!e.lacks.empty())
    text += fmt::format("evaluator  the state does not fit on {} node{}: {}\n", e.asked_nodes,
                        e.asked_nodes == 1 ? "" : "s", e.lacks);
  if (e.nodes == 0) return text + "           nor on what was tried beyond: no bill for an evaluator\n";
  const ProofBill& b = p.bill;
  text += fmt::format("evaluator  on {} node{} of {} devices, {}, {} on a device: {} for each replay of {} step{}\n",
                      e.nodes, e.nodes == 1 ? "" : "s", e.devices / e.nodes, e.layout, size_text(e.memory_bytes),
                      duration_text(b.segment_s()), b.segment_steps, b.segment_steps == 1 ? "" : "s");
  if (!parts) return text;
  text += fmt::format("  {:<26} {:>12}  by one rank: files, root, distance to the neighbour\n", "checking the state",
                      duration_text(b.check_s));
  text += fmt::format("  {:<26} {:>12}  {} read\n", "loading the state", duration_text(b.load_s),
                      size_text(p.state.state_bytes));
  text += fmt::format("  {:<26} {:>12}\n", "training", duration_text(b.replay_s));
  return text + fmt::format("  {:<26} {:>12}  files, and the state's root before and after\n", "hashing",
                            duration_text(b.hash_s));
}

std::string draws_text(const ProofPlan& p) {
  std::string text = fmt::format(
      "challenge  k drawn steps, and always one of the first 1%, the 3 largest moves and the last step\n"
      "  {:>5} {:>9} | {:>18} {:>9} {:>11} | {:>16}\n",
      "k", "replays", "owner trains steps", "in hours", "and opens", "evaluator, hours");
  for (const DrawBill& d : p.bill.draws) {
    const std::string hours = p.evaluator.nodes > 0 ? fmt::format("{:.2f}", d.evaluator_hours) : "-";
    text += fmt::format("  {:>5} {:>9} | {:>18.0f} {:>9.2f} {:>11} | {:>16}\n", d.drawn, d.replays, d.owner_steps,
                        d.owner_hours, size_text(d.opened_bytes), hours);
  }
  text += fmt::format(
      "missed     with the chance that k drawn steps leave, when forged are\n  {:>5} {:>12} {:>12} {:>12} {:>12} "
      "{:>16}\n",
      "k", "10% of steps", "1%", "0.1%", "one segment", "one of the first");
  for (const MissChances& m : p.chances) {
    text += fmt::format("  {:>5} {:>12} {:>12} {:>12} {:>12} {:>16}\n", m.drawn, chance_text(m.tenth),
                        chance_text(m.hundredth), chance_text(m.thousandth), chance_text(m.one_segment),
                        chance_text(m.early_segment));
  }
  return text + "           never: the last segment, and a step whose recorded move is one of the 3 largest\n";
}

}  // namespace

std::string proof_table(const ProofPlan& p, const Experiment& e, bool parts) {
  const ProofBill& b = p.bill;
  std::string text = fmt::format(
      "proof      a state root every {} step{} (run.root_every = {}) takes {}: {:.2f}% of training with records and "
      "batch "
      "roots\n",
      b.segment_steps, b.segment_steps == 1 ? "" : "s", e.run.root_every, duration_text(b.root.total()),
      100 * b.step_share);
  if (parts) text += root_parts(p);
  text += fmt::format("           {} anchors of {} ({}), {} of ledger and log\n", b.anchors,
                      size_text(p.state.state_bytes), size_text(b.anchor_bytes), size_text(b.ledger_bytes));
  return text + evaluator_text(p, parts) + draws_text(p);
}

nlohmann::json to_json(const ProofPlan& p) {
  const ProofBill& b = p.bill;
  nlohmann::json draws = nlohmann::json::array();
  for (std::size_t i = 0; i < b.draws.size(); ++i) {
    const DrawBill& d = b.draws[i];
    const MissChances& m = p.chances[i];
    draws.push_back({{"drawn", d.drawn},
                     {"replays", d.replays},
                     {"owner_steps", d.owner_steps},
                     {"owner_hours", d.owner_hours},
                     {"opened_bytes", d.opened_bytes},
                     {"missed",
                      {{"tenth", m.tenth},
                       {"hundredth", m.hundredth},
                       {"thousandth", m.thousandth},
                       {"one_segment", m.one_segment},
                       {"early_segment", m.early_segment}}}});
    if (p.evaluator.nodes > 0) draws.back()["evaluator_hours"] = d.evaluator_hours;
  }
  nlohmann::json json{{"root_s",
                       {{"copy", b.root.copy},
                        {"hash", b.root.hash},
                        {"exchange", b.root.exchange},
                        {"fold", b.root.fold},
                        {"total", b.root.total()}}},
                      {"records_s", b.records_s},
                      {"step_share", b.step_share},
                      {"segment_steps", b.segment_steps},
                      {"anchors", b.anchors},
                      {"anchor_bytes", b.anchor_bytes},
                      {"ledger_bytes", b.ledger_bytes},
                      {"state_bytes", p.state.state_bytes},
                      {"draws", draws}};
  nlohmann::json evaluator{{"asked_nodes", p.evaluator.asked_nodes}, {"nodes", p.evaluator.nodes}};
  if (!p.evaluator.lacks.empty()) evaluator["lacks"] = p.evaluator.lacks;
  if (p.evaluator.nodes > 0) {
    evaluator.update({{"devices", p.evaluator.devices},
                      {"layout", p.evaluator.layout},
                      {"memory_bytes", p.evaluator.memory_bytes},
                      {"check_s", b.check_s},
                      {"load_s", b.load_s},
                      {"replay_s", b.replay_s},
                      {"hash_s", b.hash_s}});
  }
  json["evaluator"] = evaluator;
  return json;
}

}  // namespace baekji
