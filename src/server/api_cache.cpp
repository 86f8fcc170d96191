// The cache as JSON, and the page that shows it.
#include <nlohmann/json.hpp>

#include "server/api.h"
#include "server/cache_watch.h"
#include "server/json_text.h"
#include "server/page.h"

namespace varve::server {

using Json = nlohmann::ordered_json;

namespace {

// Of the JSON below: counts up where something changes its meaning.
constexpr int kCacheSchema = 1;

std::string_view state_name(RunView::State state) {
  switch (state) {
    case RunView::State::reading:
      return "reading";
    case RunView::State::answering:
      return "answering";
    case RunView::State::over:
      break;
  }
  return "over";
}

std::string_view event_name(CacheEvent::Kind kind) {
  switch (kind) {
    case CacheEvent::Kind::admitted:
      return "admitted";
    case CacheEvent::Kind::resume_point:
      return "resume_point";
    case CacheEvent::Kind::over:
      break;
  }
  return "over";
}

Json run_json(const RunView& run) {
  return {{"run", run.run},
          {"state", state_name(run.state)},
          {"prompt_tokens", run.n_prompt},
          {"cached_tokens", run.n_cached},
          {"stored_tokens", run.n_stored},
          {"tokens", run.n_tokens},
          {"pending_tokens", run.n_pending},
          {"resume_points", run.resume_points}};
}

Json layer_json(const LayerView& layer) {
  return {{"kind", layer_kind_name(layer.kind)},
          {"ratio", layer.ratio},
          {"window_rows", layer.n_window},
          {"entries", layer.n_entries},
          {"picks", layer.picks}};
}

Json pool_json(const PoolView& pool) {
  return {{"name", pool.name},
          {"format", pool.format},
          {"filled_bytes", pool.filled_bytes},
          {"planned_bytes", pool.planned_bytes}};
}

Json event_json(const CacheEvent& event) {
  Json out = {{"number", event.number},
              {"kind", event_name(event.kind)},
              {"run", event.run},
              {"tokens", event.n_tokens}};
  if (event.kind == CacheEvent::Kind::admitted) {
    out["cached_tokens"] = event.n_cached;
    out["stored_tokens"] = event.n_stored;
  }
  return out;
}

template <class All, class ToJson>
Json array_of(const All& all, ToJson to_json) {
  Json out = Json::array();
  for (const auto& one : all) out.push_back(to_json(one));
  return out;
}

}  // namespace

Api::Reply Api::cache(HttpRequest&) {
  const std::lock_guard one_at_a_time(cache_view_mutex_);  // for the memory that it takes
  const std::optional<CacheView> view = loop_->cache_view();
  if (!view) return tl::unexpected(busy());
  Json all_pools = array_of(view->pools, pool_json);
  all_pools.push_back(pool_json(view->state));
  return HttpReply{.body = json_text({{"object", "cache"},
                                      {"schema", kCacheSchema},
                                      {"context_tokens", view->ctx_tokens},
                                      {"block_tokens", kBlockTokens},
                                      {"bytes",
                                       {{"cache", view->cache_bytes},
                                        {"arena", view->arena_bytes},
                                        {"weights", view->weight_bytes}}},
                                      {"blocks",
                                       {{"filled", view->filled_blocks},
                                        {"planned", view->n_blocks},
                                        {"known", view->known_blocks}}},
                                      {"details",
                                       {{"filled", view->filled_details},
                                        {"planned", view->n_details},
                                        {"known_points", view->known_points}}},
                                      {"pools", std::move(all_pools)},
                                      {"runs", array_of(view->runs, run_json)},
                                      {"layers", array_of(view->layers, layer_json)},
                                      {"events", array_of(view->events, event_json)}})};
}

// It runs no script and asks nobody but what came from here.
HttpReply Api::page(const PageFile& file) {
  return HttpReply{.content_type = std::string(file.content_type),
                   .headers = {{"Content-Security-Policy",
                                "default-src 'none'; script-src 'self'; style-src 'self'; "
                                "connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
                                "form-action 'none'; frame-ancestors 'none'"},
                               {"Cache-Control", "no-cache"},
                               {"X-Content-Type-Options", "nosniff"}},
                   .body = std::string(file.bytes)};
}

}  // namespace varve::server
