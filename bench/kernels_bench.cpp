// kernels_bench: the ops against the machine's roofs. Decode rows report bytes of weights a second
// and the share of the measured read bandwidth, the others multiply-adds and the share of the dot
// product peak. VARVE_KERNELS picks the set, VARVE_THREADS the threads (all cores otherwise).
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "base/arena.h"
#include "base/cpu.h"
#include "kernels/exec.h"
#include "kernels/roofs.h"
#include "kernels/test_data.h"

namespace varve {
namespace {

struct Machine {
  int n_threads = [] {
    const char* const text = std::getenv("VARVE_THREADS");
    return text == nullptr ? usable_cores() : std::max(1, std::atoi(text));
  }();
  ThreadPool pool{n_threads};
  const Kernels* kernels = [] {
    auto chosen = select_kernels_from_environment();
    if (!chosen) {
      fmt::print(stderr, "{}\n", chosen.error().message);
      std::exit(2);
    }
    return *chosen;
  }();
  ReadRoof read{pool};
  Roofs roofs = measure_roofs(pool, read);
};

Machine& machine() {
  static Machine one;
  return one;
}

// Shares are given by wall time and, for machines that do other work too, by the processor time
// that the threads got (cpu_share; a thread that waits for memory or for another spends it too).
class Meter {
 public:
  Meter(benchmark::State& state, std::string unit, double work, double roof)
      : state_(state), unit_(std::move(unit)), work_(work), roof_(roof) {}
  ~Meter() {
    const double cpu_s = static_cast<double>(std::clock() - start_) / CLOCKS_PER_SEC;
    const auto n = static_cast<double>(state_.iterations());
    const auto rate = benchmark::Counter::kIsIterationInvariantRate;
    state_.counters[unit_] = benchmark::Counter(work_, rate);
    state_.counters["share"] = benchmark::Counter(work_ / roof_, rate);
    state_.counters["cpu_share"] = work_ * n * machine().n_threads / cpu_s / roof_;
  }
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;

