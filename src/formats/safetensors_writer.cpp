#include "formats/safetensors_writer.h"

#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "formats/json_reader.h"

namespace varve {
namespace {

// Throws nlohmann's exception on a name that is not UTF-8.
std::string json_string(const std::string& text) {
  return nlohmann::json(text).dump();
}

std::string header_text(const std::vector<DeclaredTensor>& tensors,
                        const std::vector<SizedTensor>& sizes, const Metadata& metadata) {
  std::string text = "{";
  const auto separate = [&text] {
    if (text.back() != '{') text += ',';
  };
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      separate();
      text += json_string(key) + ':' + json_string(value);
    }
    text += '}';
  }
  int64_t at = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    separate();
    text += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                        json_string(tensors[i].name), tensors[i].dtype,
                        fmt::join(tensors[i].shape, ","), at, at + sizes[i].bytes);
    at += sizes[i].bytes;
  }
  text += '}';
  while (text.size() % 8 != 0) text += ' ';
  return text;
}

}  // namespace

Result<SafetensorsWriter> SafetensorsWriter::create(const std::string& path,
                                                    const std::vector<DeclaredTensor>& tensors,
                                                    const Metadata& metadata) {
  std::vector<SizedTensor> sizes;
  std::unordered_set<std::string_view> names;
  int64_t total_bytes = 0;
  for (const DeclaredTensor& tensor : tensors) {
    const std::string name = in_quotes(tensor.name);
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
      return bad_input("{}: tensor {}: expected a name that is not taken", path, name);
    }
    const auto bits = safetensors_bits(tensor.dtype);
    if (!bits) {
      return bad_input("{}: tensor {}: expected a safetensors dtype, found {}", path, name,
                       in_quotes(tensor.dtype));
    }
    const auto size = tensor_bytes(tensor.shape, *bits);
    if (!size || __builtin_add_overflow(total_bytes, *size, &total_bytes)) {
      return bad_input("{}: tensor {}: expected a shape of fewer than 2^63 whole bytes, found {}",
                       path, name, shape_string(tensor.shape));
    }
    sizes.push_back({tensor.name, *size});
  }
  std::string header;
  try {
    header = header_text(tensors, sizes, metadata);
  } catch (const std::exception& error) {
    return bad_input("{}: expected names and metadata in UTF-8, found {}", path, error.what());
  }
  if (header.size() > kMaxHeaderBytes) {
    return bad_input("{}: expected a header of at most {} bytes, found {}", path, kMaxHeaderBytes,
                     header.size());
  }
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
  VARVE_TRY(TensorStream stream,
            TensorStream::create(path, length + header, std::move(sizes), /*alignment=*/1));
  return SafetensorsWriter(std::move(stream));
}

}  // namespace varve
