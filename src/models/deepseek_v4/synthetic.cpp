#include "models/deepseek_v4/synthetic.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <span>
#include <utility>

#include "base/rng.h"
#include "formats/safetensors_header.h"
#include "models/deepseek_v4/config_json.h"
#include "tensor/codecs.h"

namespace varve::deepseek_v4 {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "tensors are written as they lie");

constexpr size_t kChunkBytes = size_t{1} << 20;
constexpr int kFp4GroupCols = 32;
// ---- presets ----

// What all published models share; sizes are left to the preset.
Config common(std::initializer_list<int> ratios, int n_hash_layers) {
  Config c;
  c.n_layers = static_cast<int>(ratios.size());
  int i = 0;
  for (const int ratio : ratios) {
    const LayerKind kind = ratio == 0   ? LayerKind::swa
                           : ratio == 4 ? LayerKind::csa
                                        : LayerKind::hca;
    c.layers.push_back({kind, ratio, i++ < n_hash_layers});
  }
  c.rope_dim = 64;
  c.index_head_dim = 128;
  c.window = 128;
  c.n_experts = 8;
  c.n_experts_used = 2;
  c.n_shared_experts = 1;
  c.route_scale = 1.5f;
  c.swiglu_limit = 10;
  c.hc_mult = 4;
  c.hc_iters = 20;
  c.window_rope.theta = 10000;
  c.compress_rope.theta = 160000;
  c.compress_rope.yarn.factor = 16;
  c.max_position = 1048576;
  c.bos_id = 0;
  c.eos_ids = {1};
  return c;
}

Config micro() {
  Config c = common({0, 4, 128, 4}, 1);
  c.vocab_size = 1024;
  c.hidden_size = 256;
  c.n_heads = 8;
  c.head_dim = 128;
  c.q_lora_rank = 128;
  c.o_groups = 2;
  c.o_lora_rank = 128;
  c.index_n_heads = 8;
  c.index_topk = 64;
  c.moe_dim = 128;
  return c;
}

Config mini() {
  Config c = common({0, 0, 4, 128, 4, 128, 4, 128}, 1);
  c.vocab_size = 4096;
  c.hidden_size = 1024;
  c.n_heads = 8;
  c.head_dim = 256;
  c.q_lora_rank = 512;
  c.o_groups = 4;
  c.o_lora_rank = 256;
  c.index_n_heads = 16;
  c.index_topk = 256;
  c.moe_dim = 256;
  return c;
}

Config flash(std::initializer_list<int> ratios, int n_hash_layers) {
  Config c = common(ratios, n_hash_layers);
  c.vocab_size = 8192;
  c.hidden_size = 4096;
  c.n_heads = 64;
  c.head_dim = 512;
  c.q_lora_rank = 1024;
  c.o_groups = 8;
  c.o_lora_rank = 1024;
  c.index_n_heads = 64;
  c.index_topk = 512;
  c.moe_dim = 2048;
  return c;
}

// What Flash keeps of each token, byte for byte; everything else is as narrow as it can be.
Config flash_cache() {
  Config c = common(
      {0, 0,   4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128,
       4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4},
      3);
  c.vocab_size = 1024;
  c.hidden_size = 256;
  c.n_heads = 2;
  c.head_dim = 512;
  c.q_lora_rank = 128;
  c.o_groups = 2;
  c.o_lora_rank = 128;
  c.index_n_heads = 4;
  c.index_topk = 512;
  c.moe_dim = 128;
  return c;
}

Config pro(std::initializer_list<int> ratios, int n_hash_layers) {
  Config c = common(ratios, n_hash_layers);
  c.vocab_size = 8192;
  c.hidden_size = 7168;
  c.n_heads = 128;
  c.head_dim = 512;
  c.q_lora_rank = 1536;
  c.o_groups = 16;
  c.o_lora_rank = 1024;
  c.index_n_heads = 64;
  c.index_topk = 1024;
  c.moe_dim = 3072;
  c.route_scale = 2.5f;
  return c;
}

