// Measures settings of a model: engines at the depth of the job, each visited again and again.
#pragma once

#include <memory>
#include <vector>

#include "plan/wall.h"
#include "tune/search.h"

namespace varve {

/// What is the same for all settings.
struct MeterConditions {
  EngineOptions base;  // context and sequences too
  Job job;
  Wall wall;
  const Tokenizer* tokenizer = nullptr;  // that a run will have; null: unknown
  bool weights_are_copied = false;
};

/// Tokens in the cache before the job, at the end of a context.
int depth_before(const Job& job, int ctx_tokens);

/// Tokens that a visit with such an effort reads, and decodes.
Job visit_of(const Job& job, int chunk_tokens, int effort);

class Meter {
 public:
  Meter(std::shared_ptr<const Model> model, const Space& space, const MeterConditions& conditions);

  /// Whether a run is within the wall, by the plan.
  bool fits(const Setting& setting) const;
  /// All that such a run takes, by the plan.
  Result<size_t> planned_bytes(const Setting& setting) const;
  /// Errors: as of Engine::create(); more memory was taken than there is.
  Result<Sample> measure(const Setting& setting, int effort);

 private:
  struct Stand {
    Setting setting;
    std::unique_ptr<Engine> engine;
    std::vector<Session> sessions;
    size_t held_before = 0;  // by the process, as private memory, when this one was set up
    size_t peak_bytes = 0;   // 0: not yet measured
  };

  ProcessBytes process_of(const EngineOptions& options) const;
  Result<Stand*> stand_of(const Setting& setting);
  Result<Stand> set_up(const Setting& setting);
  void make_room(size_t arena_bytes);
  Result<size_t> measured_bytes(const Stand& stand) const;

  std::shared_ptr<const Model> model_;
  const Space& space_;
  const MeterConditions conditions_;
  size_t private_before_ = 0;    //  of the process, before any engine
  std::vector<Stand> standing_;  // the one visited last at the end
};

}  // namespace varve
