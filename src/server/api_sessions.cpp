// Sessions that are over: see, fork, rewind, pin and delete them.
#include <charconv>
#include <nlohmann/json.hpp>

#include "server/api.h"
#include "server/json_text.h"

namespace varve::server {

using Json = nlohmann::ordered_json;

namespace {

Json session_json(const KeptSession& session) {
  return {{"id", session.id},
          {"object", "session"},
          {"n_tokens", session.n_tokens},
          {"pinned", session.is_pinned}};
}

}  // namespace

Result<Api::SessionPath> Api::session_path(std::string_view path) {
  path.remove_prefix(kSessions.size());
  SessionPath out;
  const char* const end = path.data() + path.size();
  const auto [stop, error] = std::from_chars(end - path.size(), end, out.id);
  if (error != std::errc() || (stop != end && *stop != '/')) {
    return usage_error("{}: expected /v1/sessions/ID", path);
  }
  if (stop != end) out.verb = std::string_view(stop + 1, static_cast<size_t>(end - stop) - 1);
  return out;
}

Api::Reply Api::sessions(HttpRequest&) {
  std::vector<KeptSession> all;
  if (!loop_->visit([&](SessionPool& pool) { all = pool.list(); })) {
    return tl::unexpected(busy());
  }
  Json data = Json::array();
  for (const KeptSession& one : all) data.push_back(session_json(one));
  return HttpReply{.body = json_text({{"object", "list"}, {"data", std::move(data)}})};
}

Result<std::vector<int32_t>> Api::session_ids(uint64_t id) {
  Result<std::vector<int32_t>> ids = usage_error("{}", busy().message);
  loop_->visit([&](SessionPool& pool) { ids = pool.ids(id); });
  return ids;
}

Api::Reply Api::session(HttpRequest& request) {
  const Result<SessionPath> path = session_path(request.path);
  if (!path) return tl::unexpected(Problem{.status = 404, .message = path.error().message});
  if (!path->verb.empty()) {
    return tl::unexpected(Problem{.status = 404, .message = "expected /v1/sessions/ID"});
  }
  const auto ids = session_ids(path->id);
  if (!ids) return tl::unexpected(Problem{.status = 404, .message = ids.error().message});
  return HttpReply{.body = json_text({{"id", path->id},
                                      {"object", "session"},
                                      {"n_tokens", ids->size()},
                                      {"tokens", *ids},
                                      {"text", model_.tokenizer->decode(*ids)}})};
}

Api::Reply Api::change_session(HttpRequest& request) {
  const Result<SessionPath> path = session_path(request.path);
  if (!path) return tl::unexpected(Problem{.status = 404, .message = path.error().message});
  const uint64_t id = path->id;
  using Change = std::function<Result<KeptSession>(SessionPool&)>;
  const auto read = [&]() -> Result<Change> {
    if (path->verb == "fork") {
      return Change([id](SessionPool& pool) { return pool.fork(id); });
    }
    VARVE_TRY(const RequestFields body, RequestFields::of_body(request.body));
    if (path->verb == "rewind") {
      if (!body.has("n_tokens")) return body.wrong("n_tokens", "a number of tokens");
      VARVE_TRY(const int64_t n, body.integer_or("n_tokens", 0, 1, INT32_MAX));
      return Change([id, n](SessionPool& pool) { return pool.rewind(id, static_cast<int>(n)); });
    }
    VARVE_TRY(const bool is_pinned, body.boolean_or("pinned", true));
    return Change([id, is_pinned](SessionPool& pool) { return pool.pin(id, is_pinned); });
  };
  if (path->verb != "fork" && path->verb != "rewind" && path->verb != "pin") {
    return tl::unexpected(
        Problem{.status = 404, .message = "expected /v1/sessions/ID/fork, .../rewind or .../pin"});
  }
  const Result<Change> change = read();
  if (!change) return tl::unexpected(problem_of(change.error()));
  Result<KeptSession> changed = usage_error("not done");
  bool is_there = false;
  const bool was_seen = loop_->visit([&](SessionPool& pool) {
    is_there = pool.ids(id).has_value();
    changed = (*change)(pool);
  });
  if (!was_seen) return tl::unexpected(busy());
  if (!changed) {
    Problem problem = problem_of(changed.error());
    if (!is_there) problem.status = 404;
    return tl::unexpected(std::move(problem));
  }
  return HttpReply{.body = json_text(session_json(*changed))};
}

Api::Reply Api::delete_session(HttpRequest& request) {
  const Result<SessionPath> path = session_path(request.path);
  if (!path || !path->verb.empty()) {
    return tl::unexpected(Problem{.status = 404, .message = "expected /v1/sessions/ID"});
  }
  Result<void> removed = usage_error("not done");
  if (!loop_->visit([&](SessionPool& pool) { removed = pool.remove(path->id); })) {
    return tl::unexpected(busy());
  }
  if (!removed) return tl::unexpected(Problem{.status = 404, .message = removed.error().message});
  return HttpReply{.body = json_text({{"id", path->id}, {"object", "session"}, {"deleted", true}})};
}

}  // namespace varve::server