// ---- the tensors of a checkpoint ----

int64_t ceil_div(int64_t n, int64_t d) {
  return (n + d - 1) / d;
}

class TensorList {
 public:
  explicit TensorList(const Config& config) : c_(config) {}

  std::vector<SyntheticTensor> take() {
    const int64_t d = c_.hidden_size;
    const int64_t streams_dim = c_.hc_mult * d;
    // The forward pass norms what it reads from the embedding, so any spread would do; with 1 the
    // streams begin as large as what the layers add to them.
    bf16("embed.weight", {c_.vocab_size, d}, 1);
    for (int i = 0; i < c_.n_layers; ++i) layer(i);
    norm("norm.weight", d);
    f32("hc_head_fn", {c_.hc_mult, streams_dim}, 0, by_fan_in(streams_dim));
    f32("hc_head_base", {c_.hc_mult}, 0, 0.5);
    f32("hc_head_scale", {1}, 1, 0.1);
    if (!c_.tied_head) bf16("head.weight", {c_.vocab_size, d}, by_fan_in(d));
    return std::move(tensors_);
  }

 private:
  using Shape = std::vector<int64_t>;

  // Rows of independent weights with this deviation map inputs of size 1 to outputs of size 1.
  // (A square root is rounded correctly everywhere.)
  static double by_fan_in(int64_t n) { return 1 / std::sqrt(static_cast<double>(n)); }

  void add(const std::string& name, std::string dtype, Shape shape, SyntheticValues values,
           double mean, double deviation) {
    SyntheticTensor tensor;
    tensor.declared = {prefix_ + name, std::move(dtype), std::move(shape)};
    tensor.values = values;
    tensor.mean = mean;
    tensor.deviation = deviation;
    tensors_.push_back(std::move(tensor));
  }
  void bf16(const std::string& name, Shape shape, double deviation) {
    add(name, "BF16", std::move(shape), SyntheticValues::bf16, 0, deviation);
  }
  void norm(const std::string& name, int64_t n) {
    add(name, "BF16", {n}, SyntheticValues::bf16, 1, 0.1);
  }
  void f32(const std::string& name, Shape shape, double mean, double deviation) {
    add(name, "F32", std::move(shape), SyntheticValues::f32, mean, deviation);
  }
  void fp8(const std::string& name, int64_t n_rows, int64_t n_cols) {
    const double deviation = by_fan_in(n_cols);
    add(name + ".weight", "F8_E4M3", {n_rows, n_cols}, SyntheticValues::e4m3, 0, deviation);
    add(name + ".scale", "F8_E8M0",
        {ceil_div(n_rows, c_.fp8_block_rows), ceil_div(n_cols, c_.fp8_block_cols)},
        SyntheticValues::e4m3_scales, 0, deviation);
  }
  void fp4(const std::string& name, int64_t n_rows, int64_t n_cols) {
    const double deviation = by_fan_in(n_cols);
    add(name + ".weight", "I8", {n_rows, n_cols / 2}, SyntheticValues::e2m1, 0, deviation);
    add(name + ".scale", "F8_E8M0", {n_rows, ceil_div(n_cols, kFp4GroupCols)},
        SyntheticValues::e2m1_scales, 0, deviation);
  }

  void hyper_connection(const std::string& name) {
    const int64_t hc = c_.hc_mult;
    const int64_t n_mix = (2 + hc) * hc;
    f32(name + "_fn", {n_mix, hc * c_.hidden_size}, 0, by_fan_in(hc * c_.hidden_size));
    f32(name + "_base", {n_mix}, 0, 0.5);
    f32(name + "_scale", {3}, 1, 0.1);
  }

  void compressor(const std::string& name, int ratio, int64_t dim, bool overlap) {
    const int64_t width = overlap ? 2 * dim : dim;
    const double deviation = by_fan_in(c_.hidden_size);
    bf16(name + "wkv.weight", {width, c_.hidden_size}, deviation);
    bf16(name + "wgate.weight", {width, c_.hidden_size}, deviation);
    f32(name + "ape", {ratio, width}, 0, 0.5);
    norm(name + "norm.weight", dim);
  }

