// The conversations of late, so that what clients send again is read as the very tokens that were
// read and sampled before. Many threads use it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <string_view>

#include "chat/transcript.h"

namespace varve::server {

class TranscriptMemory {
 public:
  struct Limits {
    size_t n_transcripts = 64;
    size_t n_bytes = size_t{32} << 20;
  };
  /// `tokenizer` outlives it.
  TranscriptMemory(const Tokenizer& tokenizer, Limits limits)
      : tokenizer_(&tokenizer), limits_(limits) {}

  /// The transcript of `rendered`: it continues the one that shares the longest beginning with it.
  /// Errors: as of Transcript::continue_to.
  Result<Transcript> recall(std::string_view rendered);

  /// Keeps a transcript in place of those that it goes on from. The ones that were used least
  /// recently make room.
  void remember(Transcript transcript);

  size_t n_transcripts() const;

 private:
  const Tokenizer* tokenizer_;
  const Limits limits_;
  mutable std::mutex mutex_;
  std::list<Transcript> transcripts_;  // the most recently used one first
};

}  // namespace varve::server
