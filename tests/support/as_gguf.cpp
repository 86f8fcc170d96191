#include "support/as_gguf.h"

#include <cmath>
#include <cstring>
#include <numbers>
#include <stdexcept>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/gguf_writer.h"
#include "formats/json_reader.h"
#include "models/gguf_names.h"

namespace varve::testing_support {
namespace {

template <class T>
T take(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// ---- metadata

class Metadata {
 public:
  Metadata(const JsonObject& config, const std::string& architecture)
      : config_(config), prefix_(architecture + ".") {
    entries.add("general.architecture", architecture);
    entries.add("tokenizer.ggml.bos_token_id", 0u);
    entries.add("tokenizer.ggml.eos_token_id", 1u);
  }

  void u32(const std::string& key, const std::string& field) {
    if (!config_.has(field)) return;
    entries.add(prefix_ + key, static_cast<uint32_t>(take(config_.integer(field, {0, INT32_MAX}))));
  }
  void f32(const std::string& key, const std::string& field) {
    entries.add(prefix_ + key, static_cast<float>(take(config_.number(field))));
  }
  void boolean(const std::string& key, const std::string& field) {
    entries.add(prefix_ + key, take(config_.boolean(field)));
  }
  template <class T>
  void set(const std::string& key, const T& value) {
    entries.add(prefix_ + key, value);
  }
  int integer(const std::string& field) const {
    return static_cast<int>(take(config_.integer(field, {0, INT32_MAX})));
  }

  void decoder() {
    u32("context_length", "max_position_embeddings");
    u32("embedding_length", "hidden_size");
    u32("block_count", "num_hidden_layers");
    u32("feed_forward_length", "intermediate_size");
    u32("attention.head_count", "num_attention_heads");
    f32("attention.layer_norm_rms_epsilon", "rms_norm_eps");
    f32("rope.freq_base", "rope_theta");
  }
  void llama() {
    u32("attention.head_count_kv", "num_key_value_heads");
    u32("attention.key_length", "head_dim");
    u32("attention.value_length", "head_dim");
    u32("rope.dimension_count", "head_dim");
    u32("attention.sliding_window", "sliding_window");
  }
  void yarn() {
    if (!config_.has("rope_scaling")) return;
    const JsonObject scaling = take(config_.object("rope_scaling"));
    set("rope.scaling.type", "yarn");
    set("rope.scaling.factor", static_cast<float>(take(scaling.number("factor"))));
    set("rope.scaling.original_context_length",
        static_cast<uint32_t>(take(scaling.integer("original_max_position_embeddings"))));
    if (!scaling.has("mscale_all_dim")) return;
    set("rope.scaling.yarn_log_multiplier",
        static_cast<float>(0.1 * take(scaling.number("mscale_all_dim"))));
  }
  void experts() {
    u32("expert_count", "n_routed_experts");
    u32("expert_used_count", "num_experts_per_tok");
    u32("expert_shared_count", "n_shared_experts");
    u32("expert_feed_forward_length", "moe_intermediate_size");
    f32("expert_weights_scale", "routed_scaling_factor");
    boolean("expert_weights_norm", "norm_topk_prob");
  }
  void mla(bool split_kv_b) {
    const auto rope = static_cast<uint32_t>(integer("qk_rope_head_dim"));
    const auto rank = static_cast<uint32_t>(integer("kv_lora_rank"));
    const auto key = static_cast<uint32_t>(integer("qk_nope_head_dim")) + rope;
    const auto value = static_cast<uint32_t>(integer("v_head_dim"));
    u32("attention.q_lora_rank", "q_lora_rank");
    u32("attention.kv_lora_rank", "kv_lora_rank");
    u32("leading_dense_block_count", "first_k_dense_replace");
    set("attention.key_length", split_kv_b ? rank + rope : key);
    set("attention.value_length", split_kv_b ? rank : value);
    if (split_kv_b) set("attention.key_length_mla", key);
    if (split_kv_b) set("attention.value_length_mla", value);
    set("rope.dimension_count", rope);
    u32("expert_group_count", "n_group");
    u32("expert_group_used_count", "topk_group");
    const bool sigmoid = take(config_.string("scoring_func")) == "sigmoid";
    set("expert_gating_func", sigmoid ? 2u : 1u);
  }
  void v4() {
    u32("attention.head_count_kv", "num_key_value_heads");
    u32("attention.key_length", "head_dim");
    u32("attention.value_length", "head_dim");
    u32("rope.dimension_count", "qk_rope_head_dim");
    u32("attention.q_lora_rank", "q_lora_rank");
    u32("attention.sliding_window", "sliding_window");
    u32("attention.output_group_count", "o_groups");
    u32("attention.output_lora_rank", "o_lora_rank");
    u32("attention.indexer.head_count", "index_n_heads");
    u32("attention.indexer.key_length", "index_head_dim");
    u32("attention.indexer.top_k", "index_topk");
    u32("hyper_connection.count", "hc_mult");
    u32("hyper_connection.sinkhorn_iterations", "hc_sinkhorn_iters");
    f32("hyper_connection.epsilon", "hc_eps");
    u32("hash_layer_count", "num_hash_layers");
    f32("attention.compress_rope_freq_base", "compress_rope_theta");
    set("expert_gating_func", 4u);
    const auto layers = static_cast<size_t>(integer("num_hidden_layers"));
    const auto limit = static_cast<float>(take(config_.number("swiglu_limit")));
    set("swiglu_clamp_exp", std::vector<float>(layers, limit));
    set("swiglu_clamp_shexp", std::vector<float>(layers, limit));
    const auto ratios = take(config_.integers("compress_ratios", {0, 128}));
    set("attention.compress_ratios", std::vector<uint32_t>(ratios.begin(), ratios.end()));
  }

  GgufEntries entries;

 private:
  const JsonObject& config_;
  std::string prefix_;
};

// ---- tensors

struct Stored {
  DeclaredGgufTensor declared;
  std::vector<std::byte> bytes;
};

Stored copy(const TensorView& view, std::string name) {
  return {{std::move(name), view.type, view.shape}, {view.bytes.begin(), view.bytes.end()}};
}

// Ids are 32 bits wide in GGUF files.
void narrow(Stored& tensor) {
  std::vector<std::byte> out(tensor.bytes.size() / 2);
  for (size_t i = 0; i < out.size() / 4; ++i) {
    std::memcpy(out.data() + 4 * i, tensor.bytes.data() + 8 * i, 4);
  }
  tensor.declared.type = DType::i32;
  tensor.bytes = std::move(out);
}

// The halves of a head's rows dealt out one by one.
void interleave(Stored& tensor, int n_heads) {
  const auto n_rows = static_cast<size_t>(tensor.declared.shape[0]);
  const size_t row = tensor.bytes.size() / n_rows;
  const size_t head_dim = n_rows / static_cast<size_t>(n_heads);
  const std::vector<std::byte> from = tensor.bytes;
  for (size_t r = 0; r < n_rows; ++r) {
    const size_t i = r % head_dim;
    const size_t source = r - i + i / 2 + i % 2 * (head_dim / 2);
    std::memcpy(tensor.bytes.data() + r * row, from.data() + source * row, row);
  }
}

// kv_b [heads * (nope + v), rank] as k_b [heads, rank, nope] and v_b [heads, v, rank].
void split_kv_b(const TensorView& kv_b, const Metadata& m, const std::string& layer,
                std::vector<Stored>& out) {
  const auto heads = static_cast<size_t>(m.integer("num_attention_heads"));
  const auto rank = static_cast<size_t>(m.integer("kv_lora_rank"));
  const auto nope = static_cast<size_t>(m.integer("qk_nope_head_dim"));
  const auto v = static_cast<size_t>(m.integer("v_head_dim"));
  const size_t width = dtype_bytes(kv_b.type);
  std::vector<std::byte> k_bytes, v_bytes;
  const auto append = [&](std::vector<std::byte>& to, size_t row, size_t col, size_t n) {
    const std::byte* const at = kv_b.bytes.data() + (row * rank + col) * width;
    to.insert(to.end(), at, at + n * width);
  };
  for (size_t h = 0; h < heads; ++h) {
    const size_t first = h * (nope + v);
    for (size_t col = 0; col < rank; ++col) {
      for (size_t r = 0; r < nope; ++r) append(k_bytes, first + r, col, 1);
    }
    append(v_bytes, first + nope, 0, v * rank);
  }
  const auto extent = [](size_t n) { return static_cast<int64_t>(n); };
  out.push_back(
      {{layer + "attn_k_b.weight", kv_b.type, {extent(heads), extent(rank), extent(nope)}},
       std::move(k_bytes)});
  out.push_back({{layer + "attn_v_b.weight", kv_b.type, {extent(heads), extent(v), extent(rank)}},
                 std::move(v_bytes)});
}

// Expert 0's tensor becomes the stack; those of the others are added behind it.
bool add_to_stack(const Checkpoint& checkpoint, const TensorView& view, std::vector<Stored>& out) {
  const std::string mark = ".experts.0.";
  const size_t at = view.name.find(".experts.");
  if (at == std::string::npos) return false;
  if (view.name.find(mark) == std::string::npos) return true;
  const std::string head = view.name.substr(0, at) + ".experts.";
  const std::string tail = view.name.substr(at + mark.size());
  Stored stack = copy(view, gguf_tensor_name(head + tail));
  int64_t n = 1;
  while (const TensorView* next = checkpoint.find(fmt::format("{}{}.{}", head, n, tail))) {
    stack.bytes.insert(stack.bytes.end(), next->bytes.begin(), next->bytes.end());
    ++n;
  }
  stack.declared.shape.insert(stack.declared.shape.begin(), n);
  out.push_back(std::move(stack));
  return true;
}

// What each pair's frequency is divided by in Llama 3's scaling.
Stored llama3_factors(const JsonObject& scaling, double theta, int head_dim) {
  const double factor = take(scaling.number("factor"));
  const double low = take(scaling.number("low_freq_factor"));
  const double high = take(scaling.number("high_freq_factor"));
  const double original = take(scaling.number("original_max_position_embeddings"));
  Stored out{{"rope_freqs.weight", DType::f32, {head_dim / 2}}, {}};
  for (int i = 0; i < head_dim / 2; ++i) {
    const double turns = original * std::pow(theta, -2.0 * i / head_dim) / (2 * std::numbers::pi);
    const double share = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    const auto divisor = static_cast<float>(1 / ((1 - share) / factor + share));
    const auto* const bytes = reinterpret_cast<const std::byte*>(&divisor);
    out.bytes.insert(out.bytes.end(), bytes, bytes + sizeof divisor);
  }
  return out;
}

std::vector<Stored> tensors_of(const Checkpoint& checkpoint, const Metadata& m, bool is_llama,
                               bool split) {
  std::vector<Stored> out;
  for (const TensorView& view : checkpoint.tensors()) {
    if (add_to_stack(checkpoint, view, out)) continue;
    const std::string name = gguf_tensor_name(view.name);
    if (name.empty()) continue;
    if (split && name.ends_with("attn_kv_b.weight")) {
      split_kv_b(view, m, name.substr(0, name.find("attn_kv_b")), out);
      continue;
    }
    out.push_back(copy(view, name));
    if (view.type == DType::i64) narrow(out.back());
    if (is_llama && name.find(".attn_q.") != name.npos) {
      interleave(out.back(), m.integer("num_attention_heads"));
    } else if (is_llama && name.find(".attn_k.") != name.npos) {
      interleave(out.back(), m.integer("num_key_value_heads"));
    }
  }
  return out;
}

std::string architecture_of(const std::string& model_type) {
  if (model_type == "deepseek_v4") return "deepseek4";
  if (model_type.starts_with("deepseek")) return "deepseek2";
  return model_type == "mistral" ? "llama" : model_type;
}

}  // namespace

void write_as_gguf(const std::string& model_dir, const std::string& path, GgufForm form) {
  const JsonObject config = take(JsonObject::read(model_dir + "/config.json"));
  const Checkpoint checkpoint = take(Checkpoint::open(model_dir));
  const std::string architecture = architecture_of(take(config.string("model_type")));
  Metadata m(config, architecture);
  m.decoder();
  std::vector<Stored> tensors = tensors_of(checkpoint, m, architecture == "llama", form.split_kv_b);
  if (architecture == "deepseek4") {
    m.v4();
    m.experts();
    m.yarn();
  } else if (architecture == "deepseek2") {
    m.mla(form.split_kv_b);
    m.experts();
    m.yarn();
  } else {
    m.llama();
    if (config.has("rope_scaling")) {
      tensors.push_back(llama3_factors(take(config.object("rope_scaling")),
                                       take(config.number("rope_theta")), m.integer("head_dim")));
    }
  }
  std::vector<DeclaredGgufTensor> declared;
  declared.reserve(tensors.size());
  for (const Stored& tensor : tensors) declared.push_back(tensor.declared);
  GgufWriter writer = take(GgufWriter::create(path, m.entries, declared));
  for (const Stored& tensor : tensors) take(writer.write(tensor.declared.name, tensor.bytes));
  take(writer.finish());
}

}  // namespace varve::testing_support
