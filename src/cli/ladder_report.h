// The ladder of row formats, shown: a table for a terminal, Markdown, JSON, a plot.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "eval/ladder.h"

namespace varve::cli {

struct LadderReport {
  std::string model_name;
  std::string reference;  // "f32 rows"
  std::string setting;    // "bf16 products, kernels simd": of all rungs
  std::string text;       // "1 chunk of 512 tokens"
  int ctx_tokens = 0;     // that bytes a token are those of
  int decode_depth = 0;
  bool has_needles = false;
  std::vector<LadderRung> rungs;
};

/// Lines of at most 80 columns.
std::string ladder_table(const LadderReport& report);
std::string ladder_markdown(const LadderReport& report);
nlohmann::ordered_json ladder_array(const LadderReport& report);
/// Divergence (log scale) over bytes a token, the front drawn.
std::string ladder_svg(const LadderReport& report);

}  // namespace varve::cli
