#include "kernels/cpu/matmul.h"

#include <algorithm>
#include <cstring>

#include "kernels/check.h"

namespace baekji {
namespace {

using cpu::kTileColumns;

// A task that only streams packed panels: some rows of a in the second-level cache, one panel of b after the other.
constexpr std::int64_t kStreamRows = 64;
constexpr std::int64_t kStreamSteps = 1024;
constexpr std::int64_t kStreamColumns = 512;  // bounds the partial tile when the inner dim is longer than kStreamSteps
// A task that packs on its own: near-square tiles, whose packing costs one pass over their edges, and as many steps as
// leave room in that cache for the packed block, the source of the next one and the partial tile.
constexpr std::int64_t kPackRows = 256;
constexpr std::int64_t kPackColumns = 256;
constexpr std::int64_t kPackSteps = 128;
// AMX tiles are done with an operand so soon that more rows must share what comes from beyond the second-level cache,
// which is 2 MiB where there are such tiles.
constexpr std::int64_t kAmxStreamRows = 256;
constexpr std::int64_t kAmxPackRows = 512;
constexpr std::int64_t kAmxPackColumns = 512;
// A transposed fp32 operand is broadcast from where it lies, unless tiles have so few rows that they come for it too
// often, or the processor (those with AMX: by a tenth) multiplies faster than it fetches a line for every step of the
// inner dim. bf16 must be paired along that dim anyway.
#if defined(BAEKJI_AMX)
constexpr bool kPacksFloatRows = true;
#else
constexpr bool kPacksFloatRows = cpu::kTileRows < 8;
#endif
// Enough tasks for the threads of a laptop to end together, unless they would be too short to hand out (about 4 us).
constexpr std::int64_t kEnoughTasks = 32;
constexpr std::int64_t kEnoughPackTasksPerThread = 2;
constexpr std::int64_t kLeastWork = 1 << 18;
// Rows this far apart share a set of the first-level cache, which is smaller than a tile has rows: such an a is copied.
constexpr std::int64_t kAliasBytes = 4096;

// Panels end off a power of two, for the same reason.
constexpr std::int64_t kRowPanelBytes = kPackSteps * cpu::kRowPanel * 4 + 64;
constexpr std::int64_t kColumnPanelBytes = kPackSteps * kTileColumns * 4 + 64;
constexpr std::int64_t kCopiedRowBytes = kStreamSteps * 4 + 64;

constexpr std::int64_t kAmxPanelBytes = kPackSteps * cpu::kAmxRows * 4 + 64;

// Working memory of one task.
struct TaskBytes {
  std::int64_t partial = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  constexpr std::int64_t all() const { return partial + rows + columns; }
};
constexpr TaskBytes kTaskBytes{
    .partial = round_up(std::max(kStreamRows * kStreamColumns, kPackRows* kPackColumns) * 4, 4096),
    .rows = round_up(std::max(kPackRows / cpu::kRowPanel * kRowPanelBytes, kStreamRows* kCopiedRowBytes), 4096),
    .columns = kPackColumns / kTileColumns * kColumnPanelBytes};
constexpr TaskBytes kAmxTaskBytes{
    .partial = round_up(std::max(kAmxStreamRows * kStreamColumns, kAmxPackRows* kAmxPackColumns) * 4, 4096),
    .rows = round_up(kAmxPackRows / cpu::kAmxRows * kAmxPanelBytes, 4096),
    .columns = kAmxPackColumns / kTileColumns * kColumnPanelBytes};
static_assert(kAmxTaskBytes.all() >= kTaskBytes.all());

std::string pair_of(const Tensor& a, const Tensor& b, const Tensor& c) {
  return fmt::format("{} x {} -> {}", name_of(a.type()), name_of(b.type()), name_of(c.type()));
}

}  // namespace

MatmulPlan plan_matmul(const MatmulProblem& p, int threads) {
  MatmulPlan plan;
  const bool packs = p.transposed_rows || p.packs_columns;
  plan.block_steps = packs ? kPackSteps : kStreamSteps;
  const std::int64_t panels = ceil_div(p.columns, kTileColumns);
  const std::int64_t work = p.rows * p.columns * std::max<std::int64_t>(p.steps, 1);
  const std::int64_t wanted = std::clamp<std::int64_t>(work / kLeastWork, 1, kEnoughTasks);
  std::int64_t most_rows = p.amx ? kAmxStreamRows : kStreamRows;
  std::int64_t most_columns = p.steps > kStreamSteps ? kStreamColumns : panels * kTileColumns;
  if (packs) {
    most_rows = p.amx ? kAmxPackRows : kPackRows;
    most_columns = p.amx ? kAmxPackColumns : kPackColumns;
    const auto tasks = [&] { return ceil_div(p.rows, most_rows) * ceil_div(p.columns, most_columns); };
    while (tasks() < std::min(wanted, kEnoughPackTasksPerThread * threads) && most_columns > kTileColumns) {
      if (most_columns >= most_rows)
        most_columns /= 2;
      else
        most_rows /= 2;
    }
  }
  plan.row_tasks = ceil_div(p.rows, most_rows);
  plan.column_tasks = ceil_div(panels * kTileColumns, most_columns);
  while (!packs && plan.row_tasks * plan.column_tasks < wanted && plan.column_tasks < panels) ++plan.column_tasks;
  plan.rows = ceil_div(p.rows, plan.row_tasks);
  plan.columns = ceil_div(panels, plan.column_tasks) * kTileColumns;
  plan.row_tasks = ceil_div(p.rows, plan.rows);
  plan.column_tasks = ceil_div(p.columns, plan.columns);
  return plan;
}

struct CpuMatmul::Run {
  const MatmulArgs& args;
  MatmulProblem problem;
  MatmulPlan plan;
  std::int64_t inner = 0;
  const std::byte* weight = nullptr;  ///< packed b, when it is a weight
  bool scaled = false;                ///< of 8-bit operands
  float scale = 1;

