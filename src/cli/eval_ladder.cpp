// varve eval ladder: every sensible choice of row formats, what it takes and what it costs.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "cli/eval_setup.h"
#include "cli/eval_verbs.h"
#include "cli/ladder_report.h"
#include "cli/model_path.h"
#include "cli/needle_flags.h"
#include "cli/output_file.h"
#include "cli/progress.h"
#include "eval/ladder.h"

namespace varve::cli {
namespace {

struct LadderFlags {
  EngineFlags engine;
  TextFlags text;
  NeedleFlags needle;
  std::string needles = "on";
  std::vector<std::string> formats;  // empty: all
  std::string base_kv = "f32";
  int depth = 4096;
  std::string markdown, svg;  // files; empty: none
  bool json = false;
};

Result<std::vector<RowFormat>> chosen_formats(const LadderFlags& flags) {
  std::vector<RowFormat> out;
  for (const RowFormatInfo& info : row_formats()) {
    if (flags.formats.empty()) out.push_back(info.format);
  }
  for (const std::string& name : flags.formats) {
    const auto format = row_format_from_name(name);
    if (!format) return usage_error("--formats {}: no such row format", name);
    out.push_back(*format);
  }
  return out;
}

// A bar for what is under way.
class LadderBars {
 public:
  void show(std::string_view what, double done, double total) {
    if (what != what_) {
      what_ = what;
      bar_.emplace(what_, total,
                   what == "divergence" ? "tokens"
                   : what == "needles"  ? "documents"
                                        : "formats");
    }
    bar_->update(done);
  }
  void finish() { bar_.reset(); }