  void attention(const LayerConfig& layer) {
    const int64_t d = c_.hidden_size;
    const int64_t heads_dim = int64_t{c_.n_heads} * c_.head_dim;
    const int64_t o_dim = int64_t{c_.o_groups} * c_.o_lora_rank;
    fp8("attn.wq_a", c_.q_lora_rank, d);
    norm("attn.q_norm.weight", c_.q_lora_rank);
    fp8("attn.wq_b", heads_dim, c_.q_lora_rank);
    fp8("attn.wkv", c_.head_dim, d);
    norm("attn.kv_norm.weight", c_.head_dim);
    fp8("attn.wo_a", o_dim, heads_dim / c_.o_groups);
    fp8("attn.wo_b", d, o_dim);
    f32("attn.attn_sink", {c_.n_heads}, 0, 1);
    if (layer.attention == LayerKind::swa) return;
    const bool csa = layer.attention == LayerKind::csa;
    compressor("attn.compressor.", layer.ratio, c_.head_dim, csa);
    if (!csa) return;
    fp8("attn.indexer.wq_b", int64_t{c_.index_n_heads} * c_.index_head_dim, c_.q_lora_rank);
    bf16("attn.indexer.weights_proj.weight", {c_.index_n_heads, d}, by_fan_in(d));
    compressor("attn.indexer.compressor.", layer.ratio, c_.index_head_dim, true);
  }

  void experts(const LayerConfig& layer) {
    const int64_t d = c_.hidden_size;
    const int64_t width = c_.moe_dim;
    bf16("ffn.gate.weight", {c_.n_experts, d}, by_fan_in(d));
    if (layer.hash_routed) {
      add("ffn.gate.tid2eid", "I64", {c_.vocab_size, c_.n_experts_used},
          SyntheticValues::expert_ids, 0, 0);
      tensors_.back().n_experts = c_.n_experts;
    } else {
      f32("ffn.gate.bias", {c_.n_experts}, 0, 0.05);
    }
    for (int e = 0; e < c_.n_experts; ++e) {
      const std::string name = fmt::format("ffn.experts.{}.", e);
      fp4(name + "w1", width, d);
      fp4(name + "w2", d, width);
      fp4(name + "w3", width, d);
    }
    if (c_.n_shared_experts == 0) return;
    const int64_t shared_width = width * c_.n_shared_experts;
    fp8("ffn.shared_experts.w1", shared_width, d);
    fp8("ffn.shared_experts.w2", d, shared_width);
    fp8("ffn.shared_experts.w3", shared_width, d);
  }

  void layer(int i) {
    const LayerConfig& config = c_.layers[static_cast<size_t>(i)];
    prefix_ = fmt::format("layers.{}.", i);
    norm("attn_norm.weight", c_.hidden_size);
    norm("ffn_norm.weight", c_.hidden_size);
    hyper_connection("hc_attn");
    hyper_connection("hc_ffn");
    attention(config);
    experts(config);
    prefix_.clear();
  }

  const Config& c_;
  std::string prefix_;
  std::vector<SyntheticTensor> tensors_;
};

// ---- values ----

// n midpoints of the distribution of the sum of four uniforms, scaled to deviation 1: close to a
// normal one, ends at 3.46. Its distribution function is a polynomial, so unlike the normal one it
// is inverted with additions and multiplications alone, to the same bits everywhere.
std::vector<double> quantiles(size_t n) {
  constexpr double kSqrt3 = 1.7320508075688772;
  const auto below = [](double x) {  // x in [0, 2]: the share of sums below x
    return x < 1 ? x * x * x * x / 24 : ((((-3 * x + 16) * x - 24) * x + 16) * x - 4) / 24;
  };
  std::vector<double> values(n);
  for (size_t i = 0; i < n / 2; ++i) {
    const double share = (static_cast<double>(i) + 0.5) / static_cast<double>(n);
    double low = 0;
    double high = 2;
    for (int step = 0; step < 50; ++step) {
      const double middle = (low + high) / 2;
      (below(middle) < share ? low : high) = middle;
    }
    values[i] = (low - 2) * kSqrt3;
    values[n - 1 - i] = -values[i];
  }
  return values;
}