  std::int64_t packed_panel_bytes() const { return problem.steps * kTileColumns * 4; }
};

// The tasks of one run, and the order of work inside one.
template <class Element, class Output>
struct CpuMatmul::Task {
  static constexpr std::int64_t kStep = cpu::step_elements(dtype_of<Element>());
  static constexpr std::int64_t kStepBytes = 4;

  const Run& run;
  std::int64_t row = 0;
  std::int64_t rows = 0;
  std::int64_t column = 0;
  std::int64_t columns = 0;
  float* partial = nullptr;
  std::byte* row_panels = nullptr;
  std::byte* column_panels = nullptr;
  std::int64_t fetch_at = 0;  ///< inner index that the next prefetch takes
  std::int64_t fetch_end = 0;
  std::int64_t fetch_share = 0;

  Task(const Run& whole, std::int64_t index, std::byte* scratch) : run(whole) {
    const MatmulPlan& plan = whole.plan;
    row = index / plan.column_tasks * plan.rows;
    rows = std::min(plan.rows, whole.problem.rows - row);
    column = index % plan.column_tasks * plan.columns;
    columns = std::min(plan.columns, whole.problem.columns - column);
    const TaskBytes& bytes = whole.problem.amx ? kAmxTaskBytes : kTaskBytes;
    partial = reinterpret_cast<float*>(scratch);
    row_panels = scratch + bytes.partial;
    column_panels = row_panels + bytes.rows;
  }

  void compute() {
    const std::int64_t block = run.plan.block_steps;
    std::int64_t step = 0;
    do {
      compute_block(step, std::min(block, run.problem.steps - step));
      step += block;
    } while (step < run.problem.steps);
    if (run.scaled && run.args.c.type() == DType::kBfloat16) store_scaled<Bfloat16>();
    if (run.scaled && run.args.c.type() == DType::kFloat32) store_scaled<float>();
  }

  // Folds of 8-bit operands all end in `partial`.
  template <class Stored>
  void store_scaled() const {
    const Tensor& out = run.args.c;
    const std::int64_t partial_row = round_up(columns, kTileColumns);
    for (std::int64_t r = 0; r < rows; ++r) {
      Stored* to = out.as<Stored>() + (row + r) * out.stride(0) + column;
      for (std::int64_t c = 0; c < columns; ++c) {
        const float value = run.scale * partial[r * partial_row + c];
        to[c] = Stored(run.args.accumulate ? static_cast<float>(to[c]) + value : value);
      }
    }
  }

