// Tokenizers from a GGUF's vocabulary, and vocabularies that are not what they have to be.
#include "tokenizer/gguf_vocabulary.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "formats/gguf.h"
#include "formats/gguf_test_bytes.h"
#include "tokenizer/test_gguf_vocabulary.h"
#include "tokenizer/test_tokenizer_json.h"
#include "tokenizer/test_vectors.h"

namespace varve {
namespace {

using nlohmann::json;

Tokenizer read(const GgufVocabulary& vocabulary) {
  auto tokenizer = Tokenizer::from_gguf(vocabulary, "test.gguf");
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return std::move(tokenizer).value();
}

json json_of(const std::string& path) {
  std::ifstream file(path);
  return json::parse(file);
}

// The bytes as 0..255, "ab" as 256, and what a test adds.
TestGgufVocabulary bytes_and_ab(std::string_view pre = "gpt-2") {
  return TestGgufVocabulary(byte_level_json({{"a", "b"}}), pre);
}

void expect_same(const Tokenizer& a, const Tokenizer& b, const std::vector<Vector>& vectors) {
  ASSERT_GT(vectors.size(), 200u);
  EXPECT_EQ(a.vocab_size(), b.vocab_size());
  const auto expect_same_at = [&](const std::string& text) {
    const Ids ids = encode(a, text);
    EXPECT_EQ(ids, encode(b, text)) << text;
    EXPECT_EQ(a.decode(ids), b.decode(ids));
  };
  for (const Vector& v : vectors) expect_same_at(v.text);
  std::mt19937 random(7);
  for (int round = 0; round < 400; ++round) expect_same_at(random_text(random, random() % 200));
}

TEST(GgufVocabulary, EncodesAsTheTokenizerJsonOfTheSamePieces) {
  json file = json_of(std::string(VARVE_SOURCE_DIR) + "/models/varve-tiny/tokenizer.json");
  file["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  const auto from_json = Tokenizer::parse(file.dump(), "test.json");
  ASSERT_TRUE(from_json) << from_json.error().message;
  const TestGgufVocabulary gguf(file, "gpt-2");
  expect_same(read(gguf.fields), *from_json, vectors("tiny-v4.jsonl"));
}

TEST(GgufVocabulary, DeepseekVectorsAndRandomTexts) {
  if (!std::ifstream(deepseek_path())) GTEST_SKIP() << "no " << deepseek_path();
  const auto from_json = Tokenizer::load(deepseek_path());
  ASSERT_TRUE(from_json) << from_json.error().message;
  const json file = json_of(deepseek_path());
  for (const std::string_view pre : {"deepseek-v3", "joyai-llm"}) {
    const TestGgufVocabulary gguf(file, pre);
    const Tokenizer tokenizer = read(gguf.fields);
    check_vectors(tokenizer, vectors("deepseek-v4.jsonl"));
    expect_same(tokenizer, *from_json, vectors("deepseek-v4.jsonl"));
  }
}

TEST(GgufVocabulary, TypesOfTokens) {
  TestGgufVocabulary gguf = bytes_and_ab();
  gguf.set(257, "<c>", GgufTokenType::control);
  gguf.set(258, "<u>", GgufTokenType::user_defined);
  gguf.set(259, "<?>", GgufTokenType::unknown);
  gguf.set(260, "[PAD260]", GgufTokenType::unused);
  gguf.set(261, "\u00E9 \n", GgufTokenType::user_defined);
  const Tokenizer tokenizer = read(gguf.fields);
  EXPECT_EQ(tokenizer.vocab_size(), 262);
  EXPECT_EQ(encode(tokenizer, "ab<c><u>ab<?>b"), (Ids{256, 257, 258, 256, 259, 'b'}));
  EXPECT_EQ(encode(tokenizer, "[PAD260]").size(), 8u);
  EXPECT_EQ(encode(tokenizer, "x\u00E9 \ny"), (Ids{'x', 261, 'y'}));
  EXPECT_EQ(tokenizer.decode(Ids{256, 257, 260, 261}), "ab<c>[PAD260]\u00E9 \n");
  EXPECT_TRUE(tokenizer.is_special(257));
  EXPECT_FALSE(tokenizer.is_special(258));
  EXPECT_TRUE(tokenizer.is_special(259));
  EXPECT_FALSE(tokenizer.is_special(260));
  EXPECT_EQ(tokenizer.id_of("<u>"), 258);
  EXPECT_EQ(tokenizer.id_of("[PAD260]"), 260);
  EXPECT_EQ(tokenizer.id_of("ab"), 256);
}

TEST(GgufVocabulary, OnlySomeKindsIgnoreMerges) {
  for (const auto& [pre, ids] : {std::pair<std::string_view, Ids>{"llama-bpe", {257}},
                                 std::pair<std::string_view, Ids>{"qwen2", {256, 'a'}}}) {
    TestGgufVocabulary gguf = bytes_and_ab(pre);
    gguf.set(257, "aba", GgufTokenType::normal);
    EXPECT_EQ(encode(read(gguf.fields), "aba"), ids) << pre;
  }
}

TEST(GgufVocabulary, KeepsNothingOfTheFields) {
  std::optional<Tokenizer> tokenizer;
  {
    TestGgufVocabulary gguf = bytes_and_ab();
    gguf.set(257, "<control token>", GgufTokenType::control);
    tokenizer = read(gguf.fields);
  }
  EXPECT_EQ(encode(*tokenizer, "<control token>ab"), (Ids{257, 256}));
  EXPECT_EQ(tokenizer->decode(Ids{257, 256}), "<control token>ab");
}

// What a file says of special tokens.
Result<SpecialTokens> special_of(std::string_view end, uint32_t id) {
  GgufBytes file;
  file.entry("tokenizer.ggml.model", "gpt2");
  file.array("tokenizer.ggml.tokens", GgufType::string, {gguf_text("a")});
  file.array("tokenizer.ggml.token_type", GgufType::int32, {bytes_of(int32_t{1})});
  file.entry(fmt::format("tokenizer.ggml.{}", end), GgufType::uint32, bytes_of(id));
  const std::string bytes = file.file(0);
  VARVE_TRY(const GgufFile parsed, parse_gguf(std::as_bytes(std::span(bytes)), "f.gguf"));
  VARVE_TRY(const GgufVocabulary vocabulary, read_vocabulary(parsed.metadata));
  return vocabulary.special;
}

TEST(GgufVocabulary, MinusOneIsNoUnknownAndNoPaddingToken) {
  EXPECT_EQ(special_of("unknown_token_id", 0).value().unk, 0u);
  EXPECT_EQ(special_of("padding_token_id", 7).value().pad, 7u);
  EXPECT_EQ(special_of("unknown_token_id", UINT32_MAX).value().unk, std::nullopt);
  EXPECT_EQ(special_of("padding_token_id", UINT32_MAX).value().pad, std::nullopt);
  for (const auto& [end, id] :
       {std::pair{"padding_token_id", UINT32_MAX - 1}, std::pair{"eos_token_id", UINT32_MAX}}) {
    const auto special = special_of(end, id);
    ASSERT_FALSE(special);
    EXPECT_EQ(special.error().message,
              fmt::format("f.gguf: key `tokenizer.ggml.{}`: expected an integer from 0 to "
                          "2147483647, found {}",
                          end, id));
  }
}

TEST(GgufVocabulary, BeginsWithBos) {
  TestGgufVocabulary gguf = bytes_and_ab("llama-bpe");
  EXPECT_TRUE(begins_with_bos(gguf.fields));
  gguf.fields.special.add_bos = false;
  EXPECT_FALSE(begins_with_bos(gguf.fields));
  TestGgufVocabulary other = bytes_and_ab("qwen2");
  EXPECT_FALSE(begins_with_bos(other.fields));
  other.fields.special.add_bos = true;
  EXPECT_TRUE(begins_with_bos(other.fields));
}

TEST(GgufVocabulary, AByteWithoutAPieceIsAnError) {
  TestGgufVocabulary gguf = bytes_and_ab();
  gguf.set('Q', "QQ", GgufTokenType::normal);
  const auto ids = read(gguf.fields).encode("a Q");
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().message,
            "test.gguf: tokenizer.ggml.tokens: expected a piece for each byte of the text, found "
            "none for the byte 0x51");
}

// The usual vocabulary, changed.
void expect_refused(const std::function<void(TestGgufVocabulary&)>& change,
                    const std::string& part) {
  TestGgufVocabulary gguf = bytes_and_ab();
  change(gguf);
  const auto tokenizer = Tokenizer::from_gguf(gguf.fields, "bad.gguf");
  ASSERT_FALSE(tokenizer) << "expected to be refused for: " << part;
  EXPECT_EQ(tokenizer.error().kind, ErrorKind::bad_input);
  const std::string& message = tokenizer.error().message;
  EXPECT_TRUE(message.starts_with("bad.gguf: tokenizer.ggml.")) << message;
  EXPECT_NE(message.find(part), std::string::npos) << message << "\n  lacks: " << part;
  EXPECT_LT(message.size(), 600u);
  EXPECT_TRUE(is_utf8(message));
}

TEST(HostileGgufVocabulary, ModelAndPre) {
  const auto model = [](std::string_view name, const std::string& part) {
    expect_refused([&](TestGgufVocabulary& v) { v.fields.model = name; }, part);
  };
  model("llama", "model: expected \"gpt2\"");
  model("bert", "found \"bert\"");
  model("", "found none");
  const auto pre = [](std::string_view name, const std::string& part) {
    expect_refused([&](TestGgufVocabulary& v) { v.fields.pre = name; }, part);
  };
  pre("tekken", "pre: expected llama-bpe, llama3");
  pre("tekken", "gpt-2 or default, found \"tekken\"");
  pre(std::string(1 << 20, '\xFF'), "...");
  pre("", "found none: the file was converted before");
}

TEST(HostileGgufVocabulary, Tokens) {
  const auto token = [](std::string_view text, const std::string& part) {
    expect_refused([&](TestGgufVocabulary& v) { v.fields.tokens[256] = text; }, part);
  };
  token("", "tokens[256]: expected a text in UTF-8, found \"\"");
  token("a\xFF", "tokens[256]: expected a text in UTF-8, found \"a\\xFF\"");
  token("a", "tokens: expected each piece once, found \"a\" with the ids 97 and 256");
  expect_refused(
      [](TestGgufVocabulary& v) {
        v.set(257, "<t\u00E9>", GgufTokenType::control);
        v.set(258, "<t\u00E9>", GgufTokenType::user_defined);
      },
      "with the ids 257 and 258");
  expect_refused(
      [](TestGgufVocabulary& v) {
        v.fields.tokens.clear();
        v.fields.token_types.clear();
      },
      "tokens: expected 1 to 16777216 tokens, found 0");
}

TEST(HostileGgufVocabulary, Types) {
  for (const int32_t type : {0, 6, 7, -1, INT32_MAX, INT32_MIN}) {
    expect_refused([&](TestGgufVocabulary& v) { v.fields.token_types[3] = type; },
                   "token_type[3]: expected 1 to 5");
  }
  expect_refused([](TestGgufVocabulary& v) { v.fields.token_types.pop_back(); },
                 "token_type: expected one for each of the 257 tokens, found 256");
  expect_refused([](TestGgufVocabulary& v) { v.fields.token_types.clear(); }, "found 0");
}

TEST(HostileGgufVocabulary, Merges) {
  const auto merge = [](std::string_view text, const std::string& part) {
    expect_refused([&](TestGgufVocabulary& v) { v.fields.merges.push_back(text); }, part);
  };
  merge("", "merges[1]: expected two pieces with one space between them, found \"\"");
  merge("ab", "one space");
  merge("a b c", "one space");
  merge("a zz", "merges[1]: expected pieces of the vocabulary, found \"zz\"");
  merge(" b", "expected pieces of the vocabulary, found \"\"");
  merge("b b", "found \"bb\"");
  merge("a \xFF", "found \"\\xFF\"");
  merge("a b", "merges: expected each pair once");
}

TEST(HostileGgufVocabulary, SpecialTokens) {
  const auto id = [](std::optional<uint32_t> SpecialTokens::* field, const std::string& part) {
    expect_refused([&](TestGgufVocabulary& v) { v.fields.special.*field = 257; },
                   part + ": expected an id below the 257 tokens, found 257");
    TestGgufVocabulary gguf = bytes_and_ab();
    gguf.fields.special.*field = 256;
    EXPECT_TRUE(Tokenizer::from_gguf(gguf.fields, "good.gguf"));
  };
  id(&SpecialTokens::bos, "bos_token_id");
  id(&SpecialTokens::eos, "eos_token_id");
  id(&SpecialTokens::eot, "eot_token_id");
  id(&SpecialTokens::eom, "eom_token_id");
  id(&SpecialTokens::unk, "unknown_token_id");
  id(&SpecialTokens::pad, "padding_token_id");
  expect_refused([](TestGgufVocabulary& v) { v.fields.special.pad = UINT32_MAX; },
                 "found 4294967295");
}

}  // namespace
}  // namespace varve
