// The flags that every verb with an engine shares.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/memory.h"
#include "engine/engine.h"
#include "plan/wall.h"

namespace varve::cli {

struct EngineFlags {
  std::string model;  // empty: the bundled one
  int ctx = 0;        // 0: what the job needs
  int threads = 0;
  std::optional<int> chunk;
  std::string memory = "auto";
  std::string kv_memory = "auto";
  std::string weights = "auto";
  std::string numerics = "native";
  std::string products;  // empty: follows numerics
  std::string kv;        // formats of pools, over what numerics says
  int kv_sink = PoolFormats{}.sink_tokens;
  int kv_recent = PoolFormats{}.recent_tokens;
  std::string kv_rotate = "auto";
  std::string profile;                    // a file that the others are from, too; empty: none
  std::vector<std::string> profile_keys;  // what may stand there
  size_t beside_bytes = 0;                // of the verb itself: counts as the process's

  /// Adds MODEL and the flags to a verb.
  void add_to(CLI::App& verb);

  /// What the flags ask for, checked. ctx_tokens is left to the caller where --ctx was not given.
  Result<EngineOptions> options() const;

  /// The model's shapes, held against --kv: what a run is planned from before its weights are read.
  Result<std::unique_ptr<Model>> open_shapes(const std::string& path) const;

  /// Whether --kv names pools of this model alone.
  Result<void> check_pools(const Model& loaded) const;

  /// What they ask for, of a run that is to start now, held against --memory and --kv-memory: see
  /// fit_within(). `tokenizer`: null where the run needs none.
  Result<EngineOptions> fit(const Model& loaded, const EngineOptions& options,
                            const Tokenizer* tokenizer, int least_ctx_tokens) const;
  /// The same without a look at whether `options` fit: for runs of several engines, which share the
  /// arena's budget. Error (usage): there is no room beside the weights.
  Result<EngineOptions> bounded(const Model& loaded, const EngineOptions& options) const;

  /// Copies the model's weights into memory where --weights says so, beside an arena of that size
  /// which is still to be filled. Returns where they are then: "mapped" or "copied".
  Result<std::string> place_weights(Model& loaded, size_t arena_bytes) const;
};

/// The model whose shapes these are: they are gone first, address space is counted.
Result<std::unique_ptr<Model>> load_in_place_of(std::shared_ptr<const Model> shapes,
                                                const std::string& path);

/// Beside a run with these options.
ProcessBytes process_beside(const Model& model, const EngineOptions& options,
                            const Tokenizer* tokenizer);

/// The format of all pools that the model has, where it is one.
std::optional<RowFormat> common_format(const CacheLayout& layout);
/// "native rows", or "csa native, window f32, ..." where the model's pools differ.
std::string describe_formats(const CacheLayout& layout);
/// What attention multiplies rows by: "attention by bf16 dots", or, where pools differ,
/// "attention by bf16 dots (k), int8 dots (v)".
std::string describe_attention(const Kernels& kernels, const CacheLayout& layout,
                               Products products);
/// {"csa": "native", ...} of the model's pools.
nlohmann::ordered_json formats_object(const CacheLayout& layout);

std::string_view products_name(Products products);

/// "experts 41 %, head 30 %, attention 9 %, others 20 %": the largest parts, largest first.
std::string time_shares(const PartTimes& times);

}  // namespace varve::cli