// deviation = of_codes * 2^exponent
struct CodeScale {
  double of_codes = 0;
  int exponent = 0;
};

// of_codes in [smallest, 2 * smallest)
CodeScale code_scale(double deviation, double smallest) {
  CodeScale scale{deviation, 0};
  for (; scale.of_codes < smallest; --scale.exponent) scale.of_codes *= 2;
  for (; scale.of_codes >= 2 * smallest; ++scale.exponent) scale.of_codes /= 2;
  return scale;
}

// Where the codes lie: blocks scaled so that their largest value is within the type, as a converter
// scales them. e4m3 ends at 448, e2m1 at 6.
constexpr double kE4m3Deviation = 64;
constexpr double kE2m1Deviation = 1.25;

// The scale of a block is half, once or twice the usual one with chances 4, 11 and 1 of 16. The
// mean square stays 4/16 * 1/4 + 11/16 + 1/16 * 4 = 1.
constexpr std::array<int, 16> kScaleSteps = {-1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

uint64_t stream_key(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a
  for (const char c : name) {
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  }
  return Rng(hash + Rng(seed).next()).next();
}

// The bytes of one tensor, in order.
class Filler {
 public:
  Filler(const SyntheticTensor& tensor, uint64_t seed)
      : tensor_(tensor), rng_(stream_key(seed, tensor.declared.name)) {
    if (tensor.values == SyntheticValues::e4m3) {
      const double scale = code_scale(tensor.deviation, kE4m3Deviation).of_codes;
      static const std::vector<double> kNormal = quantiles(kE4m3Codes);
      for (size_t i = 0; i < kE4m3Codes; ++i) {
        codes_[i] = e4m3_from_f32(static_cast<float>(scale * kNormal[i]));
      }
    } else if (tensor.values == SyntheticValues::e2m1) {
      const double scale = code_scale(tensor.deviation, kE2m1Deviation).of_codes;
      static const std::vector<double> kNormal = quantiles(kE2m1Codes);
      for (size_t i = 0; i < kE2m1Codes; ++i) {
        codes_[i] = e2m1_from_f32(static_cast<float>(scale * kNormal[i]));
      }
    } else if (tensor.values == SyntheticValues::expert_ids) {
      for (int e = 0; e < tensor.n_experts; ++e) experts_.push_back(e);
    }
  }

  // Whole draws and, of tables, whole rows fit in it.
  size_t chunk_bytes() const {
    if (tensor_.values != SyntheticValues::expert_ids) return kChunkBytes;
    const size_t row_bytes = static_cast<size_t>(tensor_.declared.shape[1]) * sizeof(int64_t);
    return std::max<size_t>(1, kChunkBytes / row_bytes) * row_bytes;
  }

  // The next bytes. Every call but the last takes chunk_bytes().
  void fill(std::span<std::byte> out) {
    switch (tensor_.values) {
      case SyntheticValues::e4m3:
        draw_each<4>(
            out, [&](uint64_t bits, size_t i) { return codes_[(bits >> (16 * i)) % kE4m3Codes]; });
        return;
      case SyntheticValues::e2m1:
        draw_each<4>(out, [&](uint64_t bits, size_t i) {
          const uint64_t pair = bits >> (16 * i);
          return static_cast<uint8_t>(codes_[pair % kE2m1Codes] |
                                      codes_[(pair / kE2m1Codes) % kE2m1Codes] << 4);
        });
        return;
      case SyntheticValues::e4m3_scales:
        return fill_scales(out, code_scale(tensor_.deviation, kE4m3Deviation).exponent);
      case SyntheticValues::e2m1_scales:
        return fill_scales(out, code_scale(tensor_.deviation, kE2m1Deviation).exponent);
      case SyntheticValues::bf16:
        return fill_with<uint16_t>(out, [&] { return bf16_from_f32(normal()); });
      case SyntheticValues::f32:
        return fill_with<float>(out, [&] { return normal(); });
      case SyntheticValues::expert_ids:
        return fill_expert_ids(out);
    }
  }

 private:
  static constexpr size_t kE4m3Codes = 4096;
  static constexpr size_t kE2m1Codes = 256;

  float normal() {
    return static_cast<float>(tensor_.mean +
                              tensor_.deviation * static_cast<double>(rng_.normal()));
  }

  // N bytes of each 64-bit draw.
  template <size_t N, class Byte>
  void draw_each(std::span<std::byte> out, Byte byte) {
    size_t at = 0;
    for (; at + N <= out.size(); at += N) {
      const uint64_t bits = rng_.next();
      for (size_t i = 0; i < N; ++i) out[at + i] = std::byte{byte(bits, i)};
    }
    if (at == out.size()) return;
    const uint64_t bits = rng_.next();
    for (size_t i = 0; at < out.size(); ++at, ++i) out[at] = std::byte{byte(bits, i)};
  }

  void fill_scales(std::span<std::byte> out, int exponent) {
    draw_each<16>(out, [&](uint64_t bits, size_t i) {
      return static_cast<uint8_t>(exponent + kScaleSteps[(bits >> (4 * i)) % 16] + 127);
    });
  }

  template <class T, class Draw>
  void fill_with(std::span<std::byte> out, Draw draw) {
    for (size_t at = 0; at < out.size(); at += sizeof(T)) {
      const T value = draw();
      std::memcpy(out.data() + at, &value, sizeof value);
    }
  }

  // The first picks of a shuffle that goes on from row to row.
  void fill_expert_ids(std::span<std::byte> out) {
    const auto n_used = static_cast<size_t>(tensor_.declared.shape[1]);
    size_t pick = 0;
    fill_with<int64_t>(out, [&] {
      const size_t left = experts_.size() - pick;
      std::swap(experts_[pick], experts_[pick + rng_.below(left)]);
      const int64_t id = experts_[pick];
      pick = (pick + 1) % n_used;
      return id;
    });
  }

  const SyntheticTensor& tensor_;
  Rng rng_;
  std::array<uint8_t, kE4m3Codes> codes_ = {};
  std::vector<int64_t> experts_;
};

// ---- files ----

tl::unexpected<Error> system_error(std::string_view doing, const std::string& path, int number) {
  return fail(ErrorKind::internal, "cannot {} {}: {}", doing, path, std::strerror(number));
}

Result<void> write_text(const std::string& path, const std::string& text) {
  const std::string part = path + ".part";
  std::FILE* const file = std::fopen(part.c_str(), "wb");
  if (file == nullptr) return system_error("create", part, errno);
  int number = 0;
  if (std::fwrite(text.data(), 1, text.size(), file) != text.size()) number = errno;
  if (std::fclose(file) != 0 && number == 0) number = errno;
  if (number == 0 && std::rename(part.c_str(), path.c_str()) != 0) number = errno;
  if (number == 0) return {};
  std::remove(part.c_str());
  return system_error("write", path, number);
}

Result<void> write_weights(const std::string& path, const Config& config, uint64_t seed,
                           const std::function<void(size_t done, size_t total)>& progress) {
  const std::vector<SyntheticTensor> tensors = synthetic_tensors(config);
  std::vector<DeclaredTensor> declared;
  declared.reserve(tensors.size());
  for (const SyntheticTensor& tensor : tensors) declared.push_back(tensor.declared);
  VARVE_TRY(SafetensorsWriter writer,
            SafetensorsWriter::create(path, declared, {{"format", "pt"}}));
  const size_t total = synthetic_size(config).n_bytes;
  size_t done = 0;
  std::vector<std::byte> buffer;
  for (const SyntheticTensor& tensor : tensors) {
    Filler filler(tensor, seed);
    for (size_t left = tensor.n_bytes(); left > 0; left -= buffer.size()) {
      buffer.resize(std::min(left, filler.chunk_bytes()));
      filler.fill(buffer);
      VARVE_CHECKED(writer.write(tensor.declared.name, buffer));
      done += buffer.size();
      if (progress) progress(done, total);
    }
  }
  return writer.finish();
}

}  // namespace

