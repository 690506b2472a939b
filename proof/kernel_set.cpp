#include "proof/kernel_set.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/error.h"
#include "proof/contract.h"

namespace baekji {

extern const char kNumericsSourcesHex[];  // generated in the build folder, as is the other
extern const char kNumericsFlags[];

namespace {

using nlohmann::json;

#if defined(__x86_64__)
// The brand string of CPUID leaves 0x80000002 to 0x80000004, without padding blanks.
std::string processor_name() {
  std::array<unsigned, 12> words{};
  for (unsigned leaf = 0; leaf < 3; ++leaf) {
    unsigned* const w = words.data() + std::size_t{4} * leaf;
    if (__get_cpuid(0x80000002U + leaf, w, w + 1, w + 2, w + 3) == 0) return "unknown";
  }
  std::array<char, sizeof words + 1> text{};
  std::memcpy(text.data(), words.data(), sizeof words);
  std::string name(text.data());
  const std::size_t first = name.find_first_not_of(' ');
  if (first == std::string::npos) return "unknown";
  // A brand string is ASCII; a hypervisor may still set any bytes, and JSON takes UTF-8 only.
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return name.substr(first, name.find_last_not_of(' ') - first + 1);
}

std::string instruction_sets() {
  __builtin_cpu_init();
  std::vector<std::string> names;
  const auto note = [&](bool has, const char* name) {
    if (has) names.emplace_back(name);
  };
  note(__builtin_cpu_supports("avx") > 0, "avx");
  note(__builtin_cpu_supports("avx2") > 0, "avx2");
  note(__builtin_cpu_supports("fma") > 0, "fma");
  note(__builtin_cpu_supports("avx512f") > 0, "avx512f");
  note(__builtin_cpu_supports("avx512bw") > 0, "avx512bw");
  note(__builtin_cpu_supports("avx512dq") > 0, "avx512dq");
  note(__builtin_cpu_supports("avx512vl") > 0, "avx512vl");
  note(__builtin_cpu_supports("avx512vnni") > 0, "avx512vnni");
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) note((a & (1U << 5)) != 0, "avx512bf16");
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
    note((d & (1U << 22)) != 0, "amx_bf16");
    note((d & (1U << 24)) != 0, "amx_tile");
  }
  std::sort(names.begin(), names.end());
  std::string text = "x86_64";
  for (const std::string& name : names) text += " " + name;
  return text;
}
#elif defined(__aarch64__)
std::string processor_name() {
  return "unknown";
}
std::string instruction_sets() {
  return "aarch64";
}
#else
std::string processor_name() {
  return "unknown";
}
std::string instruction_sets() {
  return "unknown";
}
#endif

std::string compiler_name() {
#if defined(__clang__)
  return fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#elif defined(__GNUC__)
  return fmt::format("gcc {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#else
  return "unknown";
#endif
}

}  // namespace

Digest numerics_sources_digest() {
  return parse_digest(kNumericsSourcesHex);
}

KernelSet cpu_kernel_set(std::map<std::string, std::string> libraries) {
  return {.device = "cpu",
          .processor = processor_name(),
          .instruction_set = instruction_sets(),
          .compiler = compiler_name(),
          .libraries = std::move(libraries),
          .numerics_sources = numerics_sources_digest(),
          .flags = kNumericsFlags};
}

json to_json_value(const KernelSet& kernels) {
  json libraries = json::object();
  for (const auto& [name, version] : kernels.libraries) libraries[name] = version;
  return {{"compiler", kernels.compiler},  {"device", kernels.device},
          {"flags", kernels.flags},        {"instruction_set", kernels.instruction_set},
          {"libraries", libraries},        {"numerics_sources", to_hex(kernels.numerics_sources)},
          {"processor", kernels.processor}};
}

KernelSet parse_kernel_set(const json& value, const std::string& place) {
  try {
    KernelSet kernels;
    kernels.device = value.at("device").get<std::string>();
    kernels.processor = value.at("processor").get<std::string>();
    kernels.instruction_set = value.at("instruction_set").get<std::string>();
    kernels.compiler = value.at("compiler").get<std::string>();
    kernels.flags = value.at("flags").get<std::string>();
    kernels.numerics_sources = parse_digest(value.at("numerics_sources").get<std::string>());
    for (const auto& [name, version] : value.at("libraries").items())
      kernels.libraries[name] = version.get<std::string>();
    return kernels;
  } catch (const json::exception& error) {
    throw Error("not a kernel set").values("docs/formats/contract.md", error.what()).at(place);
  }
}

Digest kernel_set_digest(const KernelSet& kernels) {
  return sha256(canonical_json(to_json_value(kernels)));
}

std::vector<std::string> kernel_set_differences(const KernelSet& before, const KernelSet& now) {
  std::vector<std::string> lines;
  const auto compare = [&](std::string_view name, const std::string& a, const std::string& b) {
    if (a != b) lines.push_back(fmt::format("{}: {} -> {}", name, a, b));
  };
  compare("device", before.device, now.device);
  compare("processor", before.processor, now.processor);
  compare("instruction_set", before.instruction_set, now.instruction_set);
  compare("compiler", before.compiler, now.compiler);
  compare("flags", before.flags, now.flags);
  std::map<std::string, std::string> names = before.libraries;
  names.insert(now.libraries.begin(), now.libraries.end());
  const auto version = [](const KernelSet& set, const std::string& name) {
    const auto it = set.libraries.find(name);
    return it == set.libraries.end() ? std::string("none") : it->second;
  };
  for (const auto& [name, any] : names) compare("library " + name, version(before, name), version(now, name));
  compare("numerics_sources", to_hex(before.numerics_sources), to_hex(now.numerics_sources));
  return lines;
}

}  // namespace baekji