 private:
  benchmark::State& state_;
  std::string unit_;
  double work_, roof_;
  std::clock_t start_ = std::clock();
};

struct Matrix {
  std::string name;
  WeightShape shape;
};

const std::vector<Matrix>& matrices() {
  static const std::vector<Matrix> all = {
      {"f8_32768x1024",
       {.type = DType::f8_e4m3,
        .n_rows = 32768,
        .n_cols = 1024,
        .scale_rows = 128,
        .scale_cols = 128}},
      {"f8_4096x8192",
       {.type = DType::f8_e4m3,
        .n_rows = 4096,
        .n_cols = 8192,
        .scale_rows = 128,
        .scale_cols = 128}},
      {"e2m1_2048x4096",
       {.type = DType::e2m1x2, .n_rows = 2048, .n_cols = 4096, .scale_rows = 1, .scale_cols = 32}},
      {"bf16_8192x4096", {.type = DType::bf16, .n_rows = 8192, .n_cols = 4096}},
      {"q8_0_4096x1536", {.type = DType::q8_0, .n_rows = 4096, .n_cols = 1536}},
      {"q4_0_8192x1536", {.type = DType::q4_0, .n_rows = 8192, .n_cols = 1536}},
      {"q4_1_8192x576", {.type = DType::q4_1, .n_rows = 8192, .n_cols = 576}},
      {"q4_1_8192x1536", {.type = DType::q4_1, .n_rows = 8192, .n_cols = 1536}},
      {"q5_0_8192x1536", {.type = DType::q5_0, .n_rows = 8192, .n_cols = 1536}},
      {"q5_1_8192x1536", {.type = DType::q5_1, .n_rows = 8192, .n_cols = 1536}},
      {"q4_k_4096x4096", {.type = DType::q4_k, .n_rows = 4096, .n_cols = 4096}},
      {"q5_k_4096x4096", {.type = DType::q5_k, .n_rows = 4096, .n_cols = 4096}},
      {"q6_k_4096x4096", {.type = DType::q6_k, .n_rows = 4096, .n_cols = 4096}},
      {"mxfp4_4096x4096", {.type = DType::mxfp4, .n_rows = 4096, .n_cols = 4096}},
      {"iq4_nl_4096x4096", {.type = DType::iq4_nl, .n_rows = 4096, .n_cols = 4096}},
  };
  return all;
}

// Copies of a matrix so that together they lie far beyond the caches: decode reads each weight
// once a token, from memory.
constexpr size_t kDecodeBytes = size_t{192} << 20;

void linear(benchmark::State& state, const Matrix& matrix, int n_tokens, Products products) {
  Machine& m = machine();
  Rng rng(1);
  const OwnedWeight owned = random_weight(rng, matrix.shape);
  const Weight& w = owned.weight;
  const size_t data_bytes = static_cast<size_t>(w.n_rows) * w.row_bytes;
  const size_t n_copies = n_tokens > 1 ? 1 : std::max<size_t>(1, kDecodeBytes / data_bytes);
  Arena copies = Arena::create(n_copies * data_bytes).value();
  std::vector<Weight> weights(n_copies, w);
  for (size_t i = 0; i < n_copies; ++i) {
    std::memcpy(copies.data() + i * data_bytes, w.data, data_bytes);
    weights[i].data = copies.data() + i * data_bytes;
  }
  const auto n_inputs = static_cast<size_t>(n_tokens) * static_cast<size_t>(w.n_cols);
  Exec exec(*m.kernels, m.pool, products);
  ArenaBuilder dry;
  exec.lay_out(dry, n_inputs);
  Arena arena = Arena::create(dry.bytes()).value();
  ArenaBuilder builder(arena.data());
  exec.lay_out(builder, n_inputs);
  const GuardedBytes x = random_floats(rng, n_inputs);
  std::vector<float> y(static_cast<size_t>(n_tokens) * static_cast<size_t>(w.n_rows));
  const double macs = static_cast<double>(n_inputs) * w.n_rows * static_cast<double>(n_copies);
  const bool dot_bf16 = products == Products::bf16 && m.kernels->name == "avx512bf16";
  const double mac_roof = dot_bf16 ? m.roofs.bf16_macs_per_s : m.roofs.f32_macs_per_s;
  const Meter meter = n_tokens == 1
                          ? Meter(state, "bytes/s", static_cast<double>(data_bytes * n_copies),
                                  m.roofs.read_bytes_per_s)
                          : Meter(state, "MAC/s", macs, mac_roof);
  for (auto _ : state) {
    for (const Weight& weight : weights) exec.linear(weight, x.as<float>(), n_tokens, y.data());
    benchmark::ClobberMemory();
  }
}

void attend(benchmark::State& state, int n_rows) {
  Machine& m = machine();
  constexpr int kHeads = 64, kDim = 512;
  Rng rng(2);
  const GuardedBytes q = random_floats(rng, kHeads * kDim), sinks = random_floats(rng, kHeads);
  const GuardedBytes memory = random_floats(rng, static_cast<size_t>(n_rows) * kDim);
  std::vector<AttendRow> rows;
  for (int k = 0; k < n_rows; ++k) {
    rows.push_back(
        {memory.as<std::byte>() + static_cast<size_t>(k) * kDim * sizeof(float), RowFormat::f32});
  }
  std::vector<float> out(kHeads * kDim);
  Exec exec(*m.kernels, m.pool, Products::f32);
  ArenaBuilder dry;
  exec.lay_out(dry, 0);
  Arena arena = Arena::create(dry.bytes()).value();
  ArenaBuilder builder(arena.data());
  exec.lay_out(builder, 0);
  const Meter meter(state, "MAC/s", 2.0 * kHeads * kDim * n_rows, m.roofs.f32_macs_per_s);
  const int step = (kHeads + m.n_threads - 1) / m.n_threads;
  for (auto _ : state) {
    exec.parallel(m.n_threads, [&](int item, int thread) {
      const int h = item * step;
      const int n = std::min(step, kHeads - h);
      if (n <= 0) return;
      m.kernels->attend({q.as<float>() + h * kDim, n, kDim, 64, rows.data(), n_rows, 0.04f,
                         sinks.as<float>() + h, out.data() + h * kDim, Products::f32,
                         exec.workspace(thread)});
    });
    benchmark::ClobberMemory();
  }
}

void index_scores(benchmark::State& state) {
  Machine& m = machine();
  constexpr int kHeads = 64, kDim = 128, kKeys = 262144, kItemKeys = 4096;
  Rng rng(3);
  const GuardedBytes q = random_floats(rng, kHeads * kDim), weights = random_floats(rng, kHeads);
  const GuardedBytes keys = random_floats(rng, size_t{kKeys} * kDim);
  std::vector<float> scores(kKeys);
  const Meter meter(state, "MAC/s", 1.0 * kHeads * kDim * kKeys, m.roofs.f32_macs_per_s);
  for (auto _ : state) {
    m.pool.run(kKeys / kItemKeys, [&](int item, int) {
      m.kernels->index_scores({q.as<float>(), weights.as<float>(), kHeads, kDim,
                               keys.as<float>() + static_cast<size_t>(item) * kItemKeys * kDim,
                               kItemKeys, scores.data() + item * kItemKeys});
    });
    benchmark::ClobberMemory();
  }
}

// As the indexer calls it: runs of `run` keys, a block's worth.
void index_scores_native(benchmark::State& state, int run) {
  Machine& m = machine();
  constexpr int kHeads = 64, kDim = 128, kKeys = 262144, kItemKeys = 4096;
  Rng rng(3);
  const RowShape shape{kDim, 64, true};
  const size_t bytes = row_bytes(RowFormat::native, shape);
  std::vector<int8_t> q(kHeads * kDim);
  std::vector<float> q_scales(kHeads * index_groups(kDim));
  std::vector<int32_t> q_sums(q_scales.size());
  const GuardedBytes values = random_floats(rng, kHeads * kDim);
  for (int h = 0; h < kHeads; ++h) {
    quantize_index_query(values.as<float>() + h * kDim, kDim, q.data() + h * kDim,
                         q_scales.data() + h * index_groups(kDim),
                         q_sums.data() + h * index_groups(kDim));
  }
  const GuardedBytes weights = random_floats(rng, kHeads);
  const GuardedBytes keys(kKeys * bytes);
  for (size_t k = 0; k < kKeys; ++k) {
    encode_row(RowFormat::native, shape, values.as<float>() + k % (kHeads - 1) * kDim,
               keys.as<std::byte>() + k * bytes);
  }
  std::vector<float> scores(kKeys);
  const double roof =
      m.kernels->name == "avx512bf16" ? m.roofs.int8_macs_per_s : m.roofs.f32_macs_per_s;
  const Meter meter(state, "MAC/s", 1.0 * kHeads * kDim * kKeys, roof);
  for (auto _ : state) {
    m.pool.run(kKeys / kItemKeys, [&](int item, int) {
      for (int k = item * kItemKeys; k < (item + 1) * kItemKeys; k += run) {
        m.kernels->index_scores_native(
            {q.data(), q_scales.data(), q_sums.data(), weights.as<float>(), 1, kHeads, kDim,
             keys.as<std::byte>() + static_cast<size_t>(k) * bytes, run, scores.data() + k, 0});
      }
    });
    benchmark::ClobberMemory();
  }
}

void add_benchmarks() {
  for (const Matrix& matrix : matrices()) {
    for (const Products products : {Products::f32, Products::bf16}) {
      for (const int n_tokens : {1, 4, 128, 512}) {
        const std::string name = fmt::format("linear/{}/{}/tokens:{}", matrix.name,
                                             products == Products::f32 ? "f32" : "bf16", n_tokens);
        benchmark::RegisterBenchmark(name.c_str(),
                                     [&matrix, n_tokens, products](benchmark::State& state) {
                                       linear(state, matrix, n_tokens, products);
                                     })
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
  for (const int n_rows : {640, 8320}) {
    benchmark::RegisterBenchmark(fmt::format("attend/64x512/rows:{}", n_rows).c_str(),
                                 [n_rows](benchmark::State& state) { attend(state, n_rows); })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::RegisterBenchmark("index_scores/64x128/keys:262144", index_scores)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
  for (const int run : {32, 4096}) {
    benchmark::RegisterBenchmark(
        fmt::format("index_scores_native/64x128/keys:262144/run:{}", run).c_str(),
        [run](benchmark::State& state) { index_scores_native(state, run); })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
}

}  // namespace
}  // namespace varve

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  const varve::Machine& m = varve::machine();
  fmt::print(
      "kernels {} ({}), {} threads\nroofs: read {:.2f} GB/s, f32 {:.1f} GMAC/s, bf16 {:.1f} "
      "GMAC/s, int8 {:.1f} GMAC/s\n",
      m.kernels->name, m.kernels->description, m.n_threads, m.roofs.read_bytes_per_s * 1e-9,
      m.roofs.f32_macs_per_s * 1e-9, m.roofs.bf16_macs_per_s * 1e-9,
      m.roofs.int8_macs_per_s * 1e-9);
  varve::add_benchmarks();
  benchmark::RunSpecifiedBenchmarks();
}
