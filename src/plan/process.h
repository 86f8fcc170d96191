// What the process takes beside the engine's arena and the model's weights.
#pragma once

#include <cstddef>

#include "models/model.h"
#include "plan/machine.h"
#include "tokenizer/tokenizer.h"

namespace varve {

struct ProcessBytes {
  size_t program = 0;  // code and libraries: pages of files, shared
  size_t tables = 0;   // of the sampler; names and places of tensors, metadata
  size_t tokenizer = 0;
  Known tokenizer_known = Known::exact;
  size_t heap = 0;         // all else, the threads' stacks too
  size_t page_tables = 0;  // of weights, which lie on small pages
  size_t read_roof = 0;    // what `bench` reads through to know the bandwidth

  size_t total() const { return program + tables + tokenizer + heap + page_tables + read_roof; }
};

/// Of a run with so many threads that samples. Without a tokenizer its tables are taken to be as
/// large as others' are for such a vocabulary.
ProcessBytes process_bytes(const Model& model, const Tokenizer* tokenizer, int n_threads);
/// Of one that neither reads nor samples text.
ProcessBytes process_bytes_without_text(const Model& model, int n_threads);

}  // namespace varve