  void compute_block(std::int64_t step, std::int64_t steps) {
    const std::int64_t inner = std::min(steps * kStep, run.inner - step * kStep);
    if (run.problem.packs_rows) pack_rows(step, inner);
    if (run.problem.copies_rows) copy_rows(step, inner);
    const std::byte* panel = column_panels;
    std::int64_t panel_bytes = kColumnPanelBytes;
    if (run.problem.packs_columns) {
      pack_columns(step, inner);
    } else {
      panel_bytes = run.packed_panel_bytes();
      panel = run.weight + column / kTileColumns * panel_bytes + step * kTileColumns * kStepBytes;
    }
    const bool odd_row = kStep == 2 && inner % 2 != 0 && !run.problem.packs_rows;
    cpu::TileArgs tile{.b_step = kTileColumns * kStepBytes,
                       .steps = odd_row ? steps - 1 : steps,
                       .half_step = odd_row,
                       .resume = step > 0,
                       .partial_row = round_up(columns, kTileColumns)};
    const bool last = step + steps >= run.problem.steps;
    begin_prefetch(step + steps);
    for (std::int64_t c = 0; c < columns; c += kTileColumns, panel += panel_bytes) {
      tile.b = panel;
      tile.partial = partial + c;
      compute_panel(tile, step, c, last);
    }
  }

  void compute_panel(cpu::TileArgs tile, std::int64_t step, std::int64_t c, bool last) {
    const Tensor& out = run.args.c;
    const std::int64_t width = std::min(kTileColumns, columns - c);
    const std::int64_t vectors = ceil_div(width, cpu::kLanes);
    const cpu::TileOutput output = !last || run.scaled   ? cpu::TileOutput::kPartial
                                   : run.args.accumulate ? cpu::TileOutput::kAccumulate
                                                         : cpu::TileOutput::kOverwrite;
    float* const partial_column = tile.partial;
    const cpu::RowGroups groups(rows, run.problem.amx);
    for (std::int64_t g = 0; g < groups.count(); ++g) {
      const cpu::RowGroup group = groups.group(g);
      prefetch_share();
      tile.partial = partial_column + group.begin * tile.partial_row;
      cpu::TileTarget<Output> target;
      if (output != cpu::TileOutput::kPartial) {
        target = {.c = out.as<Output>() + (row + group.begin) * out.stride(0) + column + c,
                  .c_row = out.stride(0),
                  .columns = width};
        prefetch_output(target, group.count);
      }
      set_rows(tile, step, group.begin);
      if (run.problem.amx)
        cpu::run_amx_tile(tile, group.count, vectors, output, target);
      else
        cpu::tile_function<Element, Output>(group.count, vectors)(tile, output, target);
    }
  }

  // Otherwise the stores at the end of a tile wait for lines of c, one after the other.
  static void prefetch_output(const cpu::TileTarget<Output>& target, std::int64_t count) {
    constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(Output));
    for (std::int64_t r = 0; r < count; ++r) {
      for (std::int64_t j = 0; j < target.columns; j += kLine)
        __builtin_prefetch(target.c + r * target.c_row + j, 1, 3);
    }
  }

  void set_rows(cpu::TileArgs& tile, std::int64_t step, std::int64_t first) const {
    if (run.problem.packs_rows && run.problem.amx) {
      tile.a = row_panels + first / cpu::kAmxRows * kAmxPanelBytes;
      tile.a_row = cpu::kAmxInner * 2;
      tile.a_panel = kAmxPanelBytes;
      return;
    }
    if (run.problem.packs_rows) {
      tile.a = row_panels + first / cpu::kRowPanel * kRowPanelBytes + first % cpu::kRowPanel * kStepBytes;
      tile.a_row = kStepBytes;
      tile.a_step = cpu::kRowPanel * kStepBytes;
      return;
    }
    if (run.problem.copies_rows) {
      tile.a = row_panels + first * kCopiedRowBytes;
      tile.a_row = kCopiedRowBytes;
      tile.a_step = kStepBytes;
      return;
    }
    const Tensor& a = run.args.a;
    const std::int64_t row_bytes = a.stride(0) * static_cast<std::int64_t>(sizeof(Element));
    const auto* from = static_cast<const std::byte*>(a.data());
    if (run.args.transpose_a) {
      tile.a = from + step * row_bytes + (row + first) * kStepBytes;
      tile.a_row = kStepBytes;
      tile.a_step = row_bytes;
    } else {
      tile.a = from + (row + first) * row_bytes + step * kStepBytes;
      tile.a_row = row_bytes;
      tile.a_step = kStepBytes;
    }
  }

