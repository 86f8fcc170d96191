#include "tokenizer/gguf_export.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "tokenizer/gguf_pretokenizer.h"
#include "tokenizer/quote.h"
#include "tokenizer/utf8.h"

namespace varve {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// null counts as missing.
bool flag(const json& object, const char* key, bool missing) {
  const auto at = object.find(key);
  return at == object.end() || !at->is_boolean() ? missing : at->get<bool>();
}

// The patterns by which text is cut, one after the other, each into its matches and what is left
// over; nothing for stages that work otherwise.
std::optional<std::vector<std::string>> patterns_of(const json& pretokenizer) {
  const json stages = pretokenizer.at("type") == "Sequence" ? pretokenizer.at("pretokenizers")
                                                            : json::array({pretokenizer});
  std::vector<std::string> out;
  for (const json& stage : stages) {
    if (stage.at("type") == "ByteLevel") {
      if (flag(stage, "add_prefix_space", true)) return std::nullopt;
      if (flag(stage, "use_regex", true)) out.emplace_back(kGpt2Words);
    } else if (stage.at("type") == "Split" && stage.at("pattern").contains("Regex") &&
               stage.at("behavior") == "Isolated" && !flag(stage, "invert", false)) {
      out.push_back(stage.at("pattern").at("Regex"));
    } else {
      return std::nullopt;
    }
  }
  return out;
}

// Spelt one way: "\r", "\n" and "\x{4E00}" as the characters that they stand for.
std::string plain(std::string_view pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const std::string_view rest = pattern.substr(i);
    const size_t close = rest.find('}');
    if (rest.starts_with("\\x{") && close != rest.npos) {
      uint32_t code_point = 0;
      std::from_chars(rest.data() + 3, rest.data() + close, code_point, 16);
      append_utf8(code_point, out);
      i += close;
    } else if (rest.starts_with("\\r") || rest.starts_with("\\n")) {
      out += rest[1] == 'r' ? '\r' : '\n';
      ++i;
    } else if (rest.starts_with("\\") && rest.size() > 1) {
      out += rest.substr(0, 2);
      ++i;
    } else {
      out += rest[0];
    }
  }
  return out;
}

bool cuts_by(const GgufPre& pre, const std::vector<std::string>& patterns) {
  if (pre.patterns.size() != patterns.size()) return false;
  for (size_t i = 0; i < patterns.size(); ++i) {
    if (plain(pre.patterns[i]) != plain(patterns[i])) return false;
  }
  return true;
}

Result<std::string> pre_of(const json& file, const std::string& name) {
  const auto patterns = patterns_of(file.at("pre_tokenizer"));
  const bool ignore_merges = flag(file.at("model"), "ignore_merges", false);
  for (const GgufPre& pre : gguf_pres()) {
    if (patterns && cuts_by(pre, *patterns) && pre.ignore_merges == ignore_merges) {
      return std::string(pre.name);
    }
  }
  return bad_input(
      "{}: pre_tokenizer: expected one that a kind of tokenizer.ggml.pre stands for ({}), found "
      "another",
      name, gguf_pre_names());
}

// Adds tokens by id.
class Tokens {
 public:
  Tokens(std::string name, size_t n) : name_(std::move(name)) {
    out_.tokens.resize(n);
    out_.token_types.resize(n, static_cast<int32_t>(GgufTokenType::unused));
  }

  Result<void> add(const std::string& text, size_t id, GgufTokenType type) {
    if (id >= out_.tokens.size()) {
      return bad_input("{}: {}: expected an id below the {} of the model's vocabulary, found {}",
                       name_, in_quotes(text), out_.tokens.size(), id);
    }
    out_.tokens[id] = text;
    out_.token_types[id] = static_cast<int32_t>(type);
    return {};
  }
  Result<void> add_added(const json& token) {
    const std::string text = token.at("content");
    for (const char* const how : {"single_word", "lstrip", "rstrip"}) {
      if (!flag(token, how, false)) continue;
      return bad_input("{}: added token {}: expected {} false, as in GGUF files, found true", name_,
                       in_quotes(text), how);
    }
    return add(
        text, token.at("id").get<size_t>(),
        flag(token, "special", false) ? GgufTokenType::control : GgufTokenType::user_defined);
  }
  // The names that converters give to ids without a token.
  GgufExport take() {
    for (size_t id = 0; id < out_.tokens.size(); ++id) {
      if (out_.tokens[id].empty()) out_.tokens[id] = fmt::format("[PAD{}]", id);
    }
    return std::move(out_);
  }

