#include "server/cache_watch.h"

#include <algorithm>
#include <utility>

namespace varve::server {
namespace {

LayerView layer_view(const LayerShape& layer, int window, int n_tokens) {
  LayerView view{.kind = layer.kind, .ratio = layer.ratio};
  const bool is_kv = layer.kind == LayerKind::kv;
  view.n_window = std::min(n_tokens, is_kv ? layer.window : window);
  if (layer.ratio > 0) {
    view.n_entries = n_tokens / layer.ratio;
  } else if (is_kv && layer.window == 0) {
    view.n_entries = n_tokens;
  }
  return view;
}

}  // namespace

RunView* CacheWatch::find(uint64_t run) {
  const auto it = std::ranges::find(runs_, run, &RunView::run);
  return it == runs_.end() ? nullptr : &*it;
}

void CacheWatch::note(CacheEvent event) {
  event.number = ++n_events_;
  events_.push_back(event);
  if (events_.size() > kMaxEvents) events_.pop_front();
}

uint64_t CacheWatch::admit(const Session& session, int n_prompt, int n_stored) {
  const RunView view{.run = ++n_runs_,
                     .n_prompt = n_prompt,
                     .n_cached = session.n_reused(),
                     .n_stored = n_stored,
                     .resume_points = session.resume_positions()};
  runs_.push_front(view);
  watched_ = &session.sequence();
  watched_row_ = -1;
  layers_.clear();
  note({.kind = CacheEvent::Kind::admitted,
        .run = view.run,
        .n_tokens = n_prompt,
        .n_cached = view.n_cached,
        .n_stored = n_stored});
  see(view.run, session);
  return view.run;
}

void CacheWatch::see(uint64_t run, const Session& session, bool is_over) {
  RunView* const view = find(run);
  if (view == nullptr) return;
  view->n_tokens = session.n_tokens();
  view->n_pending = session.n_pending();
  const std::vector<int> before = std::exchange(view->resume_points, session.resume_positions());
  for (const int pos : view->resume_points) {
    if (std::ranges::find(before, pos) != before.end()) continue;
    note({.kind = CacheEvent::Kind::resume_point, .run = run, .n_tokens = pos});
  }
  if (view->n_tokens >= view->n_prompt) view->state = RunView::State::answering;
  if (is_over) view->state = RunView::State::over;
  if (view == &runs_.front()) keep_layers(session);
  if (!is_over) return;
  if (watched_ == &session.sequence()) watched_ = nullptr;
  note({.kind = CacheEvent::Kind::over, .run = run, .n_tokens = view->n_tokens});
  forget_old_runs();
}

// Those that run stay.
void CacheWatch::forget_old_runs() {
  const auto is_over = [](const RunView& one) { return one.state == RunView::State::over; };
  if (static_cast<size_t>(std::ranges::count_if(runs_, is_over)) <= kMaxRuns) return;
  runs_.erase(std::prev(std::find_if(runs_.rbegin(), runs_.rend(), is_over).base()));
}

void CacheWatch::keep_layers(const Session& session) {
  const CacheShape& shape = engine_->cache().layout().shape;
  layers_.resize(shape.layers.size());
  for (size_t l = 0; l < layers_.size(); ++l) {
    std::vector<int32_t> picks = std::move(layers_[l].picks);
    layers_[l] = layer_view(shape.layers[l], shape.window, session.n_tokens());
    layers_[l].picks = std::move(picks);
  }
}

void CacheWatch::attend() {
  const bool is_watched = Clock::now() < looks_until_;
  engine_->set_probe(is_watched && watched_ != nullptr ? this : nullptr);
  if (is_watched || watched_ == nullptr) return;
  for (LayerView& layer : layers_) layer.picks.clear();
}

void CacheWatch::begin(const Batch& batch) {
  watched_row_ = -1;
  layer_ = -1;
  for (const Segment& segment : batch.segments) {
    if (segment.sequence == watched_) watched_row_ = segment.first + segment.n - 1;
  }
}

// A layer's picks come token by token.
void CacheWatch::ints(std::string_view name, int layer, const int32_t* rows, int n_rows,
                      int row_width) {
  if (name != "picks") return;
  if (layer != layer_) row_ = 0;
  layer_ = layer;
  const int i = watched_row_ - row_;
  row_ += n_rows;
  if (watched_row_ < 0 || i < 0 || i >= n_rows || static_cast<size_t>(layer) >= layers_.size()) {
    return;
  }
  const int32_t* const row = rows + static_cast<ptrdiff_t>(i) * row_width;
  layers_[static_cast<size_t>(layer)].picks.assign(
      row, row + std::min(static_cast<size_t>(row_width), kMaxPicks));
}

CacheView CacheWatch::look() {
  looks_until_ = Clock::now() + attention_;
  CacheView view;
  view.runs.assign(runs_.begin(), runs_.end());
  view.layers = layers_;
  view.events.assign(events_.begin(), events_.end());
  const MemoryPlan& memory = engine_->memory();
  view.cache_bytes = memory.cache_bytes();
  view.arena_bytes = memory.arena_bytes;
  view.weight_bytes = memory.weight_bytes + memory.vector_bytes;
  view.ctx_tokens = engine_->options().ctx_tokens;
  const Cache& cache = engine_->cache();
  const CacheLayout& layout = cache.layout();
  view.filled_blocks = cache.filled_blocks();
  view.n_blocks = cache.n_blocks();
  view.filled_details = cache.filled_details();
  view.n_details = cache.n_details();
  view.known_blocks = cache.known_blocks();
  view.known_points = cache.known_points();
  const auto filled = [&](size_t in_block, size_t in_detail) {
    return static_cast<size_t>(view.filled_blocks) * in_block +
           static_cast<size_t>(view.filled_details) * in_detail;
  };
  const CacheBytes planned = cache.bytes();
  for (const PoolInfo& info : pools()) {
    if (!layout.has(info.pool)) continue;
    view.pools.push_back(
        {.name = info.name,
         .format = row_format_name(layout.formats.of(info.pool)),
         .filled_bytes = filled(layout.block_pools[info.pool], layout.detail_pools[info.pool]),
         .planned_bytes = planned.pools[info.pool]});
  }
  view.state = {.name = "state",
                .format = "f32",
                .filled_bytes = filled(0, layout.state_detail_bytes + layout.hidden_detail_bytes),
                .planned_bytes = planned.state};
  return view;
}

}  // namespace varve::server