const std::vector<SyntheticPreset>& synthetic_presets() {
  static const std::vector<SyntheticPreset> kPresets = {
      {"micro", "a small Flash: hidden 256, 4 layers", micro()},
      {"mini", "a middling Flash: hidden 1024, 8 layers", mini()},
      {"flash-cache", "Flash's cache (43 layers), else narrow", flash_cache()},
      {"flash-1l", "Flash's width, one CSA layer", flash({4}, 0)},
      {"flash-6l", "Flash's width, 6 layers of all kinds", flash({0, 0, 4, 128, 4, 128}, 1)},
      {"pro-4l", "Pro's width, 4 layers", pro({128, 128, 4, 128}, 1)},
  };
  return kPresets;
}

Result<const SyntheticPreset*> find_synthetic_preset(std::string_view name) {
  std::vector<std::string_view> names;
  for (const SyntheticPreset& preset : synthetic_presets()) {
    if (preset.name == name) return &preset;
    names.push_back(preset.name);
  }
  return usage_error("--preset {}: expected one of {}", name, fmt::join(names, ", "));
}

size_t SyntheticTensor::n_bytes() const {
  const int bits = safetensors_bits(declared.dtype).value_or(0);
  return static_cast<size_t>(tensor_bytes(declared.shape, bits).value_or(0));
}

