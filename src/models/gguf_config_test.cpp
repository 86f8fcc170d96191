#include "models/gguf_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "formats/gguf.h"
#include "formats/gguf_test_bytes.h"
#include "formats/safetensors_test_bytes.h"
#include "models/deepseek_v4/config.h"
#include "models/gguf_names.h"
#include "models/llama/config.h"
#include "models/mla/config.h"

namespace varve {
namespace {

// A file's metadata by key, and the tensors that it has.
class GgufConfig : public testing::Test {
 protected:
  void SetUp() override {
    add_tensor("token_embd.weight", {100, 64});
    add_tensor("output.weight", {100, 64});
    put_decoder("llama");
  }

  void text(const std::string& key, std::string_view value) {
    entries_[key] = {GgufType::string, gguf_text(value)};
  }
  void u32(const std::string& key, uint32_t value) {
    entries_[key] = {GgufType::uint32, bytes_of(value)};
  }
  void f32(const std::string& key, float value) {
    entries_[key] = {GgufType::float32, bytes_of(value)};
  }
  void flag(const std::string& key, bool value) {
    entries_[key] = {GgufType::boolean, bytes_of(static_cast<uint8_t>(value))};
  }
  template <class T>
  void array(const std::string& key, GgufType type, const std::vector<T>& values) {
    std::string bytes = bytes_of(static_cast<uint32_t>(type)) + bytes_of<uint64_t>(values.size());
    for (const T value : values) bytes += bytes_of(value);
    entries_[key] = {GgufType::array, bytes};
  }
  void drop(const std::string& key) { entries_.erase(key); }
  void add_tensor(const std::string& name, std::vector<int64_t> shape,
                  std::span<const std::byte> bytes = {}) {
    tensors_[name] = TensorView{name, "f.gguf", DType::f32, std::move(shape), bytes};
  }

  void put_decoder(const std::string& arch) {
    entries_.clear();
    text("general.architecture", arch);
    u32(arch + ".context_length", 4096);
    u32(arch + ".embedding_length", 64);
    u32(arch + ".block_count", 2);
    u32(arch + ".feed_forward_length", 96);
    u32(arch + ".attention.head_count", 4);
    f32(arch + ".attention.layer_norm_rms_epsilon", 1e-5f);
    f32(arch + ".rope.freq_base", 500000.0f);
  }
  void put_mla() {
    put_decoder("deepseek2");
    u32("deepseek2.attention.kv_lora_rank", 32);
    u32("deepseek2.attention.key_length", 24);
    u32("deepseek2.attention.value_length", 16);
    u32("deepseek2.rope.dimension_count", 8);
    u32("deepseek2.expert_count", 8);
    u32("deepseek2.expert_used_count", 2);
    u32("deepseek2.expert_shared_count", 1);
    u32("deepseek2.expert_feed_forward_length", 48);
    u32("deepseek2.leading_dense_block_count", 1);
  }
  void put_v4() {
    put_decoder("deepseek4");
    const std::string a = "deepseek4.attention.";
    for (const auto& [key, value] :
         std::initializer_list<std::pair<std::string, uint32_t>>{{"head_count_kv", 1},
                                                                 {"key_length", 32},
                                                                 {"value_length", 32},
                                                                 {"q_lora_rank", 32},
                                                                 {"sliding_window", 8},
                                                                 {"output_group_count", 2},
                                                                 {"output_lora_rank", 16},
                                                                 {"indexer.head_count", 4},
                                                                 {"indexer.key_length", 32},
                                                                 {"indexer.top_k", 4}}) {
      u32(a + key, value);
    }
    f32(a + "compress_rope_freq_base", 160000.0f);
    array<uint32_t>(a + "compress_ratios", GgufType::uint32, {0, 4});
    const std::string p = "deepseek4.";
    u32(p + "rope.dimension_count", 16);
    u32(p + "hyper_connection.count", 4);
    u32(p + "hyper_connection.sinkhorn_iterations", 20);
    f32(p + "hyper_connection.epsilon", 1e-6f);
    u32(p + "hash_layer_count", 1);
    u32(p + "expert_count", 8);
    u32(p + "expert_used_count", 2);
    u32(p + "expert_shared_count", 1);
    u32(p + "expert_feed_forward_length", 48);
    u32(p + "expert_gating_func", 4);
    f32(p + "expert_weights_scale", 1.5f);
    flag(p + "expert_weights_norm", true);
    array<float>(p + "swiglu_clamp_exp", GgufType::float32, {10, 10});
  }

