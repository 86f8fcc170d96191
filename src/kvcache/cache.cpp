#include "kvcache/cache.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "tensor/kv_tile.h"

namespace varve {
namespace {

int blocks_for(int n_tokens) {
  return (n_tokens + kBlockTokens - 1) / kBlockTokens;
}

// Hands out ids 0, 1, 2, ... first.
std::vector<int> descending(int n) {
  std::vector<int> ids(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) ids[static_cast<size_t>(i)] = n - 1 - i;
  return ids;
}

}  // namespace

Cache::Cache(const CacheShape& shape, const CacheOptions& options)
    : layout_(shape, options.formats),
      options_(options),
      blocks_per_sequence_(blocks_for(options.ctx_tokens)),
      n_blocks_(blocks_per_sequence_ * options.n_sequences + options.kept_blocks),
      n_details_((1 + options.resume_points) * options.n_sequences + options.kept_points) {}

void Cache::lay_out(ArenaBuilder& arena) {
  blocks_ =
      arena.take<std::byte>("cache blocks", static_cast<size_t>(n_blocks_) * layout_.block_bytes);
  details_ = arena.take<std::byte>("cache windows and states",
                                   static_cast<size_t>(n_details_) * layout_.detail_bytes);
  const size_t n_table =
      static_cast<size_t>(options_.n_sequences) * static_cast<size_t>(blocks_per_sequence_);
  auto* const tables = arena.take<int32_t>("cache tables", n_table);
  auto* const keys = arena.take<BlockKey>("cache tables", n_table);
  tails_ = arena.take<int32_t>("cache tables", static_cast<size_t>(n_details_) * kBlockTokens);
  index_.lay_out(arena, n_blocks_);
  auto* const ids =
      arena.take<int32_t>("cache tables", static_cast<size_t>(options_.n_sequences) *
                                              static_cast<size_t>(options_.ctx_tokens));
  if (arena.dry()) return;
  slots_.resize(static_cast<size_t>(options_.n_sequences));
  for (size_t s = 0; s < slots_.size(); ++s) {
    slots_[s].table = tables + s * static_cast<size_t>(blocks_per_sequence_);
    slots_[s].keys = keys + s * static_cast<size_t>(blocks_per_sequence_);
    slots_[s].ids = ids + s * static_cast<size_t>(options_.ctx_tokens);
    slots_[s].points.reserve(static_cast<size_t>(options_.resume_points) + 1);
  }
  free_blocks_ = descending(n_blocks_);
  block_refs_.assign(static_cast<size_t>(n_blocks_), 0);
  free_details_ = descending(n_details_);
  detail_refs_.assign(static_cast<size_t>(n_details_), 0);
  known_points_.resize(static_cast<size_t>(n_details_));
}

CacheBytes Cache::bytes() const {
  const auto n_blocks = static_cast<size_t>(n_blocks_);
  const auto n_details = static_cast<size_t>(n_details_);
  CacheBytes out;
  for (const PoolInfo& info : pools()) {
    out.pools[info.pool] =
        n_blocks * layout_.block_pools[info.pool] + n_details * layout_.detail_pools[info.pool];
  }
  out.state = n_details * (layout_.state_detail_bytes + layout_.hidden_detail_bytes);
  return out;
}

int Cache::blocks_in_use() const {
  std::vector<bool> used(static_cast<size_t>(n_blocks_));
  for (const Slot& slot : slots_) {
    if (!slot.alive) continue;
    for (int b = 0; b < slot.n_blocks; ++b) used[static_cast<size_t>(slot.table[b])] = true;
  }
  return static_cast<int>(std::ranges::count(used, true));
}

// The pools cannot run dry: n_sequences tables of blocks_per_sequence references never hold more
// than n_blocks distinct blocks, what the index alone holds can go, and the same holds for detail
// slots.
int Cache::take_block() {
  [[maybe_unused]] const bool has_room = make_room_for_block();
  assert(has_room);
  const int id = free_blocks_.back();
  free_blocks_.pop_back();
  block_refs_[static_cast<size_t>(id)] = 1;
  return id;
}

void Cache::drop_block(int id) {
  if (--block_refs_[static_cast<size_t>(id)] == 0) free_blocks_.push_back(id);
}

int Cache::take_detail() {
  if (free_details_.empty()) evict_point();
  assert(!free_details_.empty());
  const int id = free_details_.back();
  free_details_.pop_back();
  detail_refs_[static_cast<size_t>(id)] = 1;
  return id;
}

void Cache::drop_detail(int id) {
  if (--detail_refs_[static_cast<size_t>(id)] == 0) free_details_.push_back(id);
}

Result<Sequence> Cache::new_sequence() {
  for (size_t s = 0; s < slots_.size(); ++s) {
    Slot& slot = slots_[s];
    if (slot.alive) continue;
    slot.alive = true;
    slot.n_tokens = 0;
    slot.n_blocks = 0;
    slot.restored_tokens = 0;
    slot.is_private = false;
    slot.points.clear();
    slot.detail = take_detail();
    return Sequence(this, static_cast<int>(s));
  }
  return usage_error("all {} sequences of the cache are in use", options_.n_sequences);
}

bool Cache::has_free_sequence() const {
  return std::ranges::any_of(slots_, [](const Slot& slot) { return !slot.alive; });
}

// Keeps the first n_tokens tokens' blocks. The last of them becomes open where n_tokens ends inside
// it; if others share it, this sequence gets a copy of its own to write in.
void Cache::truncate(Slot& slot, int n_tokens) {
  const int keep = blocks_for(n_tokens);
  while (slot.n_blocks > keep) drop_block(slot.table[--slot.n_blocks]);
  slot.n_tokens = n_tokens;
  slot.restored_tokens = std::min(slot.restored_tokens, n_tokens / kBlockTokens * kBlockTokens);
  if (n_tokens % kBlockTokens == 0) return;
  int32_t& last = slot.table[keep - 1];
  if (block_refs_[static_cast<size_t>(last)] == 1) return;
  --block_refs_[static_cast<size_t>(last)];
  last = own_copy(last);
}

// A block of the caller's own with the same rows as one that others hold. Where there is no room
// for two, those who hold it do so only to know it, and let go.
int Cache::own_copy(int id) {
  ++block_refs_[static_cast<size_t>(id)];
  if (!make_room_for_block()) {
    forget_block(id);
    assert(block_refs_[static_cast<size_t>(id)] == 1);
    return id;
  }
  const int copy = take_block();
  std::memcpy(block(copy), block(id), layout_.block_bytes);
  drop_block(id);
  return copy;
}

Sequence::Sequence(Sequence&& other) noexcept
    : cache_(std::exchange(other.cache_, nullptr)), slot_(std::exchange(other.slot_, -1)) {}

Sequence& Sequence::operator=(Sequence&& other) noexcept {
  if (this != &other) {
    release();
    cache_ = std::exchange(other.cache_, nullptr);
    slot_ = std::exchange(other.slot_, -1);
  }
  return *this;
}

Sequence::~Sequence() {
  release();
}

void Sequence::release() {
  if (cache_ == nullptr) return;
  Cache::Slot& slot = cache_->slots_[static_cast<size_t>(slot_)];
  cache_->know_point(slot, slot.detail);
  cache_->touch_blocks(slot);
  cache_->truncate(slot, 0);
  for (const Cache::ResumePoint& point : slot.points) cache_->drop_detail(point.detail);
  slot.points.clear();
  cache_->drop_detail(slot.detail);
  slot.alive = false;
  cache_ = nullptr;
}

int Sequence::n_tokens() const {
  return cache_->slots_[static_cast<size_t>(slot_)].n_tokens;
}

const CacheLayout& Sequence::layout() const {
  return cache_->layout_;
}

std::span<const int32_t> Sequence::ids() const {
  const Cache::Slot& slot = cache_->slots_[static_cast<size_t>(slot_)];
  return {slot.ids, static_cast<size_t>(slot.n_tokens)};
}

std::span<int32_t> Sequence::next_ids() const {
  const Cache::Slot& slot = cache_->slots_[static_cast<size_t>(slot_)];
  return {slot.ids + slot.n_tokens,
          static_cast<size_t>(cache_->options_.ctx_tokens - slot.n_tokens)};
}

Result<void> Sequence::reserve(int n_tokens) {
  if (n_tokens > cache_->options_.ctx_tokens) {
    return usage_error("the context holds {} tokens; {} are asked for", cache_->options_.ctx_tokens,
                       n_tokens);
  }
  Cache::Slot& slot = cache_->slots_[static_cast<size_t>(slot_)];
  while (slot.n_blocks < blocks_for(n_tokens)) slot.table[slot.n_blocks++] = cache_->take_block();
  return {};
}

void Sequence::commit(std::span<const int32_t> ids) {
  Cache::Slot& slot = cache_->slots_[static_cast<size_t>(slot_)];
  assert(blocks_for(slot.n_tokens + static_cast<int>(ids.size())) <= slot.n_blocks);
  std::copy(ids.begin(), ids.end(), slot.ids + slot.n_tokens);
  const int first = slot.n_tokens / kBlockTokens;
  slot.n_tokens += static_cast<int>(ids.size());
  for (int b = first; (b + 1) * kBlockTokens <= slot.n_tokens; ++b) cache_->seal(slot, b);
}

std::byte* Sequence::entry(int layer, int w) const {
  const LayerShape& shape = cache_->layout_.shape.layers[static_cast<size_t>(layer)];
  const LayerLayout& at = cache_->layout_.layers[static_cast<size_t>(layer)];
  const int per_block = shape.entries_per_block();
  const int id = cache_->slots_[static_cast<size_t>(slot_)].table[w / per_block];
  return cache_->block(id) + at.entries_at + static_cast<size_t>(w % per_block) * at.entry_bytes;
}

std::byte* Sequence::index_key(int layer, int w) const {
  const LayerShape& shape = cache_->layout_.shape.layers[static_cast<size_t>(layer)];
  const LayerLayout& at = cache_->layout_.layers[static_cast<size_t>(layer)];
  const int per_block = shape.entries_per_block();
  const int id = cache_->slots_[static_cast<size_t>(slot_)].table[w / per_block];
  return cache_->block(id) + at.index_at + static_cast<size_t>(w % per_block) * at.index_bytes;
}

KvBlock Sequence::kv_block(int layer, int block) const {
  const LayerShape& shape = cache_->layout_.shape.layers[static_cast<size_t>(layer)];
  const LayerLayout& at = cache_->layout_.layers[static_cast<size_t>(layer)];
  const Cache::Slot& slot = cache_->slots_[static_cast<size_t>(slot_)];
  std::byte* const base = shape.window == 0 ? cache_->block(slot.table[block])
                                            : cache_->detail(slot.detail) +
                                                  static_cast<size_t>(block % shape.ring_blocks()) *
                                                      at.ring_block_bytes;
  return {base + at.k_at, base + at.v_at};
}

KvBlock Sequence::recent_block(int layer, int block) const {
  const CacheLayout& layout = cache_->layout_;
  const LayerLayout& at = layout.layers[static_cast<size_t>(layer)];
  const LayerShape& shape = layout.shape.layers[static_cast<size_t>(layer)];
  const size_t first_row = static_cast<size_t>(block % layout.recent_blocks()) *
                           static_cast<size_t>(shape.n_kv_heads) * kBlockTokens;
  return exact_rows(at.k_exact.recent_at + first_row * at.k_exact.row_bytes,
                    at.v_exact.recent_at + first_row * at.v_exact.row_bytes, layer);
}

KvBlock Sequence::sinks(int layer) const {
  const LayerLayout& at = cache_->layout_.layers[static_cast<size_t>(layer)];
  return exact_rows(at.k_exact.sinks_at, at.v_exact.sinks_at, layer);
}

// Null for what is not kept.
KvBlock Sequence::exact_rows(size_t k_at, size_t v_at, int layer) const {
  const LayerLayout& at = cache_->layout_.layers[static_cast<size_t>(layer)];
  std::byte* const detail = cache_->detail(cache_->slots_[static_cast<size_t>(slot_)].detail);
  return {at.k_exact.row_bytes > 0 ? detail + k_at : nullptr,
          at.v_exact.row_bytes > 0 ? detail + v_at : nullptr};
}

void Sequence::store_kv(int layer, int pos, int head, const float* key, const float* value) const {
  const CacheLayout& layout = cache_->layout_;
  const PoolFormats& formats = layout.formats;
  const LayerLayout& at = layout.layers[static_cast<size_t>(layer)];
  const RowShape shape = layout.shape.layers[static_cast<size_t>(layer)].kv_row();
  const auto store = [&](const KvBlock& to, int run_rows, int row, RowFormat k, RowFormat v) {
    const auto first = static_cast<size_t>(head * run_rows);
    if (to.keys != nullptr) {
      store_kv_row(k, KvSide::keys, shape, key, row, to.keys + first * row_bytes(k, shape));
    }
    if (to.values != nullptr) {
      store_kv_row(v, KvSide::values, shape, value, row, to.values + first * row_bytes(v, shape));
    }
  };
  const int block = pos / kBlockTokens, row = pos % kBlockTokens;
  const bool is_in_block = layout.shape.layers[static_cast<size_t>(layer)].window == 0;
  if (!is_in_block || pos >= restored_tokens()) {
    store(kv_block(layer, block), kBlockTokens, row, formats.k, formats.v);
  }
  if (at.k_exact.row_bytes + at.v_exact.row_bytes == 0) return;
  if (formats.recent_tokens > 0) {
    store(recent_block(layer, block), kBlockTokens, row, RowFormat::bf16, RowFormat::bf16);
  }
  if (pos < formats.sink_tokens) {
    store(sinks(layer), formats.sink_tokens, pos, RowFormat::bf16, RowFormat::bf16);
  }
}

void Sequence::store_entry(int layer, int w, const float* values) const {
  const CacheLayout& layout = cache_->layout_;
  const LayerShape& shape = layout.shape.layers[static_cast<size_t>(layer)];
  encode_row(layout.formats.entries(shape.kind), shape.row(), values, entry(layer, w));
  if (layout.layers[static_cast<size_t>(layer)].latent_exact.row_bytes == 0) return;
  if (w >= layout.formats.sink_tokens && layout.formats.recent_tokens == 0) return;
  encode_row(RowFormat::bf16, shape.row(), values, exact_latent(layer, w));
}

std::byte* Sequence::exact_latent(int layer, int pos) const {
  const CacheLayout& layout = cache_->layout_;
  const ExactRows& at = layout.layers[static_cast<size_t>(layer)].latent_exact;
  std::byte* const detail = cache_->detail(cache_->slots_[static_cast<size_t>(slot_)].detail);
  const bool sink = pos < layout.formats.sink_tokens;
  const int row = sink ? pos : pos % layout.formats.recent_tokens;
  return detail + (sink ? at.sinks_at : at.recent_at) + static_cast<size_t>(row) * at.row_bytes;
}

std::byte* Sequence::window_row(int layer, int pos) const {
  const LayerLayout& at = cache_->layout_.layers[static_cast<size_t>(layer)];
  const int row = pos % cache_->layout_.shape.window;
  return cache_->detail(cache_->slots_[static_cast<size_t>(slot_)].detail) + at.window_at +
         static_cast<size_t>(row) * at.window_bytes;
}

float* Sequence::state_row(int layer, int pos) const {
  const LayerShape& shape = cache_->layout_.shape.layers[static_cast<size_t>(layer)];
  const LayerLayout& at = cache_->layout_.layers[static_cast<size_t>(layer)];
  std::byte* const ring =
      cache_->detail(cache_->slots_[static_cast<size_t>(slot_)].detail) + at.state_at;
  return reinterpret_cast<float*>(ring) + static_cast<size_t>(pos % shape.state_tokens()) * 2 *
                                              static_cast<size_t>(shape.state_width());
}

float* Sequence::index_state_row(int layer, int pos) const {
  const LayerShape& shape = cache_->layout_.shape.layers[static_cast<size_t>(layer)];
  const LayerLayout& at = cache_->layout_.layers[static_cast<size_t>(layer)];
  std::byte* const ring =
      cache_->detail(cache_->slots_[static_cast<size_t>(slot_)].detail) + at.index_state_at;
  return reinterpret_cast<float*>(ring) + static_cast<size_t>(pos % shape.state_tokens()) * 2 *
                                              static_cast<size_t>(shape.index_state_width());
}

float* Sequence::hidden() const {
  return reinterpret_cast<float*>(
      cache_->detail(cache_->slots_[static_cast<size_t>(slot_)].detail) +
      cache_->layout_.hidden_at);
}

Result<Sequence> Sequence::fork() const {
  VARVE_TRY(Sequence twin, cache_->new_sequence());
  const Cache::Slot& from = cache_->slots_[static_cast<size_t>(slot_)];
  Cache::Slot& to = cache_->slots_[static_cast<size_t>(twin.slot_)];
  const int n_shared = std::max(from.n_tokens, from.restored_tokens) / kBlockTokens;
  for (int b = 0; b < n_shared; ++b) {
    to.table[b] = from.table[b];
    to.keys[b] = from.keys[b];
    ++cache_->block_refs_[static_cast<size_t>(from.table[b])];
  }
  to.n_blocks = n_shared;
  if (from.n_tokens > n_shared * kBlockTokens) {
    to.table[to.n_blocks++] = cache_->own_copy(from.table[n_shared]);
  }
  to.restored_tokens = from.restored_tokens;
  to.is_private = from.is_private;
  std::memcpy(cache_->detail(to.detail), cache_->detail(from.detail), cache_->layout_.detail_bytes);
  std::copy_n(from.ids, std::max(from.n_tokens, from.restored_tokens), to.ids);
  to.n_tokens = from.n_tokens;
  to.points.assign(from.points.begin(), from.points.end());
  for (const Cache::ResumePoint& point : to.points) {
    ++cache_->detail_refs_[static_cast<size_t>(point.detail)];
  }
  return twin;
}

void Sequence::save_resume_point() {
  Cache::Slot& slot = cache_->slots_[static_cast<size_t>(slot_)];
  auto& points = slot.points;
  const int now = slot.n_tokens;
  if (cache_->options_.resume_points == 0 || now == 0 || now < slot.restored_tokens) return;
  if (!points.empty() && points.back().pos == now) return;
  if (points.size() == static_cast<size_t>(cache_->options_.resume_points)) {
    // What losing point i costs is the gap that it leaves, and the further back the gap lies the
    // less likely it is to be rewound into.
    size_t victim = 0;
    double least = 0;
    for (size_t i = 0; i < points.size(); ++i) {
      const int before = i == 0 ? 0 : points[i - 1].pos;
      const int after = i + 1 == points.size() ? now : points[i + 1].pos;
      const double cost = static_cast<double>(after - before) / (now - points[i].pos);
      if (i == 0 || cost < least) {
        victim = i;
        least = cost;
      }
    }
    cache_->drop_detail(points[victim].detail);
    points.erase(points.begin() + static_cast<std::ptrdiff_t>(victim));
  }
  const int copy = cache_->take_detail();
  std::memcpy(cache_->detail(copy), cache_->detail(slot.detail), cache_->layout_.detail_bytes);
  points.push_back({now, copy});
  cache_->know_point(slot, copy);
}

int Sequence::rewind_to_resume_point(int pos) {
  Cache::Slot& slot = cache_->slots_[static_cast<size_t>(slot_)];
  assert(pos >= 0 && pos <= slot.n_tokens);
  if (pos == slot.n_tokens && pos >= slot.restored_tokens) return pos;
  while (!slot.points.empty() && slot.points.back().pos > pos) {
    cache_->drop_detail(slot.points.back().detail);
    slot.points.pop_back();
  }
  const int to = slot.points.empty() ? 0 : slot.points.back().pos;
  if (to < pos && !cache_->layout_.keeps_detail()) {
    // All that a token needs of those before it is in blocks.
    cache_->truncate(slot, pos - 1);
    return pos - 1;
  }
  const int sealed = pos / kBlockTokens * kBlockTokens;
  const int replay = cache_->replay_start(sealed);
  if (replay > to) {
    cache_->truncate(slot, sealed);
    cache_->begin_replay(slot, replay, sealed);
    return replay;
  }
  if (to > 0) {
    std::memcpy(cache_->detail(slot.detail), cache_->detail(slot.points.back().detail),
                cache_->layout_.detail_bytes);
  }
  cache_->truncate(slot, to);
  return to;
}

std::vector<int> Sequence::resume_positions() const {
  std::vector<int> positions;
  for (const auto& point : cache_->slots_[static_cast<size_t>(slot_)].points) {
    positions.push_back(point.pos);
  }
  return positions;
}

int Sequence::restored_tokens() const {
  return cache_->slots_[static_cast<size_t>(slot_)].restored_tokens;
}

bool Sequence::is_restored(int layer, int w) const {
  const int ratio = cache_->layout_.shape.layers[static_cast<size_t>(layer)].ratio;
  return (w + 1) * ratio <= restored_tokens();
}

void Sequence::keep_private() {
  cache_->slots_[static_cast<size_t>(slot_)].is_private = true;
}

bool Sequence::is_private() const {
  return cache_->slots_[static_cast<size_t>(slot_)].is_private;
}

const BlockKey& Sequence::key(int b) const {
  return cache_->slots_[static_cast<size_t>(slot_)].keys[b];
}

const BlockKey& Sequence::parent_key(int pos) const {
  return cache_->parent_key(cache_->slots_[static_cast<size_t>(slot_)], pos / kBlockTokens);
}

std::span<const std::byte> Sequence::block_rows(int b) const {
  const int id = cache_->slots_[static_cast<size_t>(slot_)].table[b];
  return {cache_->block(id), cache_->layout_.block_bytes};
}

std::span<const std::byte> Sequence::detail_rows() const {
  const int id = cache_->slots_[static_cast<size_t>(slot_)].detail;
  return {cache_->detail(id), cache_->layout_.detail_bytes};
}

}  // namespace varve
