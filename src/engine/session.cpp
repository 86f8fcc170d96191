#include <algorithm>
#include <utility>

#include "base/rng.h"
#include "engine/engine.h"

namespace varve {

Session::Session(Engine* engine, int slot, Sequence sequence, float* logits)
    : engine_(engine), sequence_(std::move(sequence)), logits_(logits), slot_(slot) {
  engine_->sessions_[static_cast<size_t>(slot_)] = this;
}

Session::Session(Session&& other) noexcept {
  *this = std::move(other);
}

Session& Session::operator=(Session&& other) noexcept {
  if (this == &other) return *this;
  leave();
  engine_ = std::exchange(other.engine_, nullptr);
  sequence_ = std::move(other.sequence_);
  n_pending_ = std::exchange(other.n_pending_, 0);
  n_reused_ = other.n_reused_;
  logits_ = std::exchange(other.logits_, nullptr);
  has_logits_ = std::exchange(other.has_logits_, false);
  slot_ = std::exchange(other.slot_, -1);
  if (engine_ != nullptr) engine_->sessions_[static_cast<size_t>(slot_)] = this;
  return *this;
}

Session::~Session() {
  leave();
}

void Session::leave() {
  if (engine_ != nullptr) engine_->sessions_[static_cast<size_t>(slot_)] = nullptr;
  engine_ = nullptr;
  sequence_ = Sequence();
  n_pending_ = 0;
  has_logits_ = false;
}

Result<void> Session::enqueue(std::span<const int32_t> ids) {
  if (engine_ == nullptr) return usage_error("the session is over: it has no engine");
  VARVE_CHECKED(engine_->check_ids(ids));
  const size_t in_all =
      static_cast<size_t>(n_tokens()) + static_cast<size_t>(n_pending()) + ids.size();
  if (in_all > static_cast<size_t>(engine_->options_.ctx_tokens)) {
    return usage_error("the context holds {} tokens; {} are asked for",
                       engine_->options_.ctx_tokens, in_all);
  }
  VARVE_CHECKED(sequence_.reserve(static_cast<int>(in_all)));
  std::copy(ids.begin(), ids.end(), sequence_.next_ids().begin() + n_pending_);
  n_pending_ += static_cast<int>(ids.size());
  return {};
}

Result<void> Session::append(std::span<const int32_t> ids) {
  VARVE_CHECKED(enqueue(ids));
  while (n_pending() > 0) engine_->step();
  return {};
}

std::span<const float> Session::logits() const {
  if (!has_logits_) return {};
  return {logits_, static_cast<size_t>(engine_->model_->vocab_size())};
}

Result<Session> Session::fork() const {
  if (engine_ == nullptr) return usage_error("the session is over: it has no engine");
  VARVE_TRY(Sequence sequence, sequence_.fork());
  VARVE_TRY(Session twin, engine_->adopt(std::move(sequence)));
  twin.has_logits_ = has_logits_;
  if (has_logits_) std::copy_n(logits_, engine_->model_->vocab_size(), twin.logits_);
  return twin;
}

Result<void> Session::rewind(int n) {
  if (engine_ == nullptr) return usage_error("the session is over: it has no engine");
  if (n < 0 || n > n_tokens()) {
    return usage_error("cannot rewind to token {}: the session has {}", n, n_tokens());
  }
  n_pending_ = 0;
  if (n == n_tokens() && has_logits_) return {};
  const int from = sequence_.rewind_to_resume_point(n);
  has_logits_ = false;
  if (from < n) {
    VARVE_CHECKED(sequence_.reserve(n));
    n_pending_ = n - from;  // their ids still stand in next_ids()
    while (n_pending_ > 0) engine_->step();
  } else if (n > 0) {
    engine_->runner_->logits_of_newest(sequence_, logits_);
    has_logits_ = true;
  }
  return {};
}

void Session::save_resume_point() {
  if (!sequence_) return;
  sequence_.save_resume_point();
  if (engine_->persistence_ && engine_->options_.resume_points > 0) {
    engine_->persistence_->put_point(sequence_);
  }
}

Result<void> Session::fill_seeded(int n, uint64_t seed) {
  if (engine_ == nullptr) return usage_error("the session is over: it has no engine");
  if (n_tokens() > 0 || n_pending() > 0) {
    return usage_error("only an empty session can be filled; this one has {} tokens",
                       n_tokens() + n_pending());
  }
  VARVE_CHECKED(sequence_.reserve(n));
  sequence_.keep_private();
  const CacheShape shape = engine_->model_->cache_shape();
  Rng rng(seed);
  const PoolFormats& formats = engine_->options_.formats;
  std::vector<float> values, key;
  const auto draw = [&](int width) {
    values.resize(static_cast<size_t>(width));
    for (float& value : values) value = rng.normal();
    return values.data();
  };
  const auto fill_state = [&](float* row, int width) { std::copy_n(draw(width), width, row); };
  for (int l = 0; l < static_cast<int>(shape.layers.size()); ++l) {
    const LayerShape& layer = shape.layers[static_cast<size_t>(l)];
    for (int pos = std::max(0, n - shape.window); pos < n; ++pos) {
      encode_row(formats.window, layer.row(), draw(layer.head_dim), sequence_.window_row(l, pos));
    }
    for (int pos = std::max(0, n - layer.state_tokens()); pos < n; ++pos) {
      fill_state(sequence_.state_row(l, pos), 2 * layer.state_width());
      if (layer.index_state_width() == 0) continue;
      fill_state(sequence_.index_state_row(l, pos), 2 * layer.index_state_width());
    }
    for (int w = 0; layer.ratio > 0 && w < n / layer.ratio; ++w) {
      sequence_.store_entry(l, w, draw(layer.head_dim));
      if (!layer.is_picked()) continue;
      encode_row(formats.index, layer.index_row(), draw(layer.index_dim),
                 sequence_.index_key(l, w));
    }
    if (layer.kind != LayerKind::kv) continue;
    for (int pos = layer.window == 0 ? 0 : std::max(0, n - layer.window); pos < n; ++pos) {
      for (int h = 0; h < layer.n_kv_heads; ++h) {
        draw(layer.head_dim);
        key = values;
        sequence_.store_kv(l, pos, h, key.data(), draw(layer.head_dim));
      }
    }
  }
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (int32_t& id : ids) {
    id = static_cast<int32_t>(rng.below(static_cast<uint64_t>(engine_->model_->vocab_size())));
  }
  sequence_.commit(ids);
  has_logits_ = false;
  return {};
}

}  // namespace varve
