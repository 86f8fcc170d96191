// The tokenizer of a synthetic model.
#include <array>
#include <nlohmann/json.hpp>

#include "models/deepseek_v4/synthetic.h"

namespace varve::deepseek_v4 {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kBosText = "<｜begin▁of▁sentence｜>";
constexpr std::string_view kEosText = "<｜end▁of▁sentence｜>";
constexpr std::string_view kPadText = "<｜▁pad▁｜>";

void append_utf8(std::string& text, unsigned code_point) {
  if (code_point < 0x80) {
    text += static_cast<char>(code_point);
    return;
  }
  text += static_cast<char>(0xC0 | code_point >> 6);  // the byte alphabet ends below U+0800
  text += static_cast<char>(0x80 | (code_point & 0x3F));
}

// The character that stands for each byte in byte-level vocabularies.
std::array<std::string, 256> byte_alphabet() {
  std::array<std::string, 256> spelt;
  unsigned next_free = 256;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
    append_utf8(spelt[byte], printable ? byte : next_free++);
  }
  return spelt;
}

// Number `n` of the made-up words: two syllables, then three, with the space in front.
std::string word(size_t n) {
  constexpr std::string_view kConsonants = "bdfghklmnprstvz";
  constexpr std::string_view kVowels = "aeiou";
  constexpr size_t kSyllables = kConsonants.size() * kVowels.size();
  size_t n_syllables = 2;
  for (size_t n_words = kSyllables * kSyllables; n >= n_words; n_words *= kSyllables) {
    n -= n_words;
    ++n_syllables;
  }
  std::string text = "Ġ";
  for (size_t s = 0; s < n_syllables; ++s, n /= kSyllables) {
    text += kConsonants[n % kSyllables / kVowels.size()];
    text += kVowels[n % kVowels.size()];
  }
  return text;
}

}  // namespace

std::string synthetic_tokenizer_json(int vocab_size) {
  ordered_json added = ordered_json::array();
  ordered_json vocab = ordered_json::object();
  for (const std::string_view text : {kBosText, kEosText, kPadText}) {
    const size_t id = vocab.size();
    vocab[std::string(text)] = id;
    added.push_back({{"id", id},
                     {"content", text},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  for (const std::string& spelt : byte_alphabet()) {
    const size_t id = vocab.size();
    vocab[spelt] = id;
  }
  const ordered_json byte_level = {{"type", "ByteLevel"},
                                   {"add_prefix_space", false},
                                   {"trim_offsets", true},
                                   {"use_regex", true}};
  const ordered_json out = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer", nullptr},
      {"pre_tokenizer", byte_level},
      {"post_processor", nullptr},
      {"decoder", byte_level},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"merges", ordered_json::array()}}},
  };
  // Keys of an ordered_json are looked up one by one: the many words go in as text.
  std::string text = out.dump();
  std::string pieces = vocab.dump();
  pieces.pop_back();
  for (int id = kMinSyntheticVocab; id < vocab_size; ++id) {
    pieces += fmt::format(",\"{}\":{}", word(static_cast<size_t>(id - kMinSyntheticVocab)), id);
  }
  text.resize(text.size() - 2);  // the ends of the model and of the file
  return text + ",\"vocab\":" + pieces + "}}}\n";
}

std::string synthetic_tokenizer_config_json(const Config& config) {
  const ordered_json out = {
      {"add_bos_token", false},
      {"add_eos_token", false},
      {"bos_token", kBosText},
      {"eos_token", kEosText},
      {"pad_token", kPadText},
      {"clean_up_tokenization_spaces", false},
      {"model_max_length", config.max_position},
      {"tokenizer_class", "PreTrainedTokenizerFast"},
  };
  return out.dump(1) + '\n';
}

}  // namespace varve::deepseek_v4
