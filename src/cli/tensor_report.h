// The tensors of a checkpoint, summed up by what they are for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string_view>
#include <utility>

#include "models/model.h"

namespace varve::cli {

enum class TensorClass {
  embedding,
  attention,
  compressor,
  indexer,
  router,
  routed_experts,
  shared_expert,
  mlp,
  norms,
  hyper_connections,
  mtp,
  other,
};

struct ClassNames {
  std::string_view label;  // for people
  std::string_view id;     // in JSON
};

ClassNames class_names(TensorClass tensor_class);

/// Whether a forward pass reads it.
bool is_used(TensorClass tensor_class);

struct TensorSum {
  int64_t count = 0;
  int64_t n_parameters = 0;
  size_t n_bytes = 0;

  void operator+=(const TensorSum& other) {
    count += other.count;
    n_parameters += other.n_parameters;
    n_bytes += other.n_bytes;
  }
};

struct TensorReport {
  std::map<std::pair<TensorClass, DType>, TensorSum> sums;
  TensorSum total;
  int64_t used_parameters = 0;    // that some token needs: without mtp and other
  int64_t active_parameters = 0;  // that one token needs
};

TensorReport report_tensors(const Model& model);

}  // namespace varve::cli
