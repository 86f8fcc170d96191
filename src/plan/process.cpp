#include "plan/process.h"

#include "engine/sampler.h"

namespace varve {
namespace {

// Measured on varve itself, Debian 12, x86-64 (tools/memory_grid.py): resident pages of the program
// and its libraries; what of their data is written to, and the heap of a run without tables; the
// touched part of a worker's stack.
constexpr size_t kProgram = size_t{19} << 20;
constexpr size_t kHeap = size_t{1664} << 10;
constexpr size_t kStack = size_t{24} << 10;

// Of the tables of 129,280 pieces with 127,741 merges (DeepSeek's), per piece.
constexpr size_t kTableBytesPerPiece = 70;

constexpr size_t kPage = 4096;
constexpr size_t kPageTableEntry = 8;

}  // namespace

ProcessBytes process_bytes_without_text(const Model& model, int n_threads) {
  return {.program = kProgram,
          .tables = model.checkpoint().table_bytes(),
          .heap = kHeap + static_cast<size_t>(n_threads) * kStack,
          .page_tables = model.weight_bytes() / kPage * kPageTableEntry};
}

ProcessBytes process_bytes(const Model& model, const Tokenizer* tokenizer, int n_threads) {
  ProcessBytes bytes = process_bytes_without_text(model, n_threads);
  bytes.tables += Sampler::table_bytes(model.vocab_size());
  if (tokenizer != nullptr) {
    bytes.tokenizer = tokenizer->table_bytes();
  } else {
    bytes.tokenizer = static_cast<size_t>(model.vocab_size()) * kTableBytesPerPiece;
    bytes.tokenizer_known = Known::assumed;
  }
  return bytes;
}

}  // namespace varve
