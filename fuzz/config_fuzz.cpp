// config.json of every family, from any text: an error or a configuration within its bounds.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "models/deepseek_v4/config.h"
#include "models/llama/config.h"
#include "models/mla/config.h"

namespace {

// Whether there is a value; an error has to have a message.
template <class T>
bool is_read(const varve::Result<T>& result) {
  if (!result && result.error().message.empty()) std::abort();
  return result.has_value();
}

void check_llama(const varve::JsonObject& root) {
  const auto config = varve::llama::parse_config(root);
  if (!is_read(config)) return;
  if (config->n_heads % config->n_kv_heads != 0 || config->head_dim % 2 != 0) std::abort();
  if (config->rope.rope_dim() != config->head_dim) std::abort();
  if (config->cache_shape().layers.size() != static_cast<size_t>(config->n_layers)) std::abort();
  for (const int window : config->windows) {
    if (window < 0 || window >= config->max_position) std::abort();
  }
}

void check_mla(const varve::JsonObject& root) {
  const auto config = varve::mla::parse_config(root);
  if (!is_read(config)) return;
  const varve::mla::RouterConfig& router = config->router;
  if (config->rope_dim % 2 != 0 || config->n_experts_used > config->n_experts) std::abort();
  if (router.n_groups > varve::mla::kMaxGroups || router.n_groups_used > router.n_groups) {
    std::abort();
  }
  if (config->n_experts > 0 && config->n_experts % router.n_groups != 0) std::abort();
  if (config->cache_shape().layers.size() != static_cast<size_t>(config->n_layers)) std::abort();
}

void check_deepseek_v4(const varve::JsonObject& root) {
  const auto config = varve::deepseek_v4::parse_config(root);
  if (!is_read(config)) return;
  const varve::CacheShape shape = config->cache_shape();
  if (shape.layers.size() != static_cast<size_t>(config->n_layers)) std::abort();
  for (const varve::LayerShape& layer : shape.layers) {
    if (layer.ratio != 0 && varve::kBlockTokens % layer.ratio != 0) std::abort();
    if (layer.rope_dim > layer.head_dim || layer.rope_dim % 2 != 0) std::abort();
  }
  if (config->n_experts_used > config->n_experts) std::abort();
  if (config->n_heads % config->o_groups != 0) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto root = varve::JsonObject::parse(text, "fuzz.json");
  if (!is_read(root)) return 0;
  check_llama(*root);
  check_mla(*root);
  check_deepseek_v4(*root);
  return 0;
}
