// The cache at work, for people who look at it: who runs, what each layer holds of the newest
// conversation, which entries its last token picked, what happens to whom. The engine's thread
// alone uses it. It costs a copy of the picks of each step while someone looks, and nothing
// otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string_view>
#include <vector>

#include "engine/engine.h"

namespace varve::server {

/// What one layer holds of a conversation.
struct LayerView {
  LayerKind kind = LayerKind::swa;
  int ratio = 0;      // tokens per entry; 0: no entries
  int n_window = 0;   // of the newest tokens, those whose own rows are kept
  int n_entries = 0;  // behind them: of a layer of keys and values without a window, its tokens
  /// Of a layer that picks: entries that the last token attended to. Empty where it was not looked
  /// at, as before the first token that was read while someone looked; at most
  /// CacheWatch::kMaxPicks of them.
  std::vector<int32_t> picks = {};
};

struct RunView {
  enum class State { reading, answering, over };
  uint64_t run = 0;  // counts requests up from 1
  State state = State::reading;
  int n_prompt = 0;
  int n_cached = 0;  // of the prompt, known when it was admitted
  int n_stored = 0;  // of those, whose blocks came from the store
  int n_tokens = 0;  // read by now
  int n_pending = 0;
  std::vector<int> resume_points = {};  // positions
};

struct CacheEvent {
  enum class Kind { admitted, resume_point, over };
  uint64_t number = 0;  // counts up from 1
  Kind kind = Kind::admitted;
  uint64_t run = 0;
  int n_tokens = 0;  // of the prompt; where the point is; at the end
  int n_cached = 0;  // admitted: as of RunView
  int n_stored = 0;
};

struct PoolView {
  std::string_view name;
  std::string_view format;
  size_t filled_bytes = 0;
  size_t planned_bytes = 0;
};

struct CacheView {
  std::vector<RunView> runs;      // the newest first; those that run, and the last few
  std::vector<LayerView> layers;  // of the newest one
  std::vector<PoolView> pools;
  PoolView state;                                             // compressor inputs and hidden states
  size_t cache_bytes = 0, arena_bytes = 0, weight_bytes = 0;  // as planned
  int ctx_tokens = 0;                                         // of a session
  int filled_blocks = 0, n_blocks = 0;
  int filled_details = 0, n_details = 0;
  int known_blocks = 0, known_points = 0;
  std::vector<CacheEvent> events;  // the last ones, the oldest first
};

class CacheWatch : private Probe {
 public:
  static constexpr size_t kMaxRuns = 8;  // that are over, in a view
  static constexpr size_t kMaxEvents = 64;
  /// Of a layer, in a view.
  static constexpr size_t kMaxPicks = 2048;

  /// Who has not looked for as long as `attention` does not look any more.
  explicit CacheWatch(Engine& engine,
                      std::chrono::milliseconds attention = std::chrono::seconds(10))
      : engine_(&engine), attention_(attention) {}
  ~CacheWatch() override { engine_->set_probe(nullptr); }
  CacheWatch(const CacheWatch&) = delete;
  CacheWatch& operator=(const CacheWatch&) = delete;

  /// A run begins; its session stays where it is until it is over. Returns the run's number.
  /// `n_stored`: tokens of its prompt whose blocks came from the store.
  uint64_t admit(const Session& session, int n_prompt, int n_stored);
  /// The session as it is now; `is_over`: for the last time. Resume points that it has not had
  /// before are events.
  void see(uint64_t run, const Session& session, bool is_over = false);
  /// Before a step: looks on at it, or forgets what would not be the last token's any more.
  void attend();
  /// What was seen. From now on picks are copied.
  CacheView look();

 private:
  using Clock = std::chrono::steady_clock;

  void begin(const Batch& batch) override;
  void floats(std::string_view, int, const float*, int, int) override {}
  void ints(std::string_view name, int layer, const int32_t* rows, int n_rows,
            int row_width) override;

  RunView* find(uint64_t run);
  void note(CacheEvent event);
  void forget_old_runs();
  void keep_layers(const Session& session);

  Engine* engine_;
  const std::chrono::milliseconds attention_;
  Clock::time_point looks_until_ = {};
  std::deque<RunView> runs_;  // the newest first
  std::vector<LayerView> layers_;
  std::deque<CacheEvent> events_;
  uint64_t n_runs_ = 0, n_events_ = 0;

  const Sequence* watched_ = nullptr;  // of the newest run, until it is over
  int watched_row_ = -1;               // its last one in the batch that runs; -1: none
  int layer_ = -1, row_ = 0;           // of the picks that come next
};

}  // namespace varve::server
