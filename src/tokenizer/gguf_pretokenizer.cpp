#include "tokenizer/gguf_pretokenizer.h"

#include <array>
#include <optional>
#include <utility>

namespace varve {
namespace {

// The patterns are those of the models' own tokenizer.json. Where none is known (`default`) they
// are llama.cpp's, whose list of names this is (llama-vocab.cpp).

using Pattern = std::string_view;

// For SmolLM, too, which is how Transformers reads its GGUF files. Its vocabulary joins no digits.
// (Its tokenizer.json and llama.cpp cut each \\p{N} off first, so that white space before a digit
// is one word, "\\n 3" for one, and a number outside ASCII may not be joined with the space before
// it.)
constexpr std::array<Pattern, 1> kGpt2 = {kGpt2Words};

constexpr std::array<Pattern, 1> kLlama3 = {
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"};

// Llama 3's but for the digits.
constexpr std::array<Pattern, 1> kQwen2 = {
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"};

constexpr std::array<Pattern, 3> kDeepseekV3 = {
    "\\p{N}{1,3}",
    // Chinese characters, hiragana and katakana
    "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
    "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"};

constexpr Pattern kLineEnd = "[\\r\\n]";
// CJK, Hangul and what lies between U+0800 and them.
constexpr Pattern kEastAsian = "[\\x{800}-\\x{9FA5}\\x{AC00}-\\x{D7FF}]+";

constexpr std::array<Pattern, 5> kDeepseekCoder = {kLineEnd, "\\s?\\p{L}+", "\\s?\\p{P}+",
                                                   kEastAsian, "\\p{N}"};

// Letters with two cases, as the file lists them: nearly those of Unicode 11.
constexpr Pattern kDeepseekLetters =
    "\\s?["
    "\\x{41}-\\x{5A}\\x{61}-\\x{7A}\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}"
    "\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}"
    "\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}"
    "\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}"
    "\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}"
    "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}"
    "\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}"
    "\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}"
    "\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}"
    "\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}"
    "\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}"
    "\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}"
    "\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}"
    "\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}"
    "\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}"
    "\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}"
    "\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}"
    "\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}]+";
// Digits one by one, as the models were trained; llama.cpp takes runs of them.
constexpr std::array<Pattern, 6> kDeepseekLlm = {
    kLineEnd,
    kDeepseekLetters,
    "\\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+",
    "\\s+$",
    kEastAsian,
    "\\p{N}"};

constexpr std::array<Pattern, 4> kDefault = {"[\\p{P}\\$\\+<=>\\^~\\|]+", kGpt2Words, "\\p{N}+",
                                             "[0-9][0-9][0-9]"};

constexpr std::array<GgufPre, 12> kKinds = {{
    {.name = "llama-bpe", .patterns = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "llama3", .patterns = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "llama-v3", .patterns = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "qwen2", .patterns = kQwen2},
    {.name = "deepseek-r1-qwen", .patterns = kQwen2},
    {.name = "deepseek-llm", .patterns = kDeepseekLlm},
    {.name = "deepseek-coder", .patterns = kDeepseekCoder},
    {.name = "deepseek-v3", .patterns = kDeepseekV3},
    {.name = "joyai-llm", .patterns = kDeepseekV3},
    {.name = "smollm", .patterns = kGpt2},
    {.name = "gpt-2", .patterns = kGpt2},
    {.name = "default", .patterns = kDefault},
}};

}  // namespace

std::span<const GgufPre> gguf_pres() {
  return kKinds;
}

const GgufPre* find_gguf_pre(std::string_view name) {
  for (const GgufPre& kind : kKinds) {
    if (kind.name == name) return &kind;
  }
  return nullptr;
}

std::string gguf_pre_names() {
  std::string names;
  for (const GgufPre& kind : kKinds) {
    if (!names.empty()) names.append(&kind == &kKinds.back() ? " or " : ", ");
    names.append(kind.name);
  }
  return names;
}

Result<Pretokenizer> make_pretokenizer(const GgufPre& pre, const std::string& where) {
  Pretokenizer pretokenizer;
  for (const std::string_view pattern : pre.patterns) {
    Pretokenizer::Split split;
    VARVE_TRY(split.regex, Regex::compile(pattern, where));
    pretokenizer.add(std::move(split));
  }
  pretokenizer.end_with_byte_level(false, std::nullopt);
  return pretokenizer;
}

}  // namespace varve