  // Packing reads short pieces of rows far apart, which no hardware prefetcher foresees, and would wait for memory each
  // time: the tiles of one block fetch the source of the next, a share each.
  // (AMX tiles end too soon: there it is no gain.)
  void begin_prefetch(std::int64_t step) {
    if (run.problem.amx) return;
    fetch_at = std::min(step * kStep, run.inner);
    fetch_end = std::min((step + run.plan.block_steps) * kStep, run.inner);
    const std::int64_t tiles = cpu::RowGroups(rows, run.problem.amx).count() * ceil_div(columns, kTileColumns);
    fetch_share = ceil_div(fetch_end - fetch_at, tiles);
  }

  void prefetch_share() {
    const std::int64_t end = std::min(fetch_at + fetch_share, fetch_end);
    for (; fetch_at < end; ++fetch_at) {
      if (run.args.transpose_a) prefetch(run.args.a, fetch_at, row, rows);
      if (run.problem.packs_columns && !run.args.transpose_b) prefetch(run.args.b, fetch_at, column, columns);
    }
  }

  static void prefetch(const Tensor& t, std::int64_t line, std::int64_t begin, std::int64_t count) {
    const auto* from = reinterpret_cast<const std::byte*>(t.as<Element>() + line * t.stride(0) + begin);
    const auto size_bytes = count * static_cast<std::int64_t>(sizeof(Element));
    for (std::int64_t at = 0; at < size_bytes; at += 64) __builtin_prefetch(from + at, 0, 2);
  }

  static const std::byte* at(const Tensor& t, std::int64_t elements) {
    return static_cast<const std::byte*>(t.data()) + elements * size_of(t.type());
  }

  // Some rows of a or columns of b, and `inner` elements of them from `step` on.
  static cpu::PackArgs part_of(const Tensor& t, bool inner_is_last, cpu::RowGroup lines, std::int64_t step,
                               std::int64_t inner) {
    const std::int64_t first = step * kStep;
    return {.source = at(t, inner_is_last ? lines.begin * t.stride(0) + first : first * t.stride(0) + lines.begin),
            .type = t.type(),
            .row_elements = t.stride(0),
            .inner_is_last = inner_is_last,
            .inner = inner,
            .columns = lines.count};
  }

  void pack_rows(std::int64_t step, std::int64_t inner) {
    cpu::PackArgs part = part_of(run.args.a, !run.args.transpose_a, {row, rows}, step, inner);
    part.panels = row_panels;
    part.panel_bytes = run.problem.amx ? kAmxPanelBytes : kRowPanelBytes;
    part.width = run.problem.amx ? cpu::kAmxRows : cpu::kRowPanel;
    run.problem.amx ? cpu::pack_amx_rows(part) : cpu::pack(part);
  }

  void copy_rows(std::int64_t step, std::int64_t inner) {
    const Tensor& a = run.args.a;
    const Element* from = a.as<Element>() + row * a.stride(0) + step * kStep;
    for (std::int64_t r = 0; r < rows; ++r) {
      std::memcpy(row_panels + r * kCopiedRowBytes, from + r * a.stride(0),
                  static_cast<std::size_t>(inner) * sizeof(Element));
    }
  }

  void pack_columns(std::int64_t step, std::int64_t inner) {
    cpu::PackArgs part = part_of(run.args.b, run.args.transpose_b, {column, columns}, step, inner);
    part.panels = column_panels;
    part.panel_bytes = kColumnPanelBytes;
    cpu::pack(part);
  }
};

CpuMatmul::CpuMatmul(ThreadPool& pool) : pool_(pool), scratch_(pool.threads()) {
  scratch_.reserve(cpu::amx_ready() ? kAmxTaskBytes.all() : kTaskBytes.all());
}

