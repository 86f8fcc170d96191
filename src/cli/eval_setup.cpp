#include "cli/eval_setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "cli/model_path.h"
#include "cli/prompt.h"

namespace varve::cli {
namespace {

Result<std::vector<int32_t>> parse_ids(const std::string& text, const std::string& file) {
  std::vector<int32_t> ids;
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  while (true) {
    while (at != end && is_space(*at)) ++at;
    if (at == end) return ids;
    int32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc() || (next != end && !is_space(*next))) {
      const std::string_view rest(at, static_cast<size_t>(end - at));
      return bad_input("{}: id {}: expected a whole number, found '{}'", file, ids.size(),
                       rest.substr(0, std::min<size_t>(rest.find_first_of(" \t\r\n"), 20)));
    }
    ids.push_back(id);
    at = next;
  }
}

}  // namespace

Result<std::vector<int32_t>> read_ids(const std::string& path) {
  VARVE_TRY(const std::string text, read_text(path));
  VARVE_TRY(std::vector<int32_t> ids, parse_ids(text, path));
  if (ids.empty()) return bad_input("{}: no ids", path);
  return ids;
}

void TextFlags::add_to(CLI::App& verb) {
  verb.add_option("-f,--file", file, "Text to read; '-' is stdin");
  verb.add_option("--ids", ids_file,
                  "The text as whitespace-separated token ids instead; '-' is stdin");
}

Result<std::vector<int32_t>> TextFlags::read(const std::string& model_path,
                                             const Model& model) const {
  if (file.empty() == ids_file.empty()) {
    return usage_error("{} given: expected one of --file TEXT and --ids FILE",
                       file.empty() ? "no text was" : "both --file and --ids were");
  }
  if (!ids_file.empty()) {
    VARVE_TRY(std::vector<int32_t> ids, read_ids(ids_file));
    const auto outside = std::find_if(
        ids.begin(), ids.end(), [&](int32_t id) { return id < 0 || id >= model.vocab_size(); });
    if (outside == ids.end()) return ids;
    return bad_input("{}: id {} is {}; the vocabulary has ids 0 to {}", ids_file,
                     outside - ids.begin(), *outside, model.vocab_size() - 1);
  }
  VARVE_TRY(const std::string text, read_text(file));
  if (text.empty()) return bad_input("{}: the text is empty", file);
  VARVE_TRY(const Tokenizer tokenizer, load_tokenizer(model_path, model));
  return tokenizer.encode(text);
}

Result<EvalModel> open_model(const EngineFlags& flags) {
  EvalModel out;
  VARVE_TRY(out.path, model_or_bundled(flags.model));
  VARVE_TRY(out.model, load_model(out.path));
  VARVE_CHECKED(flags.check_pools(*out.model));
  return out;
}

Result<std::vector<int>> parse_tokens(const std::string& flag, const std::string& text) {
  std::vector<int> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string item = text.substr(begin, end - begin);
    begin = end + 1;
    int n = 0;
    const char* const stop = item.data() + item.size();
    const auto [rest, error] = std::from_chars(item.data(), stop, n);
    const std::string_view unit(rest, static_cast<size_t>(stop - rest));
    const int factor = unit.empty() ? 1 : unit == "K" ? 1 << 10 : unit == "M" ? 1 << 20 : 0;
    if (error != std::errc() || n < 1 || factor == 0 || n > (1 << 30) / factor) {
      return usage_error("{} {}: expected numbers of tokens, e.g. 512,1K,32K; found '{}'", flag,
                         text, item);
    }
    out.push_back(n * factor);
  }
  return out;
}

std::string describe_engine(const Engine& engine) {
  const CacheLayout& layout = engine.cache().layout();
  const Products products = engine.options().products;
  return fmt::format("{}, {} products, kernels {}\n{}\n", describe_formats(layout),
                     products_name(products), engine.kernels().name,
                     describe_attention(engine.kernels(), layout, products));
}

nlohmann::ordered_json setting_object(const EvalModel& from, const Engine& engine,
                                      const std::string& weights) {
  return {{"model", model_name(from.path)},
          {"family", from.model->family()},
          {"formats", formats_object(engine.cache().layout())},
          {"products", products_name(engine.options().products)},
          {"kernels", engine.kernels().name},
          {"attention", describe_attention(engine.kernels(), engine.cache().layout(),
                                           engine.options().products)},
          {"threads", engine.n_threads()},
          {"chunk_tokens", engine.memory().chunk_tokens},
          {"weights", weights}};
}

nlohmann::ordered_json estimate_object(const Estimate& estimate) {
  return {{"mean", estimate.mean}, {"error", estimate.error}};
}

nlohmann::ordered_json divergence_object(const DivergenceSummary& d) {
  return {{"positions", d.n},
          {"kld", estimate_object(d.kld)},
          {"kld_quantiles",
           {{"50", d.median},
            {"90", d.p90},
            {"95", d.p95},
            {"99", d.p99},
            {"99.9", d.p999},
            {"100", d.max}}},
          {"same_top", estimate_object(d.same_top)},
          {"top5_overlap", estimate_object(d.top5_overlap)},
          {"delta_p", estimate_object(d.delta_p)},
          {"delta_p_rms", d.delta_p_rms}};
}

void print_object(const nlohmann::ordered_json& object) {
  using Json = nlohmann::ordered_json;
  fmt::print("{}\n", object.dump(-1, ' ', false, Json::error_handler_t::replace));
}

std::string describe_chunks(const TextChunks& text) {
  const size_t n = text.chunks.size();
  std::string out =
      fmt::format("{} chunk{} of {} tokens", n, n == 1 ? "" : "s", text.chunks.front().size());
  if (text.n_left_over > 0) out += fmt::format(", {} left over", text.n_left_over);
  return out;
}

}  // namespace varve::cli
