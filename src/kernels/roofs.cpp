#include "kernels/roofs.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <vector>

#include "base/arena.h"
#include "base/memory.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace varve {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Sums that run side by side in the arithmetic loops: enough to hide a latency of six cycles at
// two instructions a cycle, few enough for 16 registers.
constexpr int kChains = 12;

// ---- reading

constexpr size_t kReadItemBytes = size_t{256} << 10;
constexpr size_t kReadPassBytes = size_t{32} << 20;  // short, so that many are left undisturbed
constexpr size_t kReadSpareBytes = size_t{2} << 20;  // left free beside it
constexpr double kReadSeconds = 0.3;
static_assert(ReadRoof::kBytes % kReadPassBytes == 0 && kReadPassBytes % kReadItemBytes == 0);

#if defined(__x86_64__)
#define VARVE_TARGET(features) __attribute__((target(features)))

VARVE_TARGET("avx2") uint64_t read_avx2(const std::byte* p, size_t bytes) {
  __m256i sum[4] = {};
  for (size_t i = 0; i < bytes; i += 128) {
    for (size_t lane = 0; lane < 4; ++lane) {
      const void* const at = p + i + 32 * lane;
      sum[lane] = _mm256_add_epi64(sum[lane], _mm256_load_si256(static_cast<const __m256i*>(at)));
    }
    __builtin_prefetch(p + i + 2048);
    __builtin_prefetch(p + i + 2048 + 64);
  }
  const __m256i all =
      _mm256_add_epi64(_mm256_add_epi64(sum[0], sum[1]), _mm256_add_epi64(sum[2], sum[3]));
  return static_cast<uint64_t>(_mm256_extract_epi64(all, 0) + _mm256_extract_epi64(all, 1));
}
#endif

uint64_t read_plain(const std::byte* p, size_t bytes) {
  uint64_t sum[8] = {};
  for (size_t i = 0; i < bytes; i += 64) {
    for (size_t lane = 0; lane < 8; ++lane) {
      uint64_t word;
      std::memcpy(&word, p + i + 8 * lane, 8);
      sum[lane] += word;
    }
  }
  return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

// ---- arithmetic

// One loop of each kind: `rounds` times kChains independent multiply-adds in registers. The
// result is returned so that nothing is left out. MACs of one instruction stand beside it.
using PeakLoop = float (*)(int rounds);
struct Peak {
  PeakLoop loop = nullptr;
  double macs = 0;
};

float peak_plain(int rounds) {
  float sum[kChains] = {};
  volatile float source = 0.5f;
  const float a = source, b = source;
  for (int i = 0; i < rounds; ++i) {
    for (float& s : sum) s += a * b;
  }
  float all = 0;
  for (const float s : sum) all += s;
  return all;
}

#if defined(__x86_64__)
// The operands of the loops: small, so that no sum overflows, and unknown to the compiler.
int opaque(int value) {
  volatile int hidden = value;
  return hidden;
}

VARVE_TARGET("avx2,fma") float peak_f32_avx2(int rounds) {
  __m256 sum[kChains];
  for (auto& s : sum) s = _mm256_setzero_ps();
  const __m256 a = _mm256_set1_ps(static_cast<float>(opaque(1))), b = a;
  for (int i = 0; i < rounds; ++i) {
    for (auto& s : sum) s = _mm256_fmadd_ps(a, b, s);
  }
  float all = 0;
  for (const auto& s : sum) all += _mm256_cvtss_f32(s);
  return all;
}

VARVE_TARGET("avx512f") float peak_f32_avx512(int rounds) {
  __m512 sum[kChains];
  for (auto& s : sum) s = _mm512_setzero_ps();
  const __m512 a = _mm512_set1_ps(static_cast<float>(opaque(1))), b = a;
  for (int i = 0; i < rounds; ++i) {
    for (auto& s : sum) s = _mm512_fmadd_ps(a, b, s);
  }
  float all = 0;
  for (const auto& s : sum) all += _mm512_cvtss_f32(s);
  return all;
}

VARVE_TARGET("avx512f,avx512bw,avx512bf16") float peak_bf16_avx512(int rounds) {
  __m512 sum[kChains];
  for (auto& s : sum) s = _mm512_setzero_ps();
  const __m512 one = _mm512_set1_ps(static_cast<float>(opaque(1)));
  const __m512bh a = _mm512_cvtne2ps_pbh(one, one), b = a;
  for (int i = 0; i < rounds; ++i) {
    for (auto& s : sum) s = _mm512_dpbf16_ps(s, a, b);
  }
  float all = 0;
  for (const auto& s : sum) all += _mm512_cvtss_f32(s);
  return all;
}

VARVE_TARGET("avx512f,avx512vnni") float peak_int8_avx512(int rounds) {
  __m512i sum[kChains];
  for (auto& s : sum) s = _mm512_setzero_si512();
  const __m512i a = _mm512_set1_epi32(opaque(0x01010101)), b = a;
  for (int i = 0; i < rounds; ++i) {
    for (auto& s : sum) s = _mm512_dpbusd_epi32(s, a, b);
  }
  int all = 0;
  for (const auto& s : sum) all ^= _mm512_cvtsi512_si32(s);
  return static_cast<float>(all);
}

// GCC 12 does not know AVX-VNNI by __builtin_cpu_supports; such machines report 0 for bytes
// unless they have the 512-bit form.
#endif

Peak f32_peak() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return {peak_f32_avx512, 16};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {peak_f32_avx2, 8};
#endif
  return {peak_plain, 1};
}