 private:
  std::string what_;
  std::optional<Progress> bar_;
};

Result<void> check(const LadderFlags& flags) {
  if (flags.base_kv != "f32" && flags.base_kv != "bf16") {
    return usage_error("--base-kv {}: expected 'f32' or 'bf16'", flags.base_kv);
  }
  if (flags.needles != "on" && flags.needles != "off") {
    return usage_error("--needle {}: expected 'on' or 'off'", flags.needles);
  }
  if (!flags.engine.kv.empty()) {
    return usage_error("--kv {}: the ladder tries all formats; --formats chooses among them",
                       flags.engine.kv);
  }
  if (flags.depth < 0) return usage_error("--depth {}: expected 0 or more tokens", flags.depth);
  VARVE_CHECKED(check_writable("--markdown", flags.markdown));
  return check_writable("--svg", flags.svg);
}

Result<LadderOptions> ladder_options(const LadderFlags& flags, const Model& model,
                                     std::span<const int32_t> ids) {
  LadderOptions out;
  VARVE_TRY(out.engine, flags.engine.options());
  VARVE_TRY(const std::vector<RowFormat> formats, chosen_formats(flags));
  out.candidates = ladder_candidates(model.cache_shape(), formats, out.engine.formats);
  out.engine.formats = PoolFormats::all(*row_format_from_name(flags.base_kv));
  out.engine.resume_points = 0;  // while caches are compared, nothing is rewound
  if (out.engine.ctx_tokens == 0) {
    out.engine.ctx_tokens = even_chunk_tokens(ids, model.max_position(), model.bos_id());
  }
  const std::string base = kv_spec(CacheLayout(model.cache_shape(), out.engine.formats));
  std::erase_if(out.candidates, [&](const PoolFormats& one) {
    return kv_spec(CacheLayout(model.cache_shape(), one)) == base;
  });
  if (out.candidates.empty()) {
    return usage_error("--formats {}: no pool of the model takes them",
                       fmt::join(flags.formats, ","));
  }
  if (out.decode.n_tokens > model.max_position()) out.decode.n_tokens = model.max_position();
  out.decode.depth = std::min(flags.depth, model.max_position() - out.decode.n_tokens);
  return out;
}

Result<void> eval_ladder(const LadderFlags& flags) {
  VARVE_CHECKED(check(flags));
  VARVE_TRY(const EvalModel from, open_model(flags.engine));
  VARVE_TRY(const std::vector<int32_t> ids, flags.text.read(from.path, *from.model));
  VARVE_TRY(LadderOptions options, ladder_options(flags, *from.model, ids));
  VARVE_TRY(const TextChunks text,
            cut_chunks(ids, options.engine.ctx_tokens, from.model->bos_id()));
  NeedleSet needles;
  if (flags.needles == "on") {
    VARVE_TRY(needles, flags.needle.load(from));
  }
  VARVE_TRY(options.engine, flags.engine.bounded(*from.model, options.engine));
  VARVE_TRY(const size_t arena_bytes, ladder_arena_bytes(*from.model, options));
  VARVE_TRY(const std::string weights, flags.engine.place_weights(*from.model, arena_bytes));
  LadderBars bars;
  VARVE_TRY(std::vector<LadderRung> rungs,
            measure_ladder(from.model, options, text, needles.documents,
                           [&](std::string_view what, double done, double total) {
                             bars.show(what, done, total);
                           }));
  bars.finish();
  const CacheLayout base(from.model->cache_shape(), options.engine.formats);
  const LadderReport report = {.model_name = model_name(from.path),
                               .reference = describe_formats(base),
                               .setting = fmt::format("{} products, kernels {}, weights {}",
                                                      products_name(options.engine.products),
                                                      options.engine.kernels->name, weights),
                               .text = describe_chunks(text),
                               .ctx_tokens = options.engine.ctx_tokens,
                               .decode_depth = options.decode.depth,
                               .has_needles = !needles.documents.empty(),
                               .rungs = std::move(rungs)};
  if (flags.json) {
    nlohmann::ordered_json objects = ladder_array(report);
    for (size_t i = 0; i < report.rungs.size(); ++i) {
      const CacheLayout layout(from.model->cache_shape(), report.rungs[i].formats);
      objects[i]["attention"] =
          describe_attention(*options.engine.kernels, layout, options.engine.products);
    }
    print_object({{"schema", "varve.eval.ladder/1"},
                  {"model", report.model_name},
                  {"family", from.model->family()},
                  {"base_formats", formats_object(base)},
                  {"products", products_name(options.engine.products)},
                  {"kernels", options.engine.kernels->name},
                  {"weights", weights},
                  {"ctx_tokens", report.ctx_tokens},
                  {"chunks", text.chunks.size()},
                  {"left_over_tokens", text.n_left_over},
                  {"decode_depth", report.decode_depth},
                  {"rungs", objects}});
  } else {
    fmt::print("{}", ladder_table(report));
  }
  VARVE_CHECKED(write_output("--markdown", flags.markdown, ladder_markdown(report)));
  return write_output("--svg", flags.svg, flags.svg.empty() ? "" : ladder_svg(report));
}

}  // namespace

void add_eval_ladder(CLI::App& eval, Action& action) {
  CLI::App* const verb =
      eval.add_subcommand("ladder", "All sensible row formats: bytes, divergence, needles, speed");
  const auto flags = std::make_shared<LadderFlags>();
  flags->needle.usual_lengths = {2 << 10};
  flags->needle.depths = {0, 25, 50, 75, 100};
  flags->engine.add_to(*verb);
  verb->get_option("--ctx")->description(
      "Tokens of a chunk, BOS included; default: the whole text, or equal\n"
      "parts that the model's context holds");
  flags->text.add_to(*verb);
  verb->add_option("--formats", flags->formats, "Row formats to choose from; default: all")
      ->delimiter(',');
  verb->add_option("--base-kv", flags->base_kv,
                   "Row format of the reference cache: 'f32' or 'bf16'")
      ->capture_default_str();
  verb->add_option("--depth", flags->depth, "Tokens in the cache where decoding is timed")
      ->capture_default_str();
  verb->add_option("--needle", flags->needles, "Whether facts are looked for too: 'on' or 'off'")
      ->capture_default_str();
  flags->needle.add_to(*verb);
  verb->add_option("--markdown", flags->markdown, "Write the table to a Markdown file");
  verb->add_option("--svg", flags->svg, "Write divergence over bytes to an SVG file");
  verb->add_flag("--json", flags->json, "Print one JSON object");
  verb->footer(
      "Bytes are exact, speed is measured here (the median of 5 repetitions), the rest is\n"
      "as of 'eval kld' and 'eval needle'.\n"
      "Example: varve eval ladder MODEL -f TEXT --markdown ladder.md --svg ladder.svg");
  verb->callback([flags, &action] { action = [flags] { return eval_ladder(*flags); }; });
}

}  // namespace varve::cli