 private:
  std::string name_;
  GgufExport out_;
};

ordered_json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

ordered_json pretokenizer_json(const GgufPre& pre) {
  ordered_json stages = ordered_json::array();
  for (const std::string_view pattern : pre.patterns) {
    stages.push_back({{"type", "Split"},
                      {"pattern", {{"Regex", plain(pattern)}}},
                      {"behavior", "Isolated"},
                      {"invert", false}});
  }
  stages.push_back(byte_level(false));
  return {{"type", "Sequence"}, {"pretokenizers", std::move(stages)}};
}

ordered_json added_token_json(std::string_view text, size_t id, bool special) {
  return {{"id", id},        {"content", text},     {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

}  // namespace

Result<GgufExport> export_for_gguf(std::string_view text, const std::string& name,
                                   size_t n_tokens) {
  const json file = json::parse(text, nullptr, false);
  VARVE_TRY(std::string pre, pre_of(file, name));
  const json& model = file.at("model");
  Tokens tokens(name, n_tokens);
  for (const auto& [piece, id] : model.at("vocab").items()) {
    VARVE_CHECKED(tokens.add(piece, id.get<size_t>(), GgufTokenType::normal));
  }
  if (file.contains("added_tokens")) {
    for (const json& token : file.at("added_tokens")) VARVE_CHECKED(tokens.add_added(token));
  }
  GgufExport out = tokens.take();
  out.pre = std::move(pre);
  for (const json& merge : model.at("merges")) {
    out.merges.push_back(merge.is_string() ? merge.get<std::string>()
                                           : merge.at(0).get<std::string>() + ' ' +
                                                 merge.at(1).get<std::string>());
  }
  return out;
}

std::string tokenizer_json(const GgufVocabulary& in) {
  const GgufPre& pre = *find_gguf_pre(in.pre);
  // A map sorts the pieces by their text: keys of an ordered_json are looked up one by one.
  json vocab = json::object();
  ordered_json added = ordered_json::array();
  for (size_t id = 0; id < in.tokens.size(); ++id) {
    const auto type = static_cast<GgufTokenType>(in.token_types[id]);
    if (type == GgufTokenType::unused) continue;
    vocab[std::string(in.tokens[id])] = id;
    if (type == GgufTokenType::normal) continue;
    added.push_back(added_token_json(in.tokens[id], id, type != GgufTokenType::user_defined));
  }
  const ordered_json out = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", std::move(added)},
      {"normalizer", nullptr},
      {"pre_tokenizer", pretokenizer_json(pre)},
      {"post_processor", nullptr},
      {"decoder", byte_level(true)},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", pre.ignore_merges},
        {"vocab", std::move(vocab)},
        {"merges", in.merges}}},
  };
  return out.dump(1) + '\n';
}

std::string tokenizer_config_json(const GgufVocabulary& in) {
  ordered_json out = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                      {"add_bos_token", begins_with_bos(in)},
                      {"add_eos_token", in.special.add_eos.value_or(false)},
                      {"clean_up_tokenization_spaces", false}};
  if (in.special.bos) out["bos_token"] = in.tokens[*in.special.bos];
  if (in.special.eos) out["eos_token"] = in.tokens[*in.special.eos];
  if (!in.special.chat_template.empty()) out["chat_template"] = in.special.chat_template;
  return out.dump(1, ' ', false, json::error_handler_t::replace) + '\n';
}

}  // namespace varve