  // The family's config, by its own reader.
  template <class Config>
  Result<Config> read(Result<Config> (*parse)(const JsonObject&)) {
    GgufBytes bytes;
    for (const auto& [key, value] : entries_) bytes.entry(key, value.first, value.second);
    file_ = bytes.file(0);
    VARVE_TRY(const GgufFile parsed, parse_gguf(as_bytes(file_), "f.gguf"));
    VARVE_TRY(const JsonObject config,
              config_from_gguf(parsed.metadata, [this](std::string_view name) {
                const auto found = tensors_.find(std::string(name));
                return found == tensors_.end() ? nullptr : &found->second;
              }));
    return parse(config);
  }
  llama::Config llama() { return read(llama::parse_config).value(); }
  mla::Config mla() { return read(mla::parse_config).value(); }
  template <class Config>
  void expect_error(Result<Config> (*parse)(const JsonObject&), const std::string& fragment) {
    const auto config = read(parse);
    ASSERT_FALSE(config) << fragment;
    EXPECT_EQ(config.error().kind, ErrorKind::bad_input);
    EXPECT_NE(config.error().message.find(fragment), std::string::npos) << config.error().message;
  }

  std::map<std::string, std::pair<GgufType, std::string>> entries_;
  std::map<std::string, TensorView> tensors_;
  std::string file_;
};

TEST_F(GgufConfig, Llama) {
  u32("llama.attention.head_count_kv", 2);
  const llama::Config c = llama();
  EXPECT_EQ(c.model_type, "llama");
  EXPECT_EQ(c.vocab_size, 100);
  EXPECT_EQ(c.hidden_size, 64);
  EXPECT_EQ(c.n_layers, 2);
  EXPECT_EQ(c.n_heads, 4);
  EXPECT_EQ(c.n_kv_heads, 2);
  EXPECT_EQ(c.head_dim, 16);
  EXPECT_EQ(c.mlp_dim, 96);
  EXPECT_EQ(c.max_position, 4096);
  EXPECT_EQ(c.rms_eps, 1e-5f);
  EXPECT_EQ(c.bos_id, -1);
  EXPECT_FALSE(c.rope_halves);
  EXPECT_FALSE(c.tied_head);
  EXPECT_FALSE(c.qkv_bias);
  EXPECT_EQ(c.rope.frequencies()[1], Rope(16, 500000, YarnScaling{}).frequencies()[1]);
}

TEST_F(GgufConfig, WhatTensorsSay) {
  tensors_.erase("output.weight");
  add_tensor("blk.0.attn_q.bias", {64});
  add_tensor("blk.0.ffn_gate.bias", {96});
  const std::vector<float> factors = {1, 2, 4, 8, 8, 8, 8, 8};
  add_tensor("rope_freqs.weight", {8}, std::as_bytes(std::span(factors)));
  const llama::Config c = llama();
  EXPECT_TRUE(c.tied_head && c.qkv_bias && c.output_bias && c.mlp_bias);
  const Rope plain(16, 500000, YarnScaling{});
  for (size_t i = 0; i < factors.size(); ++i) {
    EXPECT_EQ(c.rope.frequencies()[i], plain.frequencies()[i] / factors[i]);
  }
  add_tensor("rope_freqs.weight", {7}, std::as_bytes(std::span(factors)));
  expect_error(llama::parse_config, "field `rope_freqs.weight`: expected 8 numbers");
  text("llama.rope.scaling.type", "linear");
  f32("llama.rope.scaling.factor", 4);
  expect_error(llama::parse_config, "expected none beside tensor rope_freqs.weight");
}

TEST_F(GgufConfig, IdsThatBeginAndEnd) {
  u32("tokenizer.ggml.bos_token_id", 7);
  u32("tokenizer.ggml.eos_token_id", 8);
  u32("tokenizer.ggml.eot_token_id", 9);
  u32("tokenizer.ggml.eom_token_id", 8);
  EXPECT_EQ(llama().bos_id, 7);
  EXPECT_EQ(llama().eos_ids, (std::vector<int>{8, 9}));
  flag("tokenizer.ggml.add_bos_token", false);
  EXPECT_EQ(llama().bos_id, -1);
  u32("tokenizer.ggml.eot_token_id", 100);
  expect_error(llama::parse_config,
               "key `tokenizer.ggml.eot_token_id`: expected an integer from 0 to 99, found 100");
}

TEST_F(GgufConfig, TheVocabularyIsThatOfTheEmbedding) {
  u32("llama.vocab_size", 100);
  EXPECT_EQ(llama().vocab_size, 100);
  u32("llama.vocab_size", 99);
  expect_error(llama::parse_config,
               "f.gguf: key `llama.vocab_size`: expected 100, the rows of token_embd.weight, found "
               "99");
  u32("llama.vocab_size", 100);
  array<uint8_t>("tokenizer.ggml.tokens", GgufType::uint8, std::vector<uint8_t>(98));
  expect_error(llama::parse_config, "expected 98, as many as tokenizer.ggml.tokens, found 100");
  drop("llama.vocab_size");
  EXPECT_EQ(llama().vocab_size, 100);
}

TEST_F(GgufConfig, WidthsAreBlamedWhereTheyAreWrong) {
  u32("llama.rope.dimension_count", 16);
  for (const uint32_t wrong : {7u, 3u, 63u, 128u}) {
    u32("llama.embedding_length", wrong);
    expect_error(llama::parse_config,
                 fmt::format("f.gguf: key `llama.embedding_length`: expected 64, the columns of "
                             "token_embd.weight, found {}",
                             wrong));
  }
  u32("llama.embedding_length", 64);
  u32("llama.attention.head_count", 9);
  expect_error(llama::parse_config,
               "f.gguf: key `llama.attention.head_count`: expected a divisor of embedding_length, "
               "64, found 9");
  u32("llama.attention.key_length", 16);
  EXPECT_EQ(llama().head_dim, 16);
}

TEST_F(GgufConfig, QwenTurnsHalves) {
  put_decoder("qwen3");
  u32("qwen3.attention.key_length", 32);
  const llama::Config qwen3 = llama();
  EXPECT_TRUE(qwen3.rope_halves && qwen3.qk_norm && !qwen3.qkv_bias);
  EXPECT_EQ(qwen3.head_dim, 32);
  put_decoder("qwen2");
  add_tensor("blk.0.attn_q.bias", {64});
  const llama::Config qwen2 = llama();
  EXPECT_TRUE(qwen2.rope_halves && !qwen2.qk_norm && qwen2.qkv_bias && !qwen2.output_bias);
}

TEST_F(GgufConfig, Scalings) {
  u32("llama.rope.dimension_count", 16);
  text("llama.rope.scaling.type", "none");
  const Rope plain(16, 500000, YarnScaling{});
  EXPECT_EQ(llama().rope.frequencies(), plain.frequencies());
  drop("llama.rope.scaling.type");
  f32("llama.rope.scaling.factor", 4);  // without a type: linear
  EXPECT_EQ(llama().rope.frequencies(), Rope::linear(16, 500000, 4).frequencies());
  text("llama.rope.scaling.type", "yarn");
  u32("llama.rope.scaling.original_context_length", 1024);
  f32("llama.rope.scaling.yarn_beta_fast", 16);
  const YarnScaling yarn{.factor = 4, .beta_fast = 16, .original_max_position = 1024};
  EXPECT_EQ(llama().rope.frequencies(), Rope(16, 500000, yarn).frequencies());
  f32("llama.rope.scaling.attn_factor", 0.5f);
  expect_error(llama::parse_config, "key `llama.rope.scaling.attn_factor`: expected 1, found 0.5");
  drop("llama.rope.scaling.attn_factor");
  text("llama.rope.scaling.type", "longrope");
  expect_error(llama::parse_config, "field `llama.rope.scaling.type`: expected a RoPE that runs");
}

TEST_F(GgufConfig, MessagesNameTheFilesOwnKeys) {
  u32("llama.attention.head_count_kv", 3);
  expect_error(llama::parse_config,
               "f.gguf: field `llama.attention.head_count_kv`: expected a divisor of");
  drop("llama.attention.head_count_kv");
  drop("llama.feed_forward_length");
  expect_error(llama::parse_config,
               "field `llama.feed_forward_length`: expected an integer from 1 to 1048576, it is "
               "missing");
  u32("llama.feed_forward_length", 96);
  u32("llama.expert_count", 8);
  expect_error(llama::parse_config, "key `llama.expert_count`: expected 0");
  drop("llama.expert_count");
  u32("llama.rope.dimension_count", 8);
  expect_error(llama::parse_config, "key `llama.rope.dimension_count`: expected 16");
  drop("llama.rope.dimension_count");
  f32("llama.rope.freq_base", std::nanf(""));
  expect_error(llama::parse_config, "key `llama.rope.freq_base`: expected finite numbers");
  text("llama.rope.freq_base", "big");
  expect_error(llama::parse_config, "field `llama.rope.freq_base`: expected a number");
  f32("llama.rope.freq_base", 10000);
  u32("llama.nextn_predict_layers", 2);
  expect_error(llama::parse_config, "key `llama.nextn_predict_layers`: expected an integer from 0");
  tensors_.erase("token_embd.weight");
  expect_error(llama::parse_config, "expected a matrix token_embd.weight, it is missing");
}

TEST_F(GgufConfig, AnUnknownArchitectureListsThoseThatRun) {
  text("general.architecture", "mamba");
  expect_error(
      llama::parse_config,
      "key `general.architecture`: expected one that runs (llama, qwen2, qwen3, deepseek2, "
      "deepseek4), found \"mamba\"");
  drop("general.architecture");
  expect_error(llama::parse_config, "key `general.architecture`: expected a string, it is missing");
}

TEST_F(GgufConfig, Deepseek2) {
  put_mla();
  const mla::Config v2 = mla();
  EXPECT_EQ(v2.model_type, "deepseek_v2");
  EXPECT_EQ(v2.q_lora_rank, 0);
  EXPECT_EQ(v2.nope_dim, 16);
  EXPECT_EQ(v2.rope_dim, 8);
  EXPECT_EQ(v2.v_dim, 16);
  EXPECT_EQ(v2.n_dense_layers, 1);
  EXPECT_FALSE(v2.router.sigmoid || v2.router.has_bias || v2.router.norm_weights);
  EXPECT_EQ(v2.router.scale, 1.0f);
  drop("deepseek2.leading_dense_block_count");
  EXPECT_EQ(mla().n_dense_layers, 0);
  u32("deepseek2.leading_dense_block_count", 1);

  u32("deepseek2.attention.key_length", 40);  // of the latent, and of a head:
  u32("deepseek2.attention.value_length", 32);
  u32("deepseek2.attention.key_length_mla", 24);
  u32("deepseek2.attention.value_length_mla", 16);
  u32("deepseek2.attention.q_lora_rank", 48);
  u32("deepseek2.expert_gating_func", 2);
  u32("deepseek2.expert_group_count", 4);
  u32("deepseek2.expert_group_used_count", 2);
  f32("deepseek2.expert_weights_scale", 2.5f);
  flag("deepseek2.expert_weights_norm", true);
  add_tensor("blk.1.exp_probs_b.bias", {8});
  const mla::Config v3 = mla();
  EXPECT_EQ(v3.model_type, "deepseek_v3");
  EXPECT_EQ(v3.nope_dim, 16);
  EXPECT_EQ(v3.v_dim, 16);
  EXPECT_TRUE(v3.router.sigmoid && v3.router.has_bias && v3.router.norm_weights);
  EXPECT_EQ(v3.router.n_groups, 4);
  EXPECT_EQ(v3.router.n_groups_used, 2);
  drop("deepseek2.expert_weights_scale");
  EXPECT_EQ(mla().router.scale, 1.0f);
  EXPECT_EQ(v3.router.best_of_group, 2);
  EXPECT_EQ(v3.router.scale, 2.5f);
}

TEST_F(GgufConfig, Deepseek2Refuses) {
  put_mla();
  u32("deepseek2.expert_gating_func", 4);
  expect_error(mla::parse_config, "expected 1 (softmax) or 2 (sigmoid), found 4");
  u32("deepseek2.expert_gating_func", 1);
  u32("deepseek2.rope.dimension_count", 24);
  expect_error(mla::parse_config,
               "key `deepseek2.attention.key_length`: expected more than the 24 RoPE dims");
  u32("deepseek2.rope.dimension_count", 8);
  f32("deepseek2.attention.temperature_scale", 0.1f);
  expect_error(mla::parse_config, "key `deepseek2.attention.temperature_scale`: expected no such");
  drop("deepseek2.attention.temperature_scale");
  text("deepseek2.rope.scaling.type", "yarn");
  f32("deepseek2.rope.scaling.factor", 40);
  u32("deepseek2.rope.scaling.original_context_length", 4096);
  expect_error(
      mla::parse_config,
      "key `deepseek2.rope.scaling.yarn_log_multiplier`: expected a number, it is missing");
  f32("deepseek2.rope.scaling.yarn_log_multiplier", 0.0707f);
  const double of_scale = 0.1 * 0.707 * std::log(40.0) + 1;
  EXPECT_NEAR(mla().softmax_scale, of_scale * of_scale / std::sqrt(24.0), 1e-7);
}

TEST_F(GgufConfig, Deepseek4) {
  put_v4();
  const auto read_v4 = read(deepseek_v4::parse_config);
  ASSERT_TRUE(read_v4) << read_v4.error().message;
  const deepseek_v4::Config& c = *read_v4;
  EXPECT_EQ(c.layers[1].attention, LayerKind::csa);
  EXPECT_TRUE(c.layers[0].hash_routed);
  EXPECT_FALSE(c.layers[1].hash_routed);
  EXPECT_EQ(c.swiglu_limit, 10.0f);
  EXPECT_EQ(c.compress_rope.theta, 160000);
  EXPECT_EQ(c.window_rope.theta, 500000);
  EXPECT_EQ(c.hc_mult, 4);

  array<float>("deepseek4.swiglu_clamp_shexp", GgufType::float32, {10, 7});
  expect_error(deepseek_v4::parse_config,
               "key `deepseek4.swiglu_clamp_shexp`: expected 10 for every layer, found [10, 7]");
  drop("deepseek4.swiglu_clamp_shexp");
  u32("deepseek4.attention.value_length", 16);
  expect_error(deepseek_v4::parse_config, "expected 32, since a key is its value, found 16");
  u32("deepseek4.attention.value_length", 32);
  u32("deepseek4.expert_gating_func", 2);
  expect_error(deepseek_v4::parse_config, "expected 4 (sqrtsoftplus), found 2");
  u32("deepseek4.expert_gating_func", 4);
  array<uint32_t>("deepseek4.attention.compress_ratios", GgufType::uint32, {0, 5});
  expect_error(deepseek_v4::parse_config, "layer 1: expected a ratio that runs");
  array<uint32_t>("deepseek4.attention.compress_ratios", GgufType::uint32, {0});
  expect_error(deepseek_v4::parse_config, "field `deepseek4.attention.compress_ratios`: expected");
  // A block that predicts a further token stands behind the others.
  array<uint32_t>("deepseek4.attention.compress_ratios", GgufType::uint32, {0, 4});
  u32("deepseek4.nextn_predict_layers", 1);
  EXPECT_FALSE(read(deepseek_v4::parse_config));
  array<uint32_t>("deepseek4.attention.compress_ratios", GgufType::uint32, {4, 0});
  EXPECT_EQ(read(deepseek_v4::parse_config).value().n_layers, 1);
}

TEST(GgufNames, OfTensors) {
  EXPECT_EQ(gguf_tensor_name("model.embed_tokens.weight"), "token_embd.weight");
  EXPECT_EQ(gguf_tensor_name("lm_head.weight"), "output.weight");
  EXPECT_EQ(gguf_tensor_name("model.layers.12.self_attn.q_proj.bias"), "blk.12.attn_q.bias");
  EXPECT_EQ(gguf_tensor_name("layers.3.ffn.gate.bias"), "blk.3.exp_probs_b.bias");
  EXPECT_EQ(gguf_tensor_name("layers.3.ffn.gate.weight"), "blk.3.ffn_gate_inp.weight");
  EXPECT_EQ(gguf_tensor_name("model.layers.3.self_attn.sinks"), "blk.3.attn_sinks.weight");
  EXPECT_EQ(gguf_tensor_name("hc_head_fn"), "output_hc_fn.weight");
  EXPECT_EQ(gguf_tensor_name("mtp.0.embed.weight"), "");
  EXPECT_EQ(gguf_tensor_name("model.layers.3.self_attn.q_proj.scale"), "");
  EXPECT_EQ(gguf_tensor_name("layers."), "");
}

}  // namespace
}  // namespace varve