Peak bf16_peak() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw")) {
    return {peak_bf16_avx512, 32};
  }
#endif
  return {};
}

Peak int8_peak() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512vnni")) return {peak_int8_avx512, 64};
#endif
  return {};
}

constexpr int kPeakRounds = 50000;  // some 0.1 ms
constexpr int kPeakItems = 200;     // a thread

#if defined(__linux__)
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}
#else
double thread_seconds() {
  return seconds_since(Clock::time_point{});
}
#endif

// By the processor time of the threads while all of them work: what else the machine does at the
// time is no part of its peak.
double measure_peak(ThreadPool& pool, Peak peak) {
  if (peak.loop == nullptr) return 0;
  const int n_items = kPeakItems * pool.n_threads();
  std::atomic<float> sink{0};
  std::atomic<double> total_s{0};
  pool.run(n_items, [&](int, int) {
    const double begin = thread_seconds();
    sink.store(peak.loop(kPeakRounds));
    total_s += thread_seconds() - begin;
  });
  return peak.macs * kChains * kPeakRounds * n_items / total_s * pool.n_threads();
}

}  // namespace

ReadRoof::ReadRoof(ThreadPool& pool) : pool_(pool) {
  if (available_memory_bytes() < kBytes + kReadSpareBytes) return;
  auto memory = Arena::create(kBytes);
  if (!memory) return;
  memory_ = std::move(*memory);
  // Untouched pages would all be the one page of zeros.
  std::byte* const data = memory_.data();
  pool_.run(static_cast<int>(kBytes / kReadItemBytes), [&](int item, int) {
    std::memset(data + static_cast<size_t>(item) * kReadItemBytes, 1, kReadItemBytes);
  });
}

double ReadRoof::measure(double seconds) {
  const std::byte* const data = memory_.data();
  if (data == nullptr) return 0;
  auto* read = read_plain;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) read = read_avx2;
#endif
  std::atomic<uint64_t> sink{0};
  std::vector<double> rates;
  const auto start = Clock::now();
  do {
    const std::byte* const part = data + n_passes_++ * kReadPassBytes % kBytes;
    const auto begin = Clock::now();
    pool_.run(static_cast<int>(kReadPassBytes / kReadItemBytes), [&](int item, int) {
      sink += read(part + static_cast<size_t>(item) * kReadItemBytes, kReadItemBytes);
    });
    rates.push_back(static_cast<double>(kReadPassBytes) / seconds_since(begin));
  } while (seconds_since(start) < seconds);
  // Near the best, past the few that a cache or the clock flattered.
  const auto ninth_tenth = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() * 9 / 10);
  std::nth_element(rates.begin(), ninth_tenth, rates.end());
  return *ninth_tenth;
}

Roofs measure_roofs(ThreadPool& pool, ReadRoof& read) {
  Roofs roofs;
  roofs.read_bytes_per_s = read.measure(kReadSeconds);
  roofs.f32_macs_per_s = measure_peak(pool, f32_peak());
  roofs.bf16_macs_per_s = measure_peak(pool, bf16_peak());
  roofs.int8_macs_per_s = measure_peak(pool, int8_peak());
  return roofs;
}

}  // namespace varve
