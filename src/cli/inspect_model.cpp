#include "cli/inspect_model.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string_view>

#include "models/deepseek_v4/model.h"
#include "models/llama/model.h"
#include "models/mla/model.h"

namespace varve::cli {
namespace {

using nlohmann::ordered_json;

void line(std::string_view label, const std::string& text) {
  fmt::print("  {:<18}{}\n", label, text);
}

// ---- DeepSeek-V4

bool use_colours() {
  const char* const term = std::getenv("TERM");
  const char* const no_color = std::getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0') &&
         (term == nullptr || std::string_view(term) != "dumb");
}

char layer_letter(LayerKind kind) {
  switch (kind) {
    case LayerKind::swa:
      return 'S';
    case LayerKind::csa:
      return 'c';
    case LayerKind::hca:
      return 'H';
    case LayerKind::kv:
    case LayerKind::mla:
    case LayerKind::dsa:
      break;
  }
  return 'A';
}

std::string coloured(LayerKind kind, std::string text, bool colours) {
  if (!colours) return text;
  const int colour = kind == LayerKind::swa ? 33 : kind == LayerKind::csa ? 36 : 35;
  return fmt::format("\x1b[{}m{}\x1b[0m", colour, text);
}

void print_config(const deepseek_v4::DeepseekV4& model) {
  const deepseek_v4::Config& c = model.config();
  line("family", fmt::format("{}, context {} tokens", model.family(), c.max_position));
  line("hidden", fmt::format("{}, {} streams (hyper-connections)", c.hidden_size, c.hc_mult));
  line("attention", fmt::format("{} heads x {} (RoPE {}), query rank {}", c.n_heads, c.head_dim,
                                c.rope_dim, c.q_lora_rank));
  line("output", fmt::format("{} groups, rank {}", c.o_groups, c.o_lora_rank));
  if (c.index_n_heads > 0) {
    line("indexer", fmt::format("{} heads x {}, {} entries picked", c.index_n_heads,
                                c.index_head_dim, c.index_topk));
  }
  line("experts", fmt::format("{} x {}, {} used, {} shared", c.n_experts, c.moe_dim,
                              c.n_experts_used, c.n_shared_experts));
  line("vocabulary", fmt::format("{}{}", c.vocab_size, c.tied_head ? ", head tied" : ""));
  const auto rope_text = [](const deepseek_v4::RopeConfig& rope) {
    return rope.yarn.factor == 1 ? fmt::format("theta {:.9g}", rope.theta)
                                 : fmt::format("theta {:.9g}, YaRN {:.9g} x {}", rope.theta,
                                               rope.yarn.factor, rope.yarn.original_max_position);
  };
  line("RoPE", fmt::format("window layers: {}", rope_text(c.window_rope)));
  line("", fmt::format("compressed layers: {}", rope_text(c.compress_rope)));
}

void print_layers(const deepseek_v4::Config& c) {
  constexpr size_t kPerRow = 64;
  const bool colours = use_colours();
  fmt::print("\nlayers ({})\n", c.n_layers);
  for (size_t begin = 0; begin < c.layers.size(); begin += kPerRow) {
    const size_t end = std::min(c.layers.size(), begin + kPerRow);
    std::string strip;
    std::string marks;
    for (size_t i = begin; i < end; ++i) {
      const deepseek_v4::LayerConfig& layer = c.layers[i];
      strip += coloured(layer.attention, std::string(1, layer_letter(layer.attention)), colours);
      marks += layer.hash_routed ? '#' : ' ';
    }
    fmt::print("  {:>5} {}\n", begin, strip);
    marks.erase(marks.find_last_not_of(' ') + 1);
    if (!marks.empty()) fmt::print("  {:>5} {}\n", "", marks);
  }
  std::map<std::pair<LayerKind, int>, int> counts;
  int n_hash = 0;
  for (const deepseek_v4::LayerConfig& layer : c.layers) {
    ++counts[{layer.attention, layer.ratio}];
    n_hash += layer.hash_routed ? 1 : 0;
  }
  for (const auto& [key, count] : counts) {
    const auto [kind, ratio] = key;
    std::string what = fmt::format("window of {} tokens", c.window);
    if (kind == LayerKind::csa) {
      what += fmt::format(" + {} entries picked, {} tokens each", c.index_topk, ratio);
    } else if (kind == LayerKind::hca) {
      what += fmt::format(" + all entries, {} tokens each", ratio);
    }
    fmt::print("  {} {} x{:<5} {}\n", coloured(kind, std::string(1, layer_letter(kind)), colours),
               layer_kind_name(kind), count, what);
  }
  if (n_hash > 0) fmt::print("  # hash x{:<4} experts by token id\n", n_hash);
}

ordered_json v4_object(const deepseek_v4::Config& c) {
  ordered_json layers = ordered_json::array();
  for (const deepseek_v4::LayerConfig& layer : c.layers) {
    layers.push_back({{"attention", layer_kind_name(layer.attention)},
                      {"ratio", layer.ratio},
                      {"hash_routed", layer.hash_routed}});
  }
  return {
      {"vocab_size", c.vocab_size},
      {"hidden_size", c.hidden_size},
      {"n_layers", c.n_layers},
      {"n_heads", c.n_heads},
      {"head_dim", c.head_dim},
      {"rope_dim", c.rope_dim},
      {"q_lora_rank", c.q_lora_rank},
      {"o_groups", c.o_groups},
      {"o_lora_rank", c.o_lora_rank},
      {"index_n_heads", c.index_n_heads},
      {"index_head_dim", c.index_head_dim},
      {"index_topk", c.index_topk},
      {"window", c.window},
      {"n_experts", c.n_experts},
      {"n_experts_used", c.n_experts_used},
      {"n_shared_experts", c.n_shared_experts},
      {"moe_dim", c.moe_dim},
      {"hc_mult", c.hc_mult},
      {"max_position", c.max_position},
      {"tied_head", c.tied_head},
      {"layers", layers},
  };
}

// ---- the Llama line

// "all tokens", "the last 48 tokens", "the last 48 tokens in 3 of 6 layers".
std::string window_text(const llama::Config& c) {
  const auto n = std::count_if(c.windows.begin(), c.windows.end(), [](int w) { return w > 0; });
  if (n == 0) return "all tokens";
  const std::string window =
      fmt::format("the last {} tokens", *std::max_element(c.windows.begin(), c.windows.end()));
  return n == c.n_layers ? window : fmt::format("{} in {} of {} layers", window, n, c.n_layers);
}

void print_config(const llama::Llama& model) {
  const llama::Config& c = model.config();
  line("family", fmt::format("{}, context {} tokens", model.family(), c.max_position));
  line("hidden", fmt::format("{}, {} layers", c.hidden_size, c.n_layers));
  line("attention", fmt::format("{} heads x {}, {} of keys and values ({}){}{}", c.n_heads,
                                c.head_dim, c.n_kv_heads, c.n_kv_heads == c.n_heads ? "MHA" : "GQA",
                                c.qkv_bias ? ", biases" : "", c.qk_norm ? ", normed" : ""));
  line("sees", window_text(c));
  line("MLP", fmt::format("{}", c.mlp_dim));
  line("vocabulary", fmt::format("{}{}", c.vocab_size, c.tied_head ? ", head tied" : ""));
}

ordered_json llama_object(const llama::Config& c) {
  return {
      {"vocab_size", c.vocab_size},     {"hidden_size", c.hidden_size},
      {"n_layers", c.n_layers},         {"n_heads", c.n_heads},
      {"n_kv_heads", c.n_kv_heads},     {"head_dim", c.head_dim},
      {"mlp_dim", c.mlp_dim},           {"windows", c.windows},
      {"max_position", c.max_position}, {"tied_head", c.tied_head},
  };
}

// ---- DeepSeek-V2, V3 and V3.2

void print_config(const mla::Mla& model) {
  const mla::Config& c = model.config();
  line("family", fmt::format("{}, context {} tokens", model.family(), c.max_position));
  line("hidden", fmt::format("{}, {} layers", c.hidden_size, c.n_layers));
  line("attention",
       fmt::format(
           "{} heads x ({} + RoPE {}) (MLA){}", c.n_heads, c.nope_dim, c.rope_dim,
           c.q_lora_rank > 0 ? fmt::format(", query rank {}", c.q_lora_rank) : std::string()));
  line("latent",
       fmt::format("{} + RoPE {}, values of a head {}", c.kv_lora_rank, c.rope_dim, c.v_dim));
  line("sees", c.index_n_heads == 0 ? std::string("all tokens")
                                    : fmt::format("{} tokens picked by {} index heads x {}",
                                                  c.index_topk, c.index_n_heads, c.index_head_dim));
  if (c.n_dense_layers > 0) {
    line("MLP", fmt::format("{} in the first {} layer{}", c.mlp_dim, c.n_dense_layers,
                            c.n_dense_layers == 1 ? "" : "s"));
  }
  if (c.n_experts > 0) {
    line("experts", fmt::format("{} x {}, {} used, {} shared", c.n_experts, c.moe_dim,
                                c.n_experts_used, c.n_shared_experts));
  }
  line("vocabulary", fmt::format("{}{}", c.vocab_size, c.tied_head ? ", head tied" : ""));
}

ordered_json mla_object(const mla::Config& c) {
  return {
      {"vocab_size", c.vocab_size},
      {"hidden_size", c.hidden_size},
      {"n_layers", c.n_layers},
      {"n_dense_layers", c.n_dense_layers},
      {"n_heads", c.n_heads},
      {"q_lora_rank", c.q_lora_rank},
      {"kv_lora_rank", c.kv_lora_rank},
      {"nope_dim", c.nope_dim},
      {"rope_dim", c.rope_dim},
      {"v_dim", c.v_dim},
      {"index_n_heads", c.index_n_heads},
      {"index_head_dim", c.index_head_dim},
      {"index_topk", c.index_topk},
      {"mlp_dim", c.mlp_dim},
      {"n_experts", c.n_experts},
      {"n_experts_used", c.n_experts_used},
      {"n_shared_experts", c.n_shared_experts},
      {"moe_dim", c.moe_dim},
      {"max_position", c.max_position},
      {"tied_head", c.tied_head},
  };
}

}  // namespace

std::string fitted(std::string text, size_t width) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  }
  if (text.size() <= width) return text;
  size_t begin = text.size() - (width - 3);
  while (begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) ++begin;
  return "..." + text.substr(begin);
}

void print_model(const Model& model, const std::string& path) {
  fmt::print("{}\n", fitted(path, 80));
  if (const auto* v4 = dynamic_cast<const deepseek_v4::DeepseekV4*>(&model)) {
    print_config(*v4);
    print_layers(v4->config());
  } else if (const auto* llama = dynamic_cast<const llama::Llama*>(&model)) {
    print_config(*llama);
  } else if (const auto* mla = dynamic_cast<const mla::Mla*>(&model)) {
    print_config(*mla);
  }
}

ordered_json config_object(const Model& model) {
  if (const auto* v4 = dynamic_cast<const deepseek_v4::DeepseekV4*>(&model)) {
    return v4_object(v4->config());
  }
  if (const auto* llama = dynamic_cast<const llama::Llama*>(&model)) {
    return llama_object(llama->config());
  }
  if (const auto* mla = dynamic_cast<const mla::Mla*>(&model)) return mla_object(mla->config());
  return ordered_json::object();
}

}  // namespace varve::cli
