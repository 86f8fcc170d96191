#include "server/metrics.h"

#include <gtest/gtest.h>

namespace varve::server {
namespace {

TEST(Metrics, HistogramsAreSummedUpAndEndInInfinity) {
  Histogram histogram;
  histogram.observe(0.001);  // at a bound: belongs to it
  histogram.observe(0.002);
  histogram.observe(1000);
  MetricsText out;
  out.begin("t", "histogram", "A time.");
  out.values(histogram);
  const std::string text = std::move(out).text();
  EXPECT_TRUE(
      text.starts_with("# HELP t A time.\n# TYPE t histogram\nt_bucket{le=\"0.001\"} 1\n"
                       "t_bucket{le=\"0.003\"} 2\nt_bucket{le=\"0.01\"} 2\n"))
      << text;
  EXPECT_TRUE(
      text.ends_with("t_bucket{le=\"300\"} 2\nt_bucket{le=\"+Inf\"} 3\n"
                     "t_sum 1000.003\nt_count 3\n"))
      << text;
}

TEST(Metrics, LabelsStandInBraces) {
  LoopStats stats;
  stats.n_cut = 3;
  stats.n_waiting = 2;
  stats.n_cached_tokens = 1234567890123;
  MetricsText out;
  write_stats(stats, out);
  const std::string text = std::move(out).text();
  EXPECT_NE(text.find("\nvarve_requests_total{end=\"length\"} 3\n"), text.npos) << text;
  EXPECT_NE(text.find("\nvarve_requests{state=\"waiting\"} 2\n"), text.npos) << text;
  EXPECT_NE(text.find("\nvarve_cached_tokens_total 1234567890123\n"), text.npos) << text;
}

}  // namespace
}  // namespace varve::server
