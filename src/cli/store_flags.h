// The flags of verbs that may use a store on disk.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "engine/engine.h"
#include "store/store.h"

namespace varve::cli {

struct StoreFlags {
  std::string directory;  // empty: no store
  std::string budget = "16G";
  std::string resume = "auto";

  void add_to(CLI::App& verb);

  /// Sets the options' resume points by --resume. Error (usage): not such a policy, a budget that
  /// is none, --store-budget beside no store.
  Result<void> apply(const Model& shapes, EngineOptions& options) const;
  /// Memory that the store takes beside the engine; 0 where there is none.
  Result<size_t> memory_bytes(const Model& shapes, const EngineOptions& options) const;
  /// Opens the store of this model and sets cache_root of options, which an engine is then made
  /// with; null where there is none. Reads the weights once for their fingerprint. Says on stderr
  /// what was found damaged. Errors: as of Store::open, model_fingerprint.
  Result<std::unique_ptr<Store>> open(const Model& model, const std::string& path,
                                      EngineOptions& options) const;

 private:
  Result<StoreOptions> store_options(const Model& model, const EngineOptions& options) const;
};

}  // namespace varve::cli
