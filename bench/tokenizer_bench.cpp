// Bytes of text per second: encode() and decode(), and how long it takes to load a tokenizer.
//
//   tokenizer_bench                         the bundled tokenizer
//   VARVE_TOKENIZER=path tokenizer_bench    another tokenizer.json
//
// The text is that of the test vectors (prose, code, many scripts), in an order shuffled by a fixed
// seed, until it is long enough.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace {

using varve::Tokenizer;

const std::string kSource = VARVE_SOURCE_DIR;

std::string tokenizer_path() {
  const char* const named = std::getenv("VARVE_TOKENIZER");
  return named != nullptr ? named : kSource + "/models/varve-tiny/tokenizer.json";
}

template <class T>
T value_or_exit(varve::Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "tokenizer_bench: %s\n", result.error().message.c_str());
    std::exit(varve::exit_code(result.error()));
  }
  return std::move(*result);
}

const Tokenizer& tokenizer() {
  static const Tokenizer loaded = value_or_exit(Tokenizer::load(tokenizer_path()));
  return loaded;
}

std::string text_of(size_t n_bytes) {
  std::vector<std::string> lines;
  std::ifstream file(kSource + "/tests/data/tokenizers/tiny-v4.jsonl");
  for (std::string line; std::getline(file, line);) {
    lines.push_back(nlohmann::json::parse(line)["text"].get<std::string>());
  }
  if (lines.empty()) {
    std::fprintf(stderr, "tokenizer_bench: no texts under %s\n", kSource.c_str());
    std::exit(1);
  }
  std::mt19937 random(4);
  std::string text;
  while (text.size() < n_bytes) {
    std::shuffle(lines.begin(), lines.end(), random);
    for (const std::string& line : lines) text += line;
  }
  return text;
}

void set_bytes(benchmark::State& state, size_t n_bytes) {
  state.SetBytesProcessed(static_cast<int64_t>(n_bytes) * state.iterations());
}

void encode(benchmark::State& state) {
  const std::string text = text_of(static_cast<size_t>(state.range(0)));
  size_t n_ids = 0;
  for (auto _ : state) n_ids = value_or_exit(tokenizer().encode(text)).size();
  set_bytes(state, text.size());
  state.counters["bytes_per_token"] = static_cast<double>(text.size()) / static_cast<double>(n_ids);
}
BENCHMARK(encode)->Arg(1 << 10)->Arg(1 << 16)->Arg(1 << 20)->Unit(benchmark::kMicrosecond);

void encode_run_of_one_letter(benchmark::State& state) {
  const std::string text(static_cast<size_t>(state.range(0)), 'a');
  for (auto _ : state) benchmark::DoNotOptimize(value_or_exit(tokenizer().encode(text)).size());
  set_bytes(state, text.size());
}
BENCHMARK(encode_run_of_one_letter)->Arg(1 << 16)->Arg(1 << 20)->Unit(benchmark::kMicrosecond);

void decode(benchmark::State& state) {
  const std::string text = text_of(static_cast<size_t>(state.range(0)));
  const std::vector<int32_t> ids = value_or_exit(tokenizer().encode(text));
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer().decode(ids).size());
  set_bytes(state, text.size());
}
BENCHMARK(decode)->Arg(1 << 20)->Unit(benchmark::kMicrosecond);

void decode_streaming(benchmark::State& state) {
  const std::string text = text_of(static_cast<size_t>(state.range(0)));
  const std::vector<int32_t> ids = value_or_exit(tokenizer().encode(text));
  for (auto _ : state) {
    varve::StreamDecoder decoder(tokenizer());
    for (const int32_t id : ids) benchmark::DoNotOptimize(decoder.push(id).size());
  }
  set_bytes(state, text.size());
}
BENCHMARK(decode_streaming)->Arg(1 << 20)->Unit(benchmark::kMicrosecond);

void load(benchmark::State& state) {
  for (auto _ : state) value_or_exit(Tokenizer::load(tokenizer_path()));
}
BENCHMARK(load)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
