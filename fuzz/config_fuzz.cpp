// config.json of every family, from any text, or the metadata of a GGUF file: an error or a
// configuration within its bounds.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "formats/gguf.h"
#include "models/deepseek_v4/config.h"
#include "models/gguf_config.h"
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

void check(const varve::Result<varve::JsonObject>& root) {
  if (!is_read(root)) return;
  check_llama(*root);
  check_mla(*root);
  check_deepseek_v4(*root);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  if (!varve::is_gguf(bytes)) {
    check(varve::JsonObject::parse({reinterpret_cast<const char*>(data), size}, "fuzz.json"));
    return 0;
  }
  const auto file = varve::parse_gguf(bytes, "fuzz.gguf");
  if (!is_read(file)) return 0;
  check(varve::config_from_gguf(file->metadata, [&](std::string_view name) {
    const auto found = std::find_if(file->tensors.begin(), file->tensors.end(),
                                    [&](const varve::TensorView& t) { return t.name == name; });
    return found == file->tensors.end() ? nullptr : &*found;
  }));
  return 0;
}
