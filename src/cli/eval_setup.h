// What the verbs under `varve eval` begin with: a model, a text, and how results name them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/engine_flags.h"
#include "eval/chunks.h"
#include "eval/divergence.h"
#include "eval/statistics.h"

namespace varve::cli {

/// Whitespace-separated token ids of a file, at least one; "-" is stdin.
Result<std::vector<int32_t>> read_ids(const std::string& path);

/// The text of an evaluation: -f TEXT, or its ids.
struct TextFlags {
  std::string file;
  std::string ids_file;

  void add_to(CLI::App& verb);
  /// Ids of the model's vocabulary. Errors: none or both given (usage); empty, or an id outside the
  /// vocabulary (bad_input).
  Result<std::vector<int32_t>> read(const std::string& model_path, const Model& model) const;
};

struct EvalModel {
  std::string path;
  std::shared_ptr<Model> model;
};
/// Loads the model that the flags name and checks their pools.
Result<EvalModel> open_model(const EngineFlags& flags);

/// "1K,2K,300" as numbers of tokens; `flag` is named in errors.
Result<std::vector<int>> parse_tokens(const std::string& flag, const std::string& text);

/// Two lines: "native rows, bf16 products, kernels avx512bf16" and what attention is by.
std::string describe_engine(const Engine& engine);
/// {"model", "family", "formats", "products", "kernels", "attention", "threads", "chunk_tokens",
/// "weights"}
nlohmann::ordered_json setting_object(const EvalModel& from, const Engine& engine,
                                      const std::string& weights);
nlohmann::ordered_json estimate_object(const Estimate& estimate);
nlohmann::ordered_json divergence_object(const DivergenceSummary& divergence);
/// One object on stdout. A directory's name need not be UTF-8.
void print_object(const nlohmann::ordered_json& object);

/// "3 chunks of 512 tokens, 87 left over"
std::string describe_chunks(const TextChunks& text);

}  // namespace varve::cli
