// What tells one model's rows from another's: a hash of everything that they are computed from.
#pragma once

#include <functional>
#include <string>

#include "base/sha256.h"
#include "base/thread_pool.h"
#include "models/model.h"

namespace varve {

/// SHA-256 over the bytes of the model's files (each stretch by its XXH3) and over the config.json
/// beside them. `path`: what the model was loaded from. Reads all weights once; `progress` is told
/// of bytes as they are read. Error (bad_input): config.json is gone; (internal): the model has no
/// values.
Result<Digest> model_fingerprint(const Model& model, const std::string& path, ThreadPool& pool,
                                 const std::function<void(size_t)>& progress = {});

}  // namespace varve
