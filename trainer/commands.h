#pragma once
// The subcommands of the program, one file each (trainer/command_*.cpp). Each function adds its subcommand and options
// to `app` and does its work in the subcommand's callback, throwing Error on any failure.

#include <CLI/CLI.hpp>

namespace baekji {

void add_tokenizer_command(CLI::App& app);
void add_data_command(CLI::App& app);
void add_train_command(CLI::App& app);
void add_generate_command(CLI::App& app);
void add_score_command(CLI::App& app);
void add_export_command(CLI::App& app);
void add_attest_command(CLI::App& app);
void add_inspect_command(CLI::App& app);
void add_keys_command(CLI::App& app);
void add_contract_command(CLI::App& app);
void add_log_command(CLI::App& app);
void add_verify_command(CLI::App& app);
void add_open_command(CLI::App& app);
void add_chunks_command(CLI::App& app);
void add_plan_command(CLI::App& app);
void add_bench_command(CLI::App& app);

}  // namespace baekji
