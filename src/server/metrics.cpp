#include "server/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace varve::server {

void Histogram::observe(double seconds) {
  const auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
  ++counts[static_cast<size_t>(bound - kBounds.begin())];
  sum_seconds += seconds;
}

void MetricsText::begin(std::string_view name, std::string_view kind, std::string_view help) {
  name_ = name;
  fmt::format_to(std::back_inserter(text_), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, kind);
}

void MetricsText::value(double value, std::string_view labels) {
  if (labels.empty()) {
    fmt::format_to(std::back_inserter(text_), "{} {}\n", name_, value);
  } else {
    fmt::format_to(std::back_inserter(text_), "{}{{{}}} {}\n", name_, labels, value);
  }
}

void MetricsText::values(const Histogram& histogram) {
  auto out = std::back_inserter(text_);
  uint64_t n = 0;
  for (size_t i = 0; i < Histogram::kBounds.size(); ++i) {
    n += histogram.counts[i];
    fmt::format_to(out, "{}_bucket{{le=\"{}\"}} {}\n", name_, Histogram::kBounds[i], n);
  }
  n += histogram.counts.back();
  fmt::format_to(out, "{}_bucket{{le=\"+Inf\"}} {}\n{}_sum {}\n{}_count {}\n", name_, n, name_,
                 histogram.sum_seconds, name_, n);
}

void MetricsText::counter(std::string_view name, uint64_t value, std::string_view help) {
  begin(name, "counter", help);
  fmt::format_to(std::back_inserter(text_), "{} {}\n", name, value);
}

void MetricsText::gauge(std::string_view name, double value, std::string_view help) {
  begin(name, "gauge", help);
  this->value(value);
}

void write_stats(const LoopStats& stats, MetricsText& out) {
  out.counter("varve_prompt_tokens_total", stats.n_prompt_tokens, "Tokens of prompts.");
  out.counter("varve_cached_tokens_total", stats.n_cached_tokens,
              "Tokens of prompts that the cache knew.");
  out.counter("varve_restored_tokens_total", stats.n_restored_tokens,
              "Tokens of prompts whose blocks came from the store.");
  out.counter("varve_read_tokens_total", stats.n_read_tokens,
              "Tokens that the model read, those that it sampled among them.");
  out.counter("varve_sampled_tokens_total", stats.n_sampled_tokens, "Tokens sampled.");
  out.counter("varve_steps_total", stats.n_steps, "Steps of the engine.");

  const auto n = [](uint64_t value) { return static_cast<double>(value); };
  out.begin("varve_requests_total", "counter", "Requests that are over, by how they ended.");
  out.value(n(stats.n_ended), "end=\"stop\"");
  out.value(n(stats.n_cut), "end=\"length\"");
  out.value(n(stats.n_cancelled), "end=\"cancelled\"");
  out.value(n(stats.n_failed), "end=\"failed\"");
  out.value(n(stats.n_refused), "end=\"refused\"");
  out.begin("varve_requests", "gauge", "Requests under way.");
  out.value(stats.n_waiting, "state=\"waiting\"");
  out.value(stats.n_running, "state=\"running\"");
  out.gauge("varve_kept_sessions", stats.n_kept, "Sessions that are over and written down.");
  out.gauge("varve_kept_tokens", static_cast<double>(stats.n_kept_tokens),
            "Tokens of those sessions.");

  out.begin("varve_wait_seconds", "histogram", "From a request to its session.");
  out.values(stats.wait_seconds);
  out.begin("varve_first_token_seconds", "histogram", "From a request to its first token.");
  out.values(stats.first_token_seconds);
  out.begin("varve_token_seconds", "histogram", "From a token to the next one.");
  out.values(stats.token_seconds);
  out.begin("varve_request_seconds", "histogram", "From a request to its end.");
  out.values(stats.total_seconds);
}

}  // namespace varve::server
