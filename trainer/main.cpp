// baekji: pretrains language models from a blank page, and can prove it.

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "core/float_environment.h"
#include "core/printable.h"
#include "trainer/commands.h"

int main(int argc, char** argv) {
  baekji::set_float_environment();  // before anything computes; libraries may have changed it while they were loaded
  CLI::App app("Baekji pretrains language models from a blank page, and can prove it.");
  app.require_subcommand(1);
  baekji::add_tokenizer_command(app);
  baekji::add_data_command(app);
  baekji::add_train_command(app);
  baekji::add_generate_command(app);
  baekji::add_score_command(app);
  baekji::add_export_command(app);
  baekji::add_attest_command(app);
  baekji::add_inspect_command(app);
  baekji::add_keys_command(app);
  baekji::add_contract_command(app);
  baekji::add_log_command(app);
  baekji::add_verify_command(app);
  baekji::add_open_command(app);
  baekji::add_chunks_command(app);
  baekji::add_plan_command(app);
  baekji::add_bench_command(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", baekji::printable_lines(error.what()));
    return 1;
  }
  return 0;
}
