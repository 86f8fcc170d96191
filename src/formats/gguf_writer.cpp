#include "formats/gguf_writer.h"

#include <unordered_set>

#include "formats/gguf.h"
#include "formats/gguf_types.h"
#include "formats/safetensors_header.h"

namespace varve {
namespace {

constexpr uint32_t kVersion = 3;

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& out, std::string_view text) {
  put(out, static_cast<uint64_t>(text.size()));
  out += text;
}

void put_element(std::string& out, const std::string& text) {
  put_text(out, text);
}
template <class T>
void put_element(std::string& out, T value) {
  put(out, value);
}

Result<int64_t> sized(const DeclaredGgufTensor& tensor, const std::string& path) {
  const std::string name = in_quotes(tensor.name);
  const GgufTensorType* const type = gguf_tensor_type(tensor.type);
  if (type == nullptr) {
    return bad_input("{}: tensor {}: expected one of {}, found {}", path, name,
                     readable_gguf_types(), dtype_name(tensor.type));
  }
  if (tensor.shape.size() > kGgufMaxDims) {
    return bad_input("{}: tensor {}: expected at most {} extents, found {}", path, name,
                     kGgufMaxDims, shape_string(tensor.shape));
  }
  std::vector<int64_t> blocks = tensor.shape;
  if (blocks.empty()) blocks = {1};
  if (blocks.back() % type->values != 0) {
    return bad_input("{}: tensor {}: expected rows of whole blocks of {} values, found {}", path,
                     name, type->values, shape_string(tensor.shape));
  }
  blocks.back() /= type->values;
  const auto bytes = tensor_bytes(blocks, static_cast<int>(type->bytes) * 8);
  if (!bytes) {
    return bad_input("{}: tensor {}: expected fewer than 2^63 bytes, found {}", path, name,
                     shape_string(tensor.shape));
  }
  return *bytes;
}

}  // namespace

void GgufEntries::begin(std::string_view key, GgufType type) {
  put_text(bytes_, key);
  put(bytes_, static_cast<uint32_t>(type));
  ++n_;
}

void GgufEntries::add(std::string_view key, uint32_t value) {
  begin(key, GgufType::uint32);
  put(bytes_, value);
}

void GgufEntries::add(std::string_view key, float value) {
  begin(key, GgufType::float32);
  put(bytes_, value);
}

void GgufEntries::add(std::string_view key, bool value) {
  begin(key, GgufType::boolean);
  put(bytes_, static_cast<uint8_t>(value));
}

void GgufEntries::add(std::string_view key, std::string_view text) {
  begin(key, GgufType::string);
  put_text(bytes_, text);
}

template <class T>
void GgufEntries::add_array(std::string_view key, GgufType type, const std::vector<T>& values) {
  begin(key, GgufType::array);
  put(bytes_, static_cast<uint32_t>(type));
  put(bytes_, static_cast<uint64_t>(values.size()));
  for (const T& value : values) put_element(bytes_, value);
}

void GgufEntries::add(std::string_view key, const std::vector<uint32_t>& values) {
  add_array(key, GgufType::uint32, values);
}

void GgufEntries::add(std::string_view key, const std::vector<int32_t>& values) {
  add_array(key, GgufType::int32, values);
}

void GgufEntries::add(std::string_view key, const std::vector<float>& values) {
  add_array(key, GgufType::float32, values);
}

void GgufEntries::add(std::string_view key, const std::vector<std::string>& texts) {
  add_array(key, GgufType::string, texts);
}

Result<GgufWriter> GgufWriter::create(const std::string& path, const GgufEntries& metadata,
                                      const std::vector<DeclaredGgufTensor>& tensors) {
  std::string header = "GGUF";
  put(header, kVersion);
  put(header, static_cast<uint64_t>(tensors.size()));
  put(header, metadata.n());
  header += metadata.bytes();
  std::vector<SizedTensor> sizes;
  std::unordered_set<std::string_view> names;
  int64_t offset = 0;
  for (const DeclaredGgufTensor& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      return bad_input("{}: tensor {}: expected a name that is not taken", path,
                       in_quotes(tensor.name));
    }
    VARVE_TRY(const int64_t bytes, sized(tensor, path));
    put_text(header, tensor.name);
    put(header, static_cast<uint32_t>(tensor.shape.size()));
    for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent) {
      put(header, static_cast<uint64_t>(*extent));
    }
    put(header, gguf_tensor_type(tensor.type)->id);
    put(header, static_cast<uint64_t>(offset));
    const int64_t slack = (kGgufAlignment - bytes % kGgufAlignment) % kGgufAlignment;
    if (__builtin_add_overflow(offset, bytes, &offset) ||
        __builtin_add_overflow(offset, slack, &offset)) {
      return bad_input("{}: expected fewer than 2^63 bytes of tensors, found more", path);
    }
    sizes.push_back({tensor.name, bytes});
  }
  VARVE_TRY(TensorStream stream,
            TensorStream::create(path, header, std::move(sizes), kGgufAlignment));
  return GgufWriter(std::move(stream));
}

}  // namespace varve
