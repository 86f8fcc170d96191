#include "server/transcript_memory.h"

#include <algorithm>
#include <utility>

namespace varve::server {
namespace {

bool goes_on_from(const Transcript& longer, const Transcript& shorter) {
  const auto& ids = longer.ids();
  const auto& first = shorter.ids();
  return first.size() <= ids.size() && std::equal(first.begin(), first.end(), ids.begin());
}

}  // namespace

Result<Transcript> TranscriptMemory::recall(std::string_view rendered) {
  Transcript transcript(*tokenizer_);
  {
    const std::lock_guard lock(mutex_);
    auto best = transcripts_.end();
    size_t n_best = 0;
    for (auto it = transcripts_.begin(); it != transcripts_.end(); ++it) {
      const size_t n = it->common_bytes(rendered);
      if (n <= n_best) continue;
      best = it;
      n_best = n;
    }
    if (best != transcripts_.end()) {
      transcript = *best;
      transcripts_.splice(transcripts_.begin(), transcripts_, best);
    }
  }
  // Outside of the lock: this is what takes time.
  VARVE_CHECKED(transcript.continue_to(rendered));
  return transcript;
}

void TranscriptMemory::remember(Transcript transcript) {
  const std::lock_guard lock(mutex_);
  std::erase_if(transcripts_,
                [&](const Transcript& before) { return goes_on_from(transcript, before); });
  transcripts_.push_front(std::move(transcript));
  size_t n = 0;
  size_t bytes = 0;
  auto it = transcripts_.begin();
  for (; it != transcripts_.end(); ++it) {
    bytes += it->held_bytes();
    if (++n > limits_.n_transcripts || bytes > limits_.n_bytes) break;
  }
  transcripts_.erase(it, transcripts_.end());
}

size_t TranscriptMemory::n_transcripts() const {
  const std::lock_guard lock(mutex_);
  return transcripts_.size();
}

}  // namespace varve::server