void CpuMatmul::run(const MatmulArgs& args) {
  check_arguments(args);
  const DType type = args.a.type();
  const bool quantised = is_float8(type);
  const bool inputs = quantised || (type == args.b.type() && (type == DType::kFloat32 || type == DType::kBfloat16));
  const bool output = args.c.type() == DType::kFloat32 ||
                      (args.c.type() == DType::kBfloat16 && type != DType::kFloat32 && !args.accumulate);
  if (!inputs || !output) {
    throw Error("no CPU matmul for these element types")
        .values("fp32 x fp32 -> fp32, bf16 x bf16 or 8 bits -> bf16 or fp32; accumulation into fp32 only",
                pair_of(args.a, args.b, args.c) + (args.accumulate ? ", accumulated" : ""))
        .at("matmul");
  }
  if (args.c.size() == 0) return;
  Run run{.args = args, .scaled = quantised};
  if (quantised) run.scale = args.scale_a.as<float>()[0] * args.scale_b.as<float>()[0];
  const bool packs_weight = args.b_is_weight && !quantised;
  run.inner = args.a.dim(args.transpose_a ? 0 : 1);
  const bool amx = cpu::uses_amx(type);
  run.problem = {.rows = args.c.dim(0),
                 .columns = args.c.dim(1),
                 .steps = ceil_div(run.inner, cpu::step_elements(type)),
                 .packs_rows = quantised || (args.transpose_a && (type == DType::kBfloat16 || kPacksFloatRows)),
                 .transposed_rows = args.transpose_a,
                 .copies_rows = !args.transpose_a && packs_weight && args.c.dim(0) > 1 && !amx &&
                                args.a.stride(0) * size_of(type) % kAliasBytes == 0,
                 .packs_columns = !packs_weight,
                 .amx = amx};
  run.plan = plan_matmul(run.problem, pool_.threads());
  if (packs_weight) run.weight = packed_weight(run);
  if (type == DType::kFloat32 || quantised)
    dispatch<float, float>(run);
  else if (args.c.type() == DType::kFloat32)
    dispatch<Bfloat16, float>(run);
  else
    dispatch<Bfloat16, Bfloat16>(run);
}

template <class Element, class Output>
void CpuMatmul::dispatch(const Run& run) {
  pool_.run(run.plan.row_tasks * run.plan.column_tasks, [&](std::int64_t index) {
    const cpu::TaskScratch::Lease lease(scratch_);
    const cpu::AmxTask tiles;
    Task<Element, Output>(run, index, lease.data()).compute();
  });
}

const std::byte* CpuMatmul::packed_weight(const Run& run) {
  const Tensor& b = run.args.b;
  PackedWeight& weight = weights_[{.data = b.data(),
                                   .rows = b.dim(0),
                                   .columns = b.dim(1),
                                   .row_elements = b.stride(0),
                                   .transpose = run.args.transpose_b,
                                   .type = b.type()}];
  if (weight.version == version_) return weight.panels.data();
  weight.panels.reserve(packed_bytes_of(b.type(), run.inner, run.problem.columns));
  const std::int64_t row_bytes = b.stride(0) * size_of(b.type());
  pool_.for_ranges(run.problem.columns, 2 * kTileColumns, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t offset = run.args.transpose_b ? begin * row_bytes : begin * size_of(b.type());
    cpu::pack({.source = static_cast<const std::byte*>(b.data()) + offset,
               .type = b.type(),
               .row_elements = b.stride(0),
               .inner_is_last = run.args.transpose_b,
               .inner = run.inner,
               .columns = end - begin,
               .panels = weight.panels.data() + begin / kTileColumns * run.packed_panel_bytes(),
               .panel_bytes = run.packed_panel_bytes()});
  });
  weight.version = version_;
  return weight.panels.data();
}

std::int64_t CpuMatmul::packed_bytes_of(DType type, std::int64_t inner, std::int64_t columns) {
  return round_up(columns, kTileColumns) * ceil_div(inner, cpu::step_elements(type)) * 4;
}

std::int64_t CpuMatmul::packed_bytes() const {
  std::int64_t total = 0;
  for (const auto& [key, weight] : weights_) total += weight.panels.size_bytes();
  return total;
}

std::string CpuMatmul::describe() const {
#if defined(BAEKJI_AVX512) && defined(__AVX512BF16__)
  return fmt::format("matmul: ascending fused folds, avx512 tiles 14x32, bf16 by {}",
                     cpu::amx_ready() ? "tdpbf16ps in blocks of 32" : "vdpbf16ps");
#else
  return fmt::format("matmul: ascending fused folds, {} lanes, bf16 pairs in software", cpu::kLanes);
#endif
}

}  // namespace baekji