int64_t SyntheticTensor::n_parameters() const {
  int64_t n = 1;
  for (const int64_t extent : declared.shape) n *= extent;
  switch (values) {
    case SyntheticValues::e2m1:
      return 2 * n;
    case SyntheticValues::e4m3:
    case SyntheticValues::bf16:
    case SyntheticValues::f32:
      return n;
    case SyntheticValues::e4m3_scales:
    case SyntheticValues::e2m1_scales:
    case SyntheticValues::expert_ids:
      break;
  }
  return 0;
}

std::vector<SyntheticTensor> synthetic_tensors(const Config& config) {
  return TensorList(config).take();
}

SyntheticSize synthetic_size(const Config& config) {
  SyntheticSize size;
  for (const SyntheticTensor& tensor : synthetic_tensors(config)) {
    size.n_bytes += tensor.n_bytes();
    size.n_parameters += tensor.n_parameters();
  }
  return size;
}

Result<void> write_synthetic(const std::string& dir, const SyntheticPreset& preset, uint64_t seed,
                             const std::function<void(size_t done, size_t total)>& progress) {
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) return system_error("create directory", dir, error.value());
  const fs::space_info space = fs::space(dir, error);
  const size_t n_bytes = synthetic_size(preset.config).n_bytes;
  if (!error && space.available < n_bytes) {
    return fail(ErrorKind::internal, "{}: {} needs {} MB, its file system has {} MB left", dir,
                preset.name, n_bytes / 1000000, space.available / 1000000);
  }
  const auto path = [&](const char* name) { return (fs::path(dir) / name).string(); };
  // The config comes last: without it a directory is not taken for a model.
  VARVE_CHECKED(write_weights(path("model.safetensors"), preset.config, seed, progress));
  VARVE_CHECKED(
      write_text(path("tokenizer.json"), synthetic_tokenizer_json(preset.config.vocab_size)));
  VARVE_CHECKED(
      write_text(path("tokenizer_config.json"), synthetic_tokenizer_config_json(preset.config)));
  return write_text(path("config.json"), config_json(preset.config, true));
}

}  // namespace varve::deepseek_v4
